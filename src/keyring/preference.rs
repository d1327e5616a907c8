//! In which order a server is offered keys: servers give up after a few (`MaxAuthTries`), so what worked comes first, and what was in vain
//! comes last.
//!
//! Learned from what passes through the agent and kept in memory only. It orders and hides nothing.

use std::collections::HashSet;
use std::sync::Arc;

use indexmap::IndexMap;

use super::Identity;

/// How many keys a server looks at by default (sshd_config(5), MaxAuthTries).
const USUAL_TRIES: usize = 6;
/// The hosts that are remembered; the one not met for longest is forgotten.
const MOST_HOSTS: usize = 1024;

/// What is known of servers, by host key.
#[derive(Default)]
pub struct Preferences(IndexMap<Vec<u8>, Known>);

#[derive(Default)]
struct Known {
    worked: Option<Arc<[u8]>>,
    in_vain: HashSet<Arc<[u8]>>,
}

impl Preferences {
    /// Orders what a server is to be offered: the key that last logged in there, keys that were added for certain destinations, keys that
    /// the client's configuration names, in its order, the others, those that are to come into use next, and last those that it was offered in
    /// vain. Within each group the order stays.
    pub fn order(
        &self,
        host: &[u8],
        named: &[Vec<u8>],
        is_next: impl Fn(&Identity) -> bool,
        identities: &mut [Arc<Identity>],
    ) {
        let known = self.0.get(host);
        identities.sort_by_key(|identity| {
            let blob = identity.public.blob();
            match known {
                // Whoever names a key that is not yet in use before all others wants to know whether it works.
                _ if named.first().is_some_and(|first| first[..] == blob[..]) && is_next(identity) => (0, 0),
                Some(known) if known.worked.as_ref() == Some(blob) => (1, 0),
                Some(known) if known.in_vain.contains(blob) => (6, 0),
                _ if !identity.destinations.is_empty() => (2, 0),
                _ => match named.iter().position(|key| key[..] == blob[..]) {
                    Some(place) => (3, place),
                    None if is_next(identity) => (5, 0),
                    None => (4, 0),
                },
            }
        });
    }

    /// A key was used to log in there.
    pub fn worked(&mut self, host: &[u8], key: &Arc<[u8]>) {
        let known = self.meet(host);
        known.worked = Some(Arc::clone(key));
        known.in_vain.remove(key);
    }

    /// A connection ended without a signature although these were offered, in this order: the server did not get beyond the first ones.
    pub fn in_vain(&mut self, host: &[u8], offered: &[Arc<[u8]>]) {
        let known = self.meet(host);
        known.worked = None;
        let tried = offered.iter().take(USUAL_TRIES).cloned();
        match offered.iter().all(|key| known.in_vain.contains(key)) {
            // Everything was in vain: begin again.
            true => known.in_vain = tried.collect(),
            false => known.in_vain.extend(tried),
        }
    }

    fn meet(&mut self, host: &[u8]) -> &mut Known {
        let known = self.0.shift_remove(host).unwrap_or_default();
        if self.0.len() >= MOST_HOSTS {
            self.0.shift_remove_index(0);
        }
        self.0.entry(host.to_vec()).or_insert(known)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::identity;
    use super::*;

    fn keys(count: u8) -> Vec<Arc<Identity>> {
        (1..=count).map(|number| Arc::new(identity(number, None))).collect()
    }

    fn blobs(identities: &[Arc<Identity>]) -> Vec<Arc<[u8]>> {
        identities.iter().map(|identity| Arc::clone(identity.public.blob())).collect()
    }

    fn order(preferences: &Preferences, host: &[u8]) -> Vec<u8> {
        let mut identities = keys(8);
        preferences.order(host, &[], |_| false, &mut identities);
        identities.iter().map(|identity| identity.comment[0]).collect()
    }

    #[test]
    fn what_worked_comes_first_and_what_was_in_vain_comes_last() {
        let mut preferences = Preferences::default();
        assert_eq!(order(&preferences, b"host"), [1, 2, 3, 4, 5, 6, 7, 8]);
        preferences.in_vain(b"host", &blobs(&keys(8)));
        assert_eq!(order(&preferences, b"host"), [7, 8, 1, 2, 3, 4, 5, 6]);
        assert_eq!(order(&preferences, b"other"), [1, 2, 3, 4, 5, 6, 7, 8]);
        preferences.worked(b"host", identity(8, None).public.blob());
        assert_eq!(order(&preferences, b"host")[0], 8);
    }

    #[test]
    fn keys_that_the_configuration_names_come_before_the_others_and_after_what_worked() {
        let mut preferences = Preferences::default();
        let named = [5, 3].map(|number| identity(number, None).public.blob().to_vec());
        let order = |preferences: &Preferences| {
            let mut identities = keys(6);
            preferences.order(b"host", &named, |_| false, &mut identities);
            identities.iter().map(|identity| identity.comment[0]).collect::<Vec<_>>()
        };
        assert_eq!(order(&preferences), [5, 3, 1, 2, 4, 6]);
        preferences.in_vain(b"host", &[Arc::clone(identity(5, None).public.blob())]);
        preferences.worked(b"host", identity(2, None).public.blob());
        assert_eq!(order(&preferences), [2, 3, 1, 4, 6, 5]);
    }

    #[test]
    fn a_key_that_is_next_comes_after_the_others_unless_it_is_named_or_worked() {
        let mut preferences = Preferences::default();
        let order = |preferences: &Preferences, named: &[Vec<u8>]| {
            let mut identities = keys(3);
            preferences.order(b"host", named, |identity| identity.comment == [1], &mut identities);
            identities.iter().map(|identity| identity.comment[0]).collect::<Vec<_>>()
        };
        assert_eq!(order(&preferences, &[]), [2, 3, 1]);
        let next = identity(1, None).public.blob().clone();
        assert_eq!(order(&preferences, &[next.to_vec()]), [1, 2, 3]);
        preferences.in_vain(b"host", &[Arc::clone(identity(2, None).public.blob())]);
        assert_eq!(order(&preferences, &[]), [3, 1, 2]);
        preferences.worked(b"host", &next);
        assert_eq!(order(&preferences, &[]), [1, 3, 2]);
        preferences.worked(b"host", identity(2, None).public.blob());
        let named = [1, 2].map(|number| identity(number, None).public.blob().to_vec());
        assert_eq!(order(&preferences, &named), [1, 2, 3]);
        let named = [2, 1].map(|number| identity(number, None).public.blob().to_vec());
        assert_eq!(order(&preferences, &named), [2, 1, 3]);
    }

    #[test]
    fn every_key_has_its_turn_again_and_again() {
        let mut preferences = Preferences::default();
        let mut first = Vec::new();
        for _ in 0..4 {
            let mut identities = keys(8);
            preferences.order(b"host", &[], |_| false, &mut identities);
            first.push(identities[0].comment[0]);
            preferences.in_vain(b"host", &blobs(&identities));
        }
        assert_eq!(first[0], 1);
        assert!(first.contains(&7), "{first:?}");
    }

    #[test]
    fn only_so_many_hosts_are_remembered() {
        let mut preferences = Preferences::default();
        for number in 0..2000_u32 {
            preferences.worked(&number.to_be_bytes(), identity(1, None).public.blob());
        }
        assert_eq!(preferences.0.len(), MOST_HOSTS);
    }
}
