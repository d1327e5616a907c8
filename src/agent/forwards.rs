//! The sockets at which everything that arrives is forwarded.

use std::path::PathBuf;
use std::sync::Arc;

use super::command::Options;
use super::socket::AgentSocket;
use crate::config::ListenConfig;
use crate::paths;

/// What a service manager calls the socket that `[listen] forward` would be.
pub(super) const FORWARD: &str = "forward";

/// Such a socket.
pub(super) struct Forward {
    pub(super) socket: AgentSocket,
    /// What the user calls it.
    pub(super) label: Option<Arc<str>>,
}

/// Opens those that the configuration names, but for those that were passed. An agent for one command or one shell opens none: the paths are
/// fixed, and belong to the agent that stays.
pub(super) fn open(options: &Options, passed: Vec<Forward>) -> Result<Vec<Forward>, String> {
    let mut all = passed;
    if !options.place.is_reused() {
        return Ok(all);
    }
    let ListenConfig { forward, extra } = &options.config.listen;
    let named = forward.iter().map(|path| (path, None));
    let named = named.chain(extra.iter().map(|extra| (&extra.path, extra.label.as_ref().map(|label| label.text()))));
    let passed: Vec<Option<Arc<str>>> = all.iter().map(|forward| forward.label.clone()).collect();
    for (path, label) in named {
        let is_passed = match label {
            Some(label) => passed.iter().flatten().any(|passed| passed == label),
            None => forward.as_ref() == Some(path) && passed.contains(&None),
        };
        if !is_passed {
            let path: PathBuf = paths::in_runtime_folder(path);
            let socket = AgentSocket::replacing_stale(&path).map_err(|error| error.to_string())?;
            all.push(Forward { socket, label: label.cloned() });
        }
    }
    Ok(all)
}
