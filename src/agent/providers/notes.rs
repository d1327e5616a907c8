//! What a person should know of providers and certificates who misses a key.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Providers, lock};
use crate::agent::certificates::Found;
use crate::backend::Signer as _;
use crate::backend::pkcs11::TokenKey;
use crate::keyring::Provider;

impl Providers {
    /// What a person should know of the certificates and modules, a line each.
    pub fn notes(&self) -> Vec<String> {
        let read = self.certificates.read();
        let keys: Vec<Arc<TokenKey>> = self.active().values().flat_map(|active| active.module.offered()).collect();
        let has_key = |found: &&Found| keys.iter().any(|key| key.public().material() == found.public.material());
        let strays = read.certificates.iter().filter(|found| !has_key(found));
        let strays = strays.map(|found| format!("certificate {}: no token that was seen has its key", found.file));
        let modules: Vec<String> = self.active().values().flat_map(|active| active.module.notes()).collect();
        modules.into_iter().chain(self.shown_twice()).chain(read.problems.iter().cloned()).chain(strays).collect()
    }

    /// Tokens that a second module shows, too: their keys are offered once.
    fn shown_twice(&self) -> Vec<String> {
        let offered: HashMap<Arc<[u8]>, Provider> = lock(&self.keyring)
            .iter()
            .filter_map(|identity| Some((Arc::clone(identity.public.blob()), identity.provider.clone()?)))
            .collect();
        let mut notes: Vec<String> = Vec::new();
        for (provider, active) in self.active().iter() {
            for key in active.module.offered().iter().filter(|key| key.is_there()) {
                let Some(other) = offered.get(key.public().blob()).filter(|other| *other != provider) else { continue };
                let note = format!(
                    "token {:?} of module {}: its keys are offered from {other}, which shows it too; leave one of the two out of the \
                     configuration",
                    key.place().token,
                    active.module.path().display()
                );
                if !notes.contains(&note) {
                    notes.push(note);
                }
            }
        }
        notes
    }
}
