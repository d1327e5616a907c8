//! What a person should know of a module and its tokens who misses a key.

use std::sync::{Arc, PoisonError};

use super::error::TokenError;
use super::{Module, Token, TokenKey};
use crate::ipc::{Half, KeySeen, LeftOut};
use crate::text::{escape, hex};

impl Module {
    /// Notes why the module cannot be used, or that it can.
    pub(super) fn note_trouble(&self, error: Option<&TokenError>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = error.cloned();
    }

    /// Why keys may be missing: a line for each reason, with what to do.
    pub fn notes(&self) -> Vec<String> {
        if let Some(trouble) = &*self.trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            return vec![trouble.to_string()];
        }
        let tokens: Vec<_> = self.tokens().values().cloned().collect();
        let wanted = tokens.iter().filter(|token| token.is_present() && token.seen(|seen| self.is_about(seen)));
        wanted.flat_map(|token| self.notes_on(token)).collect()
    }

    fn notes_on(&self, token: &Arc<Token>) -> Vec<String> {
        let (seen, label) = (token.seen(|seen| seen.clone()), token.label());
        let is_unusable = |key: &&KeySeen| TokenKey::new(token.clone(), self.name(), key).is_none();
        let too_small = seen.keys.iter().filter(is_unusable).map(|key| {
            let named = named(&key.label, &key.id);
            format!("token {label:?}: key {named} is not offered: RSA keys have 2048 to 8192 bits; make another one")
        });
        let hidden = seen.keys.is_empty() && seen.login_required && !seen.logged_in;
        let hidden = hidden.then(|| {
            format!(
                "token {label:?} shows no key: it has none, or hides them until it has its PIN; `ssh-add -s {}` gives it",
                self.name()
            )
        });
        let twins = (seen.twins > 0).then(|| {
            format!(
                "token {label:?}: {} of its module say the same manufacturer, model, serial number and label, and only the first is used; give \
                 each a label of its own",
                match seen.twins { 1 => "two tokens".to_owned(), more => format!("{} tokens", more.saturating_add(1)) }
            )
        });
        let halves = seen.left_out.iter().map(|half| half_alone(&label, half));
        halves.chain(too_small).chain(hidden).chain(twins).collect()
    }
}

fn half_alone(token: &str, half: &LeftOut) -> String {
    let named = named(&half.label, &half.id);
    let (what, why) = match half.half {
        Half::Private => (
            "private key",
            "nothing with the same id tells a public key that SSH knows; write its public key to the token under that id, for example with \
             `pkcs11-tool --write-object key.der --type pubkey --id`",
        ),
        Half::Public => ("public key", NO_PRIVATE),
        Half::Certificate => ("certificate", NO_PRIVATE),
    };
    format!("token {token:?}: {what} {named} is not offered: {why}")
}

const NO_PRIVATE: &str = "no private key on the token has the same id; if there is one, give both the same id";

/// A label and an id, either of which may be missing.
fn named(label: &[u8], id: &[u8]) -> String {
    let id = if id.is_empty() { "without id".to_owned() } else { format!("(id {})", hex(id)) };
    match escape(label) {
        label if label.is_empty() => format!("without label {id}"),
        label => format!("\"{label}\" {id}"),
    }
}
