//! Waiting for a condition that no event announces.

use std::thread;
use std::time::{Duration, Instant};

/// How long a condition may take to come true before a test calls it a failure: generous, because a loaded machine is not a bug.
pub const SOON: Duration = Duration::from_secs(10);

const STEP: Duration = Duration::from_millis(5);

/// Looks again and again until `condition` holds; `false` if it still does not after `limit`.
#[must_use]
pub fn until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    until_some(limit, || condition().then_some(())).is_some()
}

/// Looks again and again until `look` finds something; `None` if there is still nothing after `limit`.
pub fn until_some<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if start.elapsed() >= limit {
            return None;
        }
        thread::sleep(STEP);
    }
}
