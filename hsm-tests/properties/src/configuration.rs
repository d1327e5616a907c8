//! The configuration: any text is understood or refused, and what is understood keeps its promises.

use hardkey::backend::pin::PinSource;
use hardkey::config::Config;

/// Input: the file.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let config = match Config::parse(text) {
        Ok(config) => config,
        // The message has the line in it, so it is as long as the line.
        Err(error) => return assert!(error.to_string().len() <= 1000 + 4 * text.len()),
    };
    for module in &config.modules {
        assert!(module.path.is_absolute());
        let spec = module.spec(&PinSource::Ask);
        assert_eq!((&spec.path, spec.keys.len()), (&module.path, module.keys.len()));
        assert!(spec.deadline.is_none_or(|deadline| !deadline.is_zero()), "a deadline that has passed already");
        assert!(spec.workers.is_none_or(|workers| workers > 0));
        if let PinSource::File(path) = &spec.pin {
            assert!(path.is_absolute());
        }
    }
    assert!(config.prompt.timeout.is_none_or(|timeout| timeout.0 > 0));
}
