//! Whose an unattended PIN is: one that several tokens could be meant by goes to none.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::{Module, Token};
use crate::backend::pin::PinError;
use crate::ipc::TokenName;

/// How long a signature waits for what other modules show at their first look.
const FIRST_LOOKS: Duration = Duration::from_secs(10);

/// A module's part in the tokens that would be given the same unattended PIN. With more than one, none is.
#[derive(Clone, Default)]
pub struct Claimants {
    /// The module's place among those that share the PIN.
    place: usize,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    claims: Mutex<Claims>,
    /// A module had its first look.
    looked: Notify,
}

#[derive(Default)]
struct Claims {
    /// Modules that have not shown their tokens yet.
    unseen: usize,
    /// The tokens that want a PIN, by the place of their module.
    wanting: BTreeMap<usize, Vec<TokenName>>,
}

impl Claimants {
    /// The parts of several modules, the first one's first: until each had its first look, nobody gets the PIN.
    pub fn of_modules(count: usize) -> impl Iterator<Item = Self> {
        let claims = Mutex::new(Claims { unseen: count, ..Claims::default() });
        let shared = Arc::new(Shared { claims, looked: Notify::new() });
        (0..count).map(move |place| Self { place, shared: Arc::clone(&shared) })
    }

    /// A module had its first look, whatever came of it.
    pub(super) fn looked(&self) {
        let mut claims = self.lock();
        claims.unseen = claims.unseen.saturating_sub(1);
        self.shared.looked.notify_waiters();
    }

    async fn all_looked(&self) {
        loop {
            let looked = self.shared.looked.notified();
            if self.lock().unseen == 0 {
                return;
            }
            looked.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Claims> {
        self.shared.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Module {
    /// The same with those that were there once: an unattended PIN that was meant for one of them is not given to the next.
    pub(super) fn tokens_ever_wanting_pin(&self) -> Vec<Arc<Token>> {
        let wants =
            |token: &Token| token.seen(|seen| seen.login_required && !seen.protected_path && self.is_about(seen));
        self.tokens().values().filter(|token| wants(token)).cloned().collect()
    }

    /// Fails when the unattended PIN of this token would go to others too, or nobody knows yet.
    pub(super) async fn only_claimant(&self, token: &Token) -> Result<(), PinError> {
        if token.seen(|seen| self.own_pin_source(seen)).is_some() {
            return Ok(());
        }
        // Who asks right after the start is not to be refused because another module is slow.
        let _ = tokio::time::timeout(FIRST_LOOKS, self.spec.claimants.all_looked()).await;
        let claims = self.spec.claimants.lock();
        if claims.unseen > 0 {
            return Err(PinError::TooEarly);
        }
        let tokens: HashSet<&TokenName> = claims.wanting.values().flatten().collect();
        if tokens.len() > 1 {
            let mut labels: Vec<String> =
                tokens.iter().map(|token| crate::text::escape(token.label.as_bytes())).collect();
            labels.sort_unstable();
            return Err(PinError::Ambiguous { count: tokens.len(), tokens: labels.join(", ") });
        }
        // Several modules may show the same token. The PIN is for the one whose keys are offered: any other might only call its token so.
        let first = claims.wanting.iter().find(|(_, tokens)| tokens.contains(token.name()));
        match first.is_none_or(|(place, _)| *place == self.spec.claimants.place) {
            true => Ok(()),
            false => Err(PinError::ShownTwice { token: token.label() }),
        }
    }

    pub(super) fn claim(&self) {
        let without_own = |token: &Arc<Token>| token.seen(|seen| self.own_pin_source(seen)).is_none();
        let wanting = self.tokens_ever_wanting_pin().into_iter().filter(without_own);
        let wanting = wanting.map(|token| token.name().clone()).collect();
        self.spec.claimants.lock().wanting.insert(self.spec.claimants.place, wanting);
    }
}
