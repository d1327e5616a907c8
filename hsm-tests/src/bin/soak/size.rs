//! How large the agent is.

use std::fmt;
use std::fs;

use hsm_tests::{Agent, SOON, resident_memory, until};

/// Memory and descriptors of the agent's own process, and the number of its workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    memory: u64,
    descriptors: usize,
    workers: usize,
}

impl Size {
    pub(crate) const HEAD: &str = "agent KiB  files  workers";

    pub(crate) fn of(agent: &Agent) -> Self {
        let descriptors = format!("/proc/{}/fd", agent.pid().as_raw_pid());
        Self {
            memory: resident_memory(agent.pid()),
            descriptors: fs::read_dir(descriptors).map_or(0, Iterator::count),
            workers: agent.workers().len(),
        }
    }

    /// When all clients have gone and that has been noticed.
    pub(crate) fn at_rest(agent: &Agent) -> Self {
        let mut last = Self::of(agent);
        let _ = until(SOON, || {
            let now = Self::of(agent);
            std::mem::replace(&mut last, now).descriptors == now.descriptors
        });
        last
    }

    /// # Errors
    ///
    /// It has.
    pub(crate) fn has_not_outgrown(&self, warm: &Self, tolerance: u64) -> Result<(), String> {
        println!("{:>8}  {self}", "at rest");
        if self.memory > warm.memory + tolerance {
            return Err(format!("the agent has grown from {} to {} KiB", warm.memory >> 10, self.memory >> 10));
        }
        if self.descriptors > warm.descriptors {
            return Err(format!("the agent has {} files open, and had {}", self.descriptors, warm.descriptors));
        }
        Ok(())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:>9}  {:>5}  {:>7}", self.memory >> 10, self.descriptors, self.workers)
    }
}
