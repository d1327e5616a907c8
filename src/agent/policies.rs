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

    /// The policy in force now. A request is decided by one policy, whatever happens meanwhile.
    pub fn current(&self) -> InForce {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
