//! Decisions on requests that are not for signatures: changes to the agent, and the list of keys.

use super::preset::Preset;
use crate::origin::classify::Origin;

/// Changes to the agent come from trusted local programs only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agent is managed by trusted local programs only")]
pub struct NotManager;

/// Decides on a change to the agent: adding, removing, locking, unlocking, providers.
///
/// # Errors
/// It is refused.
pub const fn decide_management(origin: Origin) -> Result<(), NotManager> {
    match origin {
        Origin::LocalDirect | Origin::LocalTool => Ok(()),
        _ => Err(NotManager),
    }
}

/// Whether a connection is shown the keys that only a dialog could allow it to use.
pub fn decide_list(preset: Preset, is_forwarded: bool, can_ask: bool) -> bool {
    preset == Preset::Openssh || can_ask || !is_forwarded
}
