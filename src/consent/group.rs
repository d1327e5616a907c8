//! The process group of a program that shows a dialog.

use rustix::process::{Pid, Signal};
use tokio::process::Child;

/// Ended when dropped, so that no dialog outlives its cause.
pub(super) struct Group(Option<Pid>);

impl Group {
    /// The group that a child was started to lead.
    pub(super) fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(id.cast_signed())))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Gone already is as good. TERM first would let a dialog linger that ignores it.
            let _ = rustix::process::kill_process_group(group, Signal::TERM);
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}
