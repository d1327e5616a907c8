//! The policy in force, which may be replaced while requests are decided.

use std::sync::{Arc, Mutex, PoisonError};

use crate::policy::Policy;

/// Holds the policy in force.
#[derive(Debug)]
pub struct Policies(Mutex<InForce>);

/// A policy, and the how-manieth it is.
#[derive(Debug, Clone)]
pub struct InForce {
    /// The policy.
    pub policy: Arc<Policy>,
    /// Grows with each policy; what was approved under an earlier one is approved no longer.
    pub generation: u64,
}

impl Policies {
    /// Begins with this policy.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self(Mutex::new(InForce { policy: Arc::new(policy), generation: 0 }))
    }

    /// Puts another policy in force; whether it is another one.
    pub fn replace(&self, policy: Policy) -> bool {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = *current.policy != policy;
        if is_new {
            *current = InForce { policy: Arc::new(policy), generation: current.generation + 1 };
        }
        is_new
    }

    /// The policy in force now. A request is decided by one policy, whatever happens meanwhile.
    pub fn current(&self) -> InForce {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
