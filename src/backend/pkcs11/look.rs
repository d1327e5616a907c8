//! What looks at a token find, and what of it stays when the next one finds less: after a login a token shows more than before.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::token::Token;
use crate::ipc::{KeyName, KeySeen, TokenSeen};

/// What the last look without a login showed.
pub(super) struct PublicLook {
    keys: Vec<KeyName>,
    /// The keys whose private half shows, which may sign without a login.
    open: HashMap<KeyName, Access>,
}

/// Whether a key of a token that has a PIN signs without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// It does not, like almost all.
    AfterLogin,
    /// Its private half shows, and nobody has tried yet.
    Untried,
    /// It did, like that of a PIV card's slot 9E.
    Open,
}

impl PublicLook {
    pub(super) fn of(keys: &[KeySeen]) -> Self {
        // One that wants the PIN each time wants it although it shows.
        let open = keys.iter().filter(|key| key.private_seen && !key.always_authenticate);
        Self { keys: names(keys), open: open.map(|key| (key.name(), Access::Untried)).collect() }
    }

    /// Takes the place of the last look, and keeps what was found out about the keys that still show; the last look's keys.
    fn follow(&mut self, found: &[KeySeen]) -> Vec<KeyName> {
        let mut next = Self::of(found);
        next.open.iter_mut().for_each(|(key, access)| *access = self.open.get(key).copied().unwrap_or(*access));
        std::mem::replace(self, next).keys
    }
}

impl Token {
    /// It was seen; whether it is another one than it was, or had been away.
    pub(super) fn arrives(&self, found: TokenSeen) -> bool {
        let was_away = !self.present.swap(true, Ordering::Relaxed);
        let shows_all = self.shows_all.load(Ordering::Relaxed);
        let changed = self.seen(|before| {
            let (keys, left_out) = if found.logged_in {
                (found.keys, found.left_out)
            } else {
                let last = self.public_look(|look| look.follow(&found.keys));
                match shows_all {
                    true => (updated(&before.keys, &last, found.keys), std::mem::take(&mut before.left_out)),
                    false => (found.keys, found.left_out),
                }
            };
            let changed = keys != before.keys;
            *before = TokenSeen { keys, left_out, logged_in: before.logged_in || found.logged_in, ..found };
            changed
        });
        changed || was_away
    }

    /// It was not seen; whether that is news. Its PIN is forgotten, and who waits for it need not wait any longer.
    pub(super) fn leaves(&self) -> bool {
        let is_news = self.present.swap(false, Ordering::Relaxed);
        if is_news {
            self.shows_all.store(false, Ordering::Relaxed);
            self.public_look(|look| look.open.clear());
            self.forget_pin();
            self.departure.notify_waiters();
        }
        is_news
    }

    /// Whether a key signs without the PIN, as far as is known.
    pub(super) fn access(&self, key: &KeyName) -> Access {
        if !self.seen(|seen| seen.login_required) || self.always_authenticates(key) {
            return Access::AfterLogin;
        }
        self.public_look(|look| look.open.get(key).copied()).unwrap_or(Access::AfterLogin)
    }

    /// Notes what a signature showed; of a key that does not show any more nothing is kept.
    pub(super) fn note_access(&self, key: &KeyName, access: Access) {
        self.public_look(|look| {
            if let Some(known) = look.open.get_mut(key) {
                *known = access;
            }
        });
    }

    fn public_look<R>(&self, with: impl FnOnce(&mut PublicLook) -> R) -> R {
        with(&mut self.public_look.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn names(keys: &[KeySeen]) -> Vec<KeyName> {
    keys.iter().map(KeySeen::name).collect()
}

/// The keys that are known since a login, after a look without one: that must not hide what shows after login only, but what came or went since
/// the last such look did so for everybody.
fn updated(known: &[KeySeen], last: &[KeyName], found: Vec<KeySeen>) -> Vec<KeySeen> {
    let shown = names(&found);
    let mut keys: Vec<KeySeen> = known.to_vec();
    keys.retain(|key| !last.contains(&key.name()) || shown.contains(&key.name()));
    let is_new = |key: &KeySeen| !last.contains(&key.name()) && known.iter().all(|old| old.name() != key.name());
    keys.extend(found.into_iter().filter(is_new));
    keys
}
