//! The clock that lifetimes run on: it counts the time a machine sleeps, and nobody can set it back.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How far the two clocks have to drift apart to mean that the machine slept: more than reading them one after the other can take.
const SLEPT: Duration = Duration::from_secs(1);

/// Time since boot, suspend included (`CLOCK_BOOTTIME`).
pub fn now() -> Duration {
    read(ClockId::Boottime)
}

/// Notices that the machine slept, by the one clock that went on meanwhile (`CLOCK_BOOTTIME`) and the one that did not (`CLOCK_MONOTONIC`).
#[derive(Debug)]
pub struct Suspends(Mutex<Duration>);

impl Suspends {
    /// Whether the machine slept since this was asked last, or since it was made.
    pub fn noticed(&self) -> bool {
        // In this order a pause between the two readings looks like less sleep, not like more.
        let boottime = now();
        self.differs(boottime.saturating_sub(read(ClockId::Monotonic)))
    }

    fn differs(&self, asleep: Duration) -> bool {
        let mut before = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slept = asleep.saturating_sub(*before) > SLEPT;
        *before = before.max(asleep);
        slept
    }
}

impl Default for Suspends {
    fn default() -> Self {
        Self(Mutex::new(now().saturating_sub(read(ClockId::Monotonic))))
    }
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sleep_is_noticed_once_and_jitter_never() {
        let suspends = Suspends(Mutex::new(Duration::from_secs(100)));
        assert!(!suspends.differs(Duration::from_millis(100_300)));
        assert!(!suspends.differs(Duration::from_secs(99)));
        assert!(suspends.differs(Duration::from_secs(3700)));
        assert!(!suspends.differs(Duration::from_secs(3700)));
        assert!(!Suspends::default().noticed());
    }
}
