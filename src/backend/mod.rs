//! Where keys live and sign: in memory, or on a token behind a worker process.
//!
//! Owns the trait [`Signer`], its implementations and the care for PINs. Never decides whether a signature is allowed.

pub mod fido;
mod link;
pub mod middleware;
pub mod pin;
pub mod pkcs11;
mod rsa_sha1;
pub mod software;

use std::pin::Pin as Pinned;

use serde::Serialize;

pub use link::SUBCOMMAND;

use crate::errand::{Demands, Errand};
use crate::protocol::signature::{NoAlgorithm, Wanted};

/// A future that a trait object returns.
pub type BoxFuture<'a, T> = Pinned<Box<dyn Future<Output = T> + Send + 'a>>;

/// A private key that can sign, wherever it lives.
pub trait Signer: Send + Sync {
    /// Signs `data` and returns the signature blob that goes to the client; `errand` is for the people who have to help with it.
    ///
    /// Dropping the future withdraws the request: a dialog it opened closes.
    fn sign<'a>(
        &'a self,
        data: &'a [u8],
        wanted: Wanted,
        errand: &'a Errand,
    ) -> BoxFuture<'a, Result<Vec<u8>, SignError>>;

    /// What the key's device demands by itself.
    fn demands(&self) -> Demands {
        Demands::default()
    }

    /// Whether [`Self::sign`] can see to it that this is demanded. What comes back otherwise says why not.
    ///
    /// # Errors
    /// It cannot.
    fn can_demand(&self, demands: Demands) -> Result<(), CannotDemand> {
        match demands {
            Demands { touch: true, .. } => {
                Err(CannotDemand("the key is not on a device that could be told to wait for a touch"))
            }
            Demands { pin: true, .. } => Err(CannotDemand("the key has no PIN that could be asked for")),
            Demands { .. } => Ok(()),
        }
    }

    /// Whether the key can be had at all: a token may be gone, and its keys are not offered then.
    fn is_there(&self) -> bool {
        true
    }

    /// Where the key lives and how it is, for people.
    fn place(&self) -> Place;
}

/// Why a key's device cannot be made to demand something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CannotDemand(pub &'static str);
/// Whoever talks to people on behalf of keys.
pub trait People: pin::PinPrompt + middleware::TouchNotice {}

impl<T: pin::PinPrompt + middleware::TouchNotice> People for T {}

/// Where a key lives, as `hardkey list` shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Place {
    /// The token's label, or `memory`.
    pub token: String,
    /// The token's serial number, when it has one.
    pub serial: Option<String>,
    /// The PKCS#11 slot identifier at the last look.
    pub slot: Option<u64>,
    /// The module's path.
    pub module: Option<String>,
    /// An RFC 7512 URI that selects the key.
    pub uri: Option<String>,
    /// `ready`, `needs PIN`, `gone` and so on.
    pub state: String,
}

/// Why there is no signature. The text is for the log: what failed, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// No signature algorithm serves the request.
    #[error(transparent)]
    NoAlgorithm(#[from] NoAlgorithm),
    /// The software key's library refused; a key whose numbers are inconsistent.
    #[error("the key's numbers do not make a signature; add the key again")]
    Software,
    /// A security key or its middleware failed.
    #[error("security key by {provider}: {reason}")]
    SecurityKey {
        /// The middleware's path.
        provider: String,
        /// What went wrong, and the remedy.
        reason: String,
    },
    /// A FIDO device failed, or is not there.
    #[error(transparent)]
    Fido(#[from] fido::FidoError),
    /// No PIN, or not the right one.
    #[error(transparent)]
    Pin(#[from] pin::PinError),
    /// The token or its module failed.
    #[error(transparent)]
    Token(#[from] pkcs11::error::TokenError),
}
