//! Whose an unattended PIN is: one that several tokens could be meant by goes to none.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Module, Token};
use crate::backend::pin::PinError;

/// The tokens that would be given the same unattended PIN. With more than one, none is.
#[derive(Clone, Default)]
pub struct Claimants(Arc<Mutex<Claims>>);

#[derive(Default)]
struct Claims {
    /// Modules that have not shown their tokens yet.
    unseen: usize,
    /// The labels of the tokens that want a PIN, by module.
    labels: HashMap<PathBuf, Vec<String>>,
}

impl Claimants {
    /// A set for several modules: until each had its first look, nobody gets the PIN.
    pub fn of_modules(count: usize) -> Self {
        Self(Arc::new(Mutex::new(Claims { unseen: count, ..Claims::default() })))
    }

    /// A module had its first look, whatever came of it.
    pub(super) fn looked(&self) {
        let mut claims = self.lock();
        claims.unseen = claims.unseen.saturating_sub(1);
    }

    fn lock(&self) -> MutexGuard<'_, Claims> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Module {
    /// The same with those that were there once: an unattended PIN that was meant for one of them is not given to the next.
    pub(super) fn tokens_ever_wanting_pin(&self) -> Vec<Arc<Token>> {
        let wants =
            |token: &Token| token.seen(|seen| seen.login_required && !seen.protected_path && self.is_about(seen));
        self.tokens().values().filter(|token| wants(token)).cloned().collect()
    }

    /// Fails when the unattended PIN of this token would go to others too.
    pub(super) fn only_claimant(&self, token: &Token) -> Result<(), PinError> {
        if token.seen(|seen| self.own_pin_source(seen)).is_some() {
            return Ok(());
        }
        let claims = self.spec.claimants.lock();
        if claims.unseen > 0 {
            return Err(PinError::TooEarly);
        }
        let mut tokens: Vec<&str> = claims.labels.values().flatten().map(String::as_str).collect();
        tokens.sort_unstable();
        match tokens.len() {
            0 | 1 => Ok(()),
            count => Err(PinError::Ambiguous { count, tokens: tokens.join(", ") }),
        }
    }

    pub(super) fn claim(&self) {
        let without_own = |token: &Arc<Token>| token.seen(|seen| self.own_pin_source(seen)).is_none();
        let labels = self
            .tokens_ever_wanting_pin()
            .iter()
            .filter(|token| without_own(token))
            .map(|token| token.label())
            .collect();
        self.spec.claimants.lock().labels.insert(self.spec.path.clone(), labels);
    }
}
