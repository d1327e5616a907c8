//! The identities the agent offers, their limits, and the lock.
//!
//! Owns which key answers to which blob, in which order they are listed, and when they are gone; the list reply is kept encoded, so
//! that listing a thousand keys costs as much as listing one. Never asks anybody anything.

mod lock;
mod names;
mod preference;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

pub use lock::{Lock, Locked};
pub use names::{Named, Names};
pub use preference::Preferences;

use crate::backend::Signer;
use crate::protocol::destination::DestinationConstraint;
use crate::protocol::public_key::PublicKey;
use crate::protocol::reply;

/// Which provider a key came with: the module's path or the URI that was given.
pub type Provider = Arc<str>;

/// One key that clients may use.
pub struct Identity {
    /// The key or certificate that names it.
    pub public: PublicKey,
    /// What `ssh-add -l` shows beside it; any octets for software keys, escaped text for token keys.
    pub comment: Vec<u8>,
    /// What signs.
    pub signer: Arc<dyn Signer>,
    /// The PKCS#11 provider it came with.
    pub provider: Option<Provider>,
    /// Every use needs consent.
    pub confirm: bool,
    /// The only paths it may be used on; empty means any.
    pub destinations: Arc<[DestinationConstraint]>,
    /// When it is forgotten, on [`crate::clock`].
    pub expires: Option<Duration>,
    /// What it is called: see [`Identity::named`].
    pub names: Names,
}

/// The ordered set of identities.
#[derive(Default)]
pub struct Keyring {
    identities: IndexMap<Arc<[u8]>, Arc<Identity>>,
    /// Token keys that were removed one by one: they stay away although their token still shows them.
    hidden: HashSet<(Provider, Arc<[u8]>)>,
    answer: Option<Arc<[u8]>>,
    next_expiry: Option<Duration>,
}

impl Keyring {
    /// Adds an identity; one with the same blob is replaced and keeps its place in the list.
    pub fn add(&mut self, identity: Identity) {
        //= RFC 9987 section 5.2: Adding a key that is already present in an agent SHOULD replace any constraints it was
        //= previously loaded with
        self.identities.insert(Arc::clone(identity.public.blob()), Arc::new(identity));
        self.changed();
    }

    /// Makes the identities of a provider exactly these. Keys that stay keep their place; keys added by others are left alone.
    pub fn replace_provider(&mut self, provider: &Provider, identities: Vec<Identity>) {
        let new: HashSet<Arc<[u8]>> = identities.iter().map(|identity| Arc::clone(identity.public.blob())).collect();
        let is_theirs = |known: &Identity| known.provider.as_ref() == Some(provider);
        self.identities.retain(|blob, known| !is_theirs(known) || new.contains(blob));
        for identity in identities {
            let blob = Arc::clone(identity.public.blob());
            let is_free = self.identities.get(&blob).is_none_or(|known| is_theirs(known));
            if is_free && !self.hidden.contains(&(Arc::clone(provider), Arc::clone(&blob))) {
                self.identities.insert(blob, Arc::new(identity));
            }
        }
        self.changed();
    }

    /// Lets a provider's keys show again that were removed one by one.
    pub fn show_again(&mut self, provider: &Provider) {
        self.hidden.retain(|(hidden, _)| hidden != provider);
    }

    /// Removes one identity; whether it was there.
    pub fn remove(&mut self, blob: &[u8], now: Duration) -> bool {
        self.purge(now);
        let removed = self.identities.shift_remove(blob);
        if let Some(provider) = removed.as_ref().and_then(|identity| identity.provider.clone()) {
            self.hidden.insert((provider, Arc::from(blob)));
        }
        self.changed();
        removed.is_some()
    }

    /// Removes the identities of a provider; how many there were.
    pub fn remove_provider(&mut self, provider: &Provider) -> usize {
        let before = self.identities.len();
        self.identities.retain(|_, identity| identity.provider.as_ref() != Some(provider));
        self.show_again(provider);
        self.changed();
        before - self.identities.len()
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.identities.clear();
        self.changed();
    }

    /// Forgets identities whose time is over.
    pub fn purge(&mut self, now: Duration) {
        if self.next_expiry.is_some_and(|next| next <= now) {
            //= RFC 9987 section 5.2.7.1: deleting it after the specified duration (in seconds) has elapsed from the
            //= time the key was added to the agent
            self.identities.retain(|_, identity| identity.expires.is_none_or(|expires| expires > now));
            self.changed();
        }
    }

    /// When the next identity expires, on [`crate::clock`].
    pub const fn next_expiry(&self) -> Option<Duration> {
        self.next_expiry
    }

    /// The identity that a blob names.
    pub fn find(&mut self, blob: &[u8], now: Duration) -> Option<Arc<Identity>> {
        self.purge(now);
        self.identities.get(blob).cloned()
    }

    /// The encoded list reply: the keys that are there.
    pub fn answer(&mut self, now: Duration) -> Arc<[u8]> {
        self.purge(now);
        let identities = &self.identities;
        let encode = || {
            let there = identities.values().filter(|identity| identity.signer.is_there());
            let pairs = there.map(|identity| (&identity.public.blob()[..], &identity.comment[..]));
            reply::identities(pairs).into()
        };
        Arc::clone(self.answer.get_or_insert_with(encode))
    }

    /// A list reply with only those identities that a connection may see.
    pub fn answer_for(&mut self, now: Duration, may_see: impl Fn(&Identity) -> bool) -> Arc<[u8]> {
        self.purge(now);
        if self.identities.values().all(|identity| may_see(identity)) {
            return self.answer(now);
        }
        let seen = self.identities.values().filter(|identity| may_see(identity) && identity.signer.is_there());
        reply::identities(seen.map(|identity| (&identity.public.blob()[..], &identity.comment[..]))).into()
    }

    /// The identities that a connection may see, in list order.
    pub fn seen_by(&mut self, now: Duration, may_see: impl Fn(&Identity) -> bool) -> Vec<Arc<Identity>> {
        self.purge(now);
        self.identities.values().filter(|identity| may_see(identity) && identity.signer.is_there()).cloned().collect()
    }

    /// All identities in list order, with those whose token is gone.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Identity>> {
        self.identities.values()
    }

    fn changed(&mut self) {
        self.answer = None;
        self.next_expiry = self.identities.values().filter_map(|identity| identity.expires).min();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{BoxFuture, Place, SignError};
    use crate::errand::Errand;
    use crate::protocol::public_key::KeyMaterial;
    use crate::protocol::signature::Wanted;

    struct Mute;
    impl Signer for Mute {
        fn sign<'a>(&'a self, _: &'a [u8], _: Wanted, _: &'a Errand) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
            Box::pin(async { Err(SignError::Software) })
        }
        fn place(&self) -> Place {
            Place::default()
        }
    }

    pub(super) fn identity(number: u8, provider: Option<&str>) -> Identity {
        Identity {
            public: PublicKey::from_material(KeyMaterial::Ed25519 { key: [number; 32] }),
            comment: vec![number],
            signer: Arc::new(Mute),
            provider: provider.map(Arc::from),
            confirm: false,
            destinations: [].into(),
            expires: None,
            names: Names::default(),
        }
    }

    fn order(keyring: &Keyring) -> Vec<u8> {
        keyring.iter().map(|identity| identity.comment[0]).collect()
    }

    #[test]
    fn a_key_added_again_keeps_its_place_and_takes_the_new_limits() {
        let mut keyring = Keyring::default();
        (1..=3).for_each(|number| keyring.add(identity(number, None)));
        keyring.add(Identity { confirm: true, ..identity(2, None) });
        assert_eq!(order(&keyring), [1, 2, 3]);
        let blob = Arc::clone(identity(2, None).public.blob());
        assert!(keyring.find(&blob, Duration::ZERO).expect("present").confirm);
    }

    #[test]
    fn a_key_whose_time_is_over_is_neither_listed_nor_found() {
        let mut keyring = Keyring::default();
        keyring.add(identity(1, None));
        keyring.add(Identity { expires: Some(Duration::from_secs(5)), ..identity(2, None) });
        let blob = Arc::clone(identity(2, None).public.blob());
        assert!(keyring.find(&blob, Duration::from_secs(4)).is_some());
        let before = keyring.answer(Duration::from_secs(4));
        assert!(keyring.find(&blob, Duration::from_secs(5)).is_none());
        assert_ne!(keyring.answer(Duration::from_secs(5)), before);
        assert_eq!(keyring.next_expiry(), None);
    }

    #[test]
    fn a_provider_takes_away_only_its_own_keys() {
        let mut keyring = Keyring::default();
        keyring.add(identity(1, None));
        let (a, b): (Provider, Provider) = ("a".into(), "b".into());
        keyring.replace_provider(&a, vec![identity(2, Some("a")), identity(3, Some("a")), identity(1, Some("a"))]);
        keyring.replace_provider(&b, vec![identity(4, Some("b"))]);
        assert_eq!(order(&keyring), [1, 2, 3, 4]);
        keyring.replace_provider(&a, vec![identity(3, Some("a"))]);
        assert_eq!(order(&keyring), [1, 3, 4]);
        assert_eq!(keyring.remove_provider(&a), 1);
        assert_eq!(order(&keyring), [1, 4]);
    }

    #[test]
    fn a_token_key_that_was_removed_stays_away_until_its_provider_is_added_again() {
        let mut keyring = Keyring::default();
        let provider: Provider = "a".into();
        let keys = || vec![identity(1, Some("a")), identity(2, Some("a"))];
        keyring.replace_provider(&provider, keys());
        assert!(keyring.remove(identity(1, None).public.blob(), Duration::ZERO));
        keyring.replace_provider(&provider, keys());
        assert_eq!(order(&keyring), [2]);
        keyring.show_again(&provider);
        keyring.replace_provider(&provider, keys());
        assert_eq!(order(&keyring), [2, 1]);
    }
}
