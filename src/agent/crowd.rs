//! How many clients are connected, and the memory that a crowd leaves behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::sys;

/// Fewer clients than this are no crowd: what they leave behind serves the next ones.
const FEWEST: usize = 16;
/// How long the last of a crowd may take to leave; memory is given back no more often than this.
const LEAVING: Duration = Duration::from_secs(1);

/// Counts who is connected. The allocator keeps what was freed for later; a crowd that is gone may never come again.
#[derive(Default)]
pub(super) struct Crowd {
    present: AtomicUsize,
    /// The most that were present since memory was last given back.
    most: AtomicUsize,
    dispersed: Notify,
}

/// A client that is connected, until dropped.
pub(super) struct Visitor(Arc<Crowd>);

impl Crowd {
    pub(super) fn enter(self: &Arc<Self>) -> Visitor {
        let present = self.present.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(present, Ordering::Relaxed);
        Visitor(Arc::clone(self))
    }

    /// Gives memory back to the system each time when most of a crowd have left.
    pub(super) async fn clean_up_after(&self) {
        loop {
            self.dispersed.notified().await;
            tokio::time::sleep(LEAVING).await;
            self.most.store(self.present.load(Ordering::Relaxed), Ordering::Relaxed);
            sys::return_free_memory();
        }
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        let present = self.0.present.fetch_sub(1, Ordering::Relaxed) - 1;
        let most = self.0.most.load(Ordering::Relaxed);
        if most >= FEWEST && present <= most / 4 {
            self.0.dispersed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn a_crowd_has_left_when_three_of_four_have_and_a_few_are_none() {
        let crowd = Arc::new(Crowd::default());
        let dispersed = || pin!(crowd.dispersed.notified()).poll(&mut Context::from_waker(Waker::noop())).is_ready();
        drop((0..FEWEST - 1).map(|_| crowd.enter()).collect::<Vec<_>>());
        assert!(!dispersed(), "so few are no crowd");
        let mut visitors: Vec<_> = (0..4 * FEWEST).map(|_| crowd.enter()).collect();
        visitors.truncate(FEWEST + 1);
        assert!(!dispersed(), "too many are still there");
        visitors.truncate(FEWEST);
        assert!(dispersed());
    }
}
