//! One key on a token, as a signer.

use std::sync::Arc;

use super::token::{Token, Work};
use super::uri::Uri;
use crate::backend::{BoxFuture, CannotDemand, Place, SignError, Signer};
use crate::crypto::verify::Verifier;
use crate::errand::{Demands, Errand};
use crate::ipc::{KeyName, KeySeen, TokenName};
use crate::protocol::public_key::PublicKey;
use crate::protocol::signature::{SignatureAlgorithm, Wanted};

/// A private key on a token.
pub struct TokenKey {
    token: Arc<Token>,
    name: KeyName,
    label: String,
    /// What selects it, as people write it.
    uri: String,
    module: String,
    public: PublicKey,
}

impl TokenKey {
    /// Takes a key that a scan found; `None` when its public half is not one that a signature could be verified with.
    pub(super) fn new(token: Arc<Token>, module: String, seen: &KeySeen) -> Option<Self> {
        let public = PublicKey::from_blob(&seen.public).ok()?;
        Verifier::new(public.material()).ok()?;
        let label = match crate::text::escape(&seen.label) {
            label if label.is_empty() => format!("{} key", token.label()),
            label => label,
        };
        let uri = Uri::of_key(token.name(), seen).to_string();
        Some(Self { token, name: seen.name(), label, uri, module, public })
    }

    /// The public half.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The key's label, safe to show; the comment it is listed with.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The token it lives on.
    pub(super) fn token_name(&self) -> &TokenName {
        self.token.name()
    }
}

impl Signer for TokenKey {
    fn sign<'a>(
        &'a self,
        data: &'a [u8],
        wanted: Wanted,
        errand: &'a Errand,
    ) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        Box::pin(async move {
            let algorithm = SignatureAlgorithm::choose(self.public.material(), wanted, data)?;
            if errand.demands.pin {
                self.token.ask_again(&self.label, errand).await?;
            }
            let (key, label, data) = (self.name.clone(), self.label.clone(), data.to_vec());
            let raw = self.token.sign(Work { key, label, algorithm, data, errand: errand.clone() }).await?;
            Ok(algorithm.encode(&raw))
        })
    }

    fn can_demand(&self, demands: Demands) -> Result<(), CannotDemand> {
        if demands.touch {
            return Err(CannotDemand(
                "PKCS#11 has no way to make a token wait for a touch; set the touch policy of the key on the token itself",
            ));
        }
        match demands.pin && !self.token.has_pin_to_type() {
            true => Err(CannotDemand("the token has no PIN that is typed on this machine")),
            false => Ok(()),
        }
    }

    fn is_there(&self) -> bool {
        self.token.is_present()
    }

    fn place(&self) -> Place {
        Place {
            token: self.token.label(),
            serial: Some(crate::text::escape(self.token.name().serial.as_bytes())),
            slot: Some(self.token.seen(|seen| seen.slot)),
            module: Some(self.module.clone()),
            uri: Some(self.uri.clone()),
            state: self.token.state(&self.name),
        }
    }
}
