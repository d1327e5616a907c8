//! The inventory that `hardkey list` shows: every key, where it lives and how it is.

use serde::{Deserialize, Serialize};

use super::certificates::Validity;
use crate::backend::Place;
use crate::crypto::fingerprint::FingerprintHash;
use crate::errand::Demands;
use crate::keyring::{Identity, Keyring};
use crate::protocol::public_key::PublicKey;

/// One key of the inventory. The field names are those of `hardkey list --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The key type with its size, such as `RSA-2048`.
    pub algorithm: String,
    /// `SHA256:` fingerprint.
    pub fingerprint: String,
    /// Comment, safe to show.
    pub comment: String,
    /// The public key as one line of `authorized_keys`.
    pub public_key: String,
    /// Every use is confirmed in a dialog.
    pub confirm: bool,
    /// What rules demand of it in vain.
    #[serde(default)]
    pub cannot_demand: CannotDemand,
    /// When a certificate ends, in UTC (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_before: Option<String>,
    /// Where it lives.
    #[serde(flatten)]
    pub place: Place,
}

/// Why a key's device cannot be made to demand something at each signature; a reason is left out where it can.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CannotDemand {
    /// A touch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub touch: Option<String>,
    /// The PIN.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pin: Option<String>,
}

impl Entry {
    /// Describes an identity.
    pub fn of(identity: &Identity) -> Self {
        let public = &identity.public;
        let comment = crate::text::escape(&identity.comment);
        let material = public.material();
        let why_not = |touch, pin| identity.signer.can_demand(Demands { touch, pin }).err().map(|why| why.to_string());
        let certificate = if public.certificate().is_some() { "-CERT" } else { "" };
        let algorithm = match material.short_name() {
            name @ ("RSA" | "ECDSA") => format!("{name}-{}{certificate}", material.bits()),
            name => format!("{name}{certificate}"),
        };
        Self {
            algorithm,
            fingerprint: FingerprintHash::Sha256.of(public),
            public_key: authorized_keys_line(public, &comment),
            comment,
            confirm: identity.confirm,
            cannot_demand: CannotDemand { touch: why_not(true, false), pin: why_not(false, true) },
            valid_before: public.certificate().and_then(|_| Validity::of(public).end()),
            place: identity.signer.place(),
        }
    }
}

/// Everything there is to tell.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Inventory {
    /// The keys.
    pub keys: Vec<Entry>,
    /// What a person should know beside them, a line each.
    pub notes: Vec<String>,
}

impl Inventory {
    /// What a keyring holds.
    pub fn of(keyring: &Keyring, notes: Vec<String>) -> Self {
        Self { keys: keyring.iter().map(|identity| Entry::of(identity)).collect(), notes }
    }

    /// As JSON.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// A line for `authorized_keys` (sshd(8)): type, base64 blob, comment.
pub fn authorized_keys_line(public: &PublicKey, comment: &str) -> String {
    use base64ct::{Base64, Encoding as _};
    let line = format!("{} {} {comment}", public.type_name(), Base64::encode_string(public.blob()));
    line.trim_end().to_owned()
}
