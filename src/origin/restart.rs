//! Whether the agent is the first in this login session.
//!
//! What a process did before the agent started, nobody knows any more: an `ssh` whose login an earlier agent saw would pass
//! for new. So an agent that is not the first distrusts the processes that are older than itself. A file in the runtime
//! directory, which goes with the login session, tells later agents that there was an earlier one.

use std::fs;
use std::io;
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};

/// Names this run of the kernel; a marker from before a reboot means nothing.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Leaves the marker at `path`, and says since when processes are trusted: not at all limited for the first agent, else from
/// now, as clock ticks since boot. To be called before the first connection is accepted.
///
/// # Errors
/// The marker cannot be written. Without it a later agent would trust too much, so this should end the start.
pub fn leave_marker(path: &Path) -> io::Result<Option<u64>> {
    let boot = fs::read_to_string(BOOT_ID)?;
    let first = match fs::read_to_string(path) {
        Ok(marker) => marker != boot,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    fs::write(path, boot)?;
    Ok((!first).then(ticks_now))
}

fn ticks_now() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let whole = u64::try_from(now.tv_sec).unwrap_or(0) * per_second;
    whole + u64::try_from(now.tv_nsec).unwrap_or(0) * per_second / 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::proc::ProcDir;
    use crate::origin::testing::Scratch;

    #[test]
    fn the_first_agent_trusts_processes_of_any_age() {
        let scratch = Scratch::new();
        assert_eq!(leave_marker(&scratch.path("started")).expect("marker"), None);
    }

    #[test]
    fn a_later_agent_distrusts_what_is_older_than_itself() {
        let scratch = Scratch::new();
        let path = scratch.path("started");
        leave_marker(&path).expect("marker");
        let since = leave_marker(&path).expect("marker").expect("not the first");
        let own_start = ProcDir::own().expect("own").stat().expect("state").start;
        assert!(own_start <= since);
        // Within a minute of now: the clocks of process starts and of the marker are the same.
        assert!(since - own_start < 60 * rustix::param::clock_ticks_per_second());
    }

    #[test]
    fn a_marker_from_another_boot_is_no_marker_and_an_unreadable_one_counts() {
        let scratch = Scratch::new();
        let old = scratch.write("started", "00000000-0000-0000-0000-000000000000\n");
        assert_eq!(leave_marker(&old).expect("marker"), None);
        assert!(leave_marker(&old).expect("marker").is_some());
        let odd = scratch.write("odd", b"\xff");
        assert!(leave_marker(&odd).expect("marker").is_some());
        assert!(leave_marker(&scratch.path("missing/started")).is_err());
    }
}
