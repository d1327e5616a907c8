//! What a module may do beside signing.

use serde::Deserialize;

use super::AbsolutePath;
use crate::ipc::Sandbox;

/// `sandbox` of a module: `"off"`, or a table of what it needs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "Written")]
pub struct SandboxConfig(pub Sandbox);

#[derive(Deserialize)]
#[serde(untagged, expecting = "\"off\", or a table with network, run or write")]
enum Written {
    Word(String),
    Table(Needs),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Needs {
    #[serde(default)]
    network: bool,
    #[serde(default)]
    run: bool,
    write: Option<Vec<AbsolutePath>>,
}

impl TryFrom<Written> for SandboxConfig {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Word(word) if word == "off" => Ok(Self(Sandbox { enabled: false, ..Sandbox::default() })),
            Written::Word(word) => Err(format!("{word:?} is not \"off\", nor a table with network, run or write")),
            Written::Table(Needs { network, run, write }) => {
                let write = write.map(|folders| folders.into_iter().map(|folder| folder.0).collect());
                Ok(Self(Sandbox { network, run, write, ..Sandbox::default() }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn sandbox(text: &str) -> Option<Sandbox> {
        let config = Config::parse(&format!("[[module]]\npath = \"/a\"\n{text}")).ok()?;
        config.modules.first().map(|module| module.sandbox.0.clone())
    }

    #[test]
    fn a_module_gets_what_is_said_and_no_more() {
        assert_eq!(sandbox(""), Some(Sandbox::default()));
        assert!(sandbox("sandbox = \"off\"").is_some_and(|sandbox| !sandbox.enabled));
        let written = sandbox("sandbox = { network = true, write = [\"/tokens\"] }").expect("valid");
        assert_eq!(written, Sandbox { network: true, write: Some(vec!["/tokens".into()]), ..Sandbox::default() });
        for bad in ["\"on\"", "{ netwrok = true }", "{ write = [\"relative\"] }", "true"] {
            assert!(sandbox(&format!("sandbox = {bad}")).is_none(), "{bad}");
        }
    }
}
