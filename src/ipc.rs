//! What the agent and the worker of a PKCS#11 module say to each other, over a socket pair.
//!
//! One call, one answer, strictly in turn. Frames are those of [`crate::protocol::frame`], bodies are `postcard`.

pub mod fido;
pub mod token;

use secrecy::{ExposeSecret, SecretSlice};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::backend::pin::TriesLeft;
use crate::protocol::public_key::KeyMaterial;
use crate::protocol::signature::SignatureAlgorithm;

/// The longest message between agent and worker, in octets; room for some ten thousand keys.
pub const MAX_IPC: usize = 32 * 1024 * 1024;

/// Which token, whatever slot it is in: what `C_GetTokenInfo` says of it, blanks trimmed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TokenName {
    /// Manufacturer of the device.
    pub manufacturer: String,
    /// Model of the device.
    pub model: String,
    /// Serial number of the device.
    pub serial: String,
    /// The label given when it was initialised.
    pub label: String,
}

/// Which key on a token: `CKA_ID`, told apart from others with the same id by type and public half.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyName {
    /// `CKA_ID`
    pub id: Vec<u8>,
    /// The public half's plain blob.
    pub public: Vec<u8>,
}

/// A request to a worker.
#[derive(Serialize, Deserialize)]
pub enum Call {
    /// Load the module and initialise it. The first call of all.
    Start {
        /// The module's path.
        module: std::path::PathBuf,
        /// What it may do.
        sandbox: Sandbox,
    },
    /// Load a middleware library for security keys (OpenSSH's `sk-api.h`). The first call of all, instead of [`Call::Start`].
    StartMiddleware {
        /// The library's path.
        library: std::path::PathBuf,
    },
    /// Serve a FIDO device. The first call of all, instead of [`Call::Start`].
    StartFido {
        /// Its file below `/dev`.
        device: std::path::PathBuf,
    },
    /// Do something with the FIDO device.
    Fido(fido::FidoCall),
    /// Manage the module's tokens.
    Token(token::TokenCall),
    /// Sign with a security key through the middleware.
    SignAssertion(Assertion),
    /// Look at all slots, tokens and keys.
    Scan,
    /// Log in to a token, once, after a look at its state.
    Login {
        /// The token; another one in its slot gets nothing.
        token: TokenName,
        /// The PIN; none for a token with a PIN pad.
        pin: Option<SecretOctets>,
        /// Present the PIN even when it is the final try.
        even_final_try: bool,
    },
    /// Compute one signature, and verify it.
    Sign {
        /// The token.
        token: TokenName,
        /// The key.
        key: KeyName,
        /// How the data are signed.
        algorithm: SignatureAlgorithm,
        /// The data, not hashed yet.
        data: Vec<u8>,
        /// The PIN, for keys that want it at each use (`CKA_ALWAYS_AUTHENTICATE`). Never presented as the final try.
        pin: Option<SecretOctets>,
    },
    /// Log out of a token.
    Logout {
        /// The token.
        token: TokenName,
    },
    /// Look whether the tokens are still those of the last look, as cheaply as the module allows.
    Glance,
}

/// What a module may do beside signing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Without it a module may do what the agent may.
    pub enabled: bool,
    /// Open sockets that lead out of the machine.
    pub network: bool,
    /// Start programs.
    pub run: bool,
    /// Write only below these, and to devices; anywhere when not given.
    pub write: Option<Vec<std::path::PathBuf>>,
    /// Its memory, in MiB: a worker that has more is ended after the call.
    pub memory: u64,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self { enabled: true, network: false, run: false, write: None, memory: 256 }
    }
}

/// What a security key is to sign (OpenSSH PROTOCOL.u2f).
#[derive(Serialize, Deserialize)]
pub struct Assertion {
    /// The key is Ed25519; else ECDSA on P-256.
    pub is_ed25519: bool,
    /// The data; the middleware hashes it.
    pub data: Vec<u8>,
    /// The relying party, such as `ssh:`.
    pub application: String,
    /// The credential id.
    pub handle: Vec<u8>,
    /// Flags the key was made with: 1 user presence, 4 user verification.
    pub flags: u8,
    /// The PIN, when the key wanted one.
    pub pin: Option<SecretOctets>,
}

/// The answer to a call.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Done, nothing to tell.
    Done,
    /// The tokens that are there.
    Tokens {
        /// Each with its keys.
        tokens: Vec<TokenSeen>,
        /// The module has slots that tokens are put into and taken out of, so this process will see a new one.
        sees_insertions: bool,
        /// The module takes its tokens from readers, by `pcscd`.
        pcscd: bool,
    },
    /// Logged in; these are the token's keys as they show now.
    LoggedIn(TokenSeen),
    /// The raw signature.
    Signature(Vec<u8>),
    /// A security key's signature: raw octets as [`Answer::Signature`] has them, flags and counter.
    Assertion {
        /// 64 octets, or `r || s`.
        raw: Vec<u8>,
        /// What the key did: 1 user present, 4 user verified.
        flags: u8,
        /// The key's signature counter.
        counter: u32,
    },
    /// The FIDO device's answer.
    Fido(fido::FidoAnswer),
    /// What came of managing tokens.
    Token(token::TokenAnswer),
    /// The FIDO device begins to wait for a touch, or no longer waits; the answer is still to come.
    WaitsForTouch(bool),
    /// It failed.
    Failed(ModuleFault),
    /// Whether the tokens may be others than at the last look.
    Glanced {
        /// Only another look tells which ones are there.
        changed: bool,
    },
}

/// A token as a scan found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSeen {
    /// Which token.
    pub name: TokenName,
    /// The slot it is in.
    pub slot: u64,
    /// The slot's description; modules for cards have the reader's name there.
    pub reader: String,
    /// A user PIN is needed before private keys can be used.
    pub login_required: bool,
    /// The PIN is entered on the device.
    pub protected_path: bool,
    /// A user PIN has been set.
    pub pin_initialized: bool,
    /// What the token says about tries.
    pub tries: TriesLeft,
    /// It is a device, or can be taken out: one worker serves it.
    pub device: bool,
    /// This process is logged in to it.
    pub logged_in: bool,
    /// Its keys.
    pub keys: Vec<KeySeen>,
    /// What looks like a key and is none that can be offered, as far as the session may see.
    pub left_out: Vec<LeftOut>,
    /// How many further slots have a token that says the same of itself. Nobody could tell whose PIN is whose, so they are not used.
    pub twins: usize,
}

/// An object that makes no key, alone as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// `CKA_ID`
    pub id: Vec<u8>,
    /// `CKA_LABEL`, any octets.
    pub label: Vec<u8>,
    /// Which half it is, and so what is missing.
    pub half: Half,
}

/// What a [`LeftOut`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Half {
    /// A private key that may sign; nothing tells its public half.
    Private,
    /// A public key, without the private one.
    Public,
    /// A certificate, without the private key.
    Certificate,
}

/// A key as a scan found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySeen {
    /// `CKA_ID`
    pub id: Vec<u8>,
    /// `CKA_LABEL`, any octets.
    pub label: Vec<u8>,
    /// The public half's plain blob.
    pub public: Vec<u8>,
    /// The private key wants the PIN at each use; known only once the private key is visible.
    pub always_authenticate: bool,
    /// The private key is visible; until login most tokens hide it.
    pub private_seen: bool,
}

impl KeySeen {
    /// Makes the name by which the key is asked for later.
    pub fn name(&self) -> KeyName {
        KeyName { id: self.id.clone(), public: self.public.clone() }
    }
}

/// A failure that the module reported, or the worker found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct ModuleFault {
    /// What kind, for what to do next.
    pub kind: FaultKind,
    /// The function and return value, or what the worker found.
    pub text: String,
    /// What the token says about PIN tries after a refused one.
    pub tries: TriesLeft,
    /// A PIN was presented, and not accepted for certain: a try may be spent.
    pub pin_at_stake: bool,
}

/// What a failure means for the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultKind {
    /// The module cannot be loaded or initialised.
    NotAModule,
    /// The token is not there (any more), or another one is in its slot.
    TokenGone,
    /// The key is not there (any more).
    KeyGone,
    /// The session or login was lost; a fresh look and a new login may help.
    SessionLost,
    /// Not logged in.
    NotLoggedIn,
    /// The PIN was wrong; a try is spent.
    PinIncorrect,
    /// The PIN is locked, expired or not set.
    PinLocked,
    /// Presenting the PIN would be the final try; nothing was presented.
    FinalTry,
    /// The token does not do this mechanism.
    MechanismRefused,
    /// The module does not do this at all.
    NotSupported,
    /// What it answered is no signature of the key.
    WrongSignature,
    /// The user cancelled on the device, or did not react.
    Cancelled,
    /// Anything else.
    Other,
}

/// Octets that are overwritten when dropped and never printed.
pub struct SecretOctets(pub SecretSlice<u8>);

impl Serialize for SecretOctets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0.expose_secret())
    }
}

impl<'de> Deserialize<'de> for SecretOctets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Borrowed: the frame's buffer, overwritten after use, stays the only other copy.
        <&[u8]>::deserialize(deserializer).map(|octets| Self(octets.to_vec().into()))
    }
}

/// Encodes a message as a frame, length field included. The buffer is overwritten when dropped: it may hold a PIN.
///
/// # Errors
/// The message is longer than [`MAX_IPC`].
pub fn encode(message: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, postcard::Error> {
    // Sized beforehand, because a buffer that grows leaves its old octets behind.
    let length = postcard::serialize_with_flavor(message, postcard::ser_flavors::Size::default())?;
    if length > MAX_IPC {
        return Err(postcard::Error::SerializeBufferFull);
    }
    let mut frame = Zeroizing::new(vec![0; 4 + length]);
    frame[..4].copy_from_slice(&(length as u32).to_be_bytes());
    postcard::to_slice(message, &mut frame[4..])?;
    Ok(frame)
}

/// Decodes a frame's body.
///
/// # Errors
/// The other side does not speak this language; it must not be used any longer.
pub fn decode<'a, M: Deserialize<'a>>(body: &'a [u8]) -> Result<M, postcard::Error> {
    postcard::from_bytes(body)
}

/// The public half that a key's name carries.
pub fn material(public: &[u8]) -> Option<KeyMaterial> {
    crate::protocol::public_key::PublicKey::from_blob(public).ok().map(|key| key.material().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_arrives_as_it_was_sent() {
        let token = TokenName { manufacturer: "m".into(), model: "o".into(), serial: "s".into(), label: "l".into() };
        let pin = Some(SecretOctets(b"\0 1234\xff".to_vec().into()));
        let frame = encode(&Call::Login { token: token.clone(), pin, even_final_try: false }).expect("short");
        let Ok(Call::Login { token: read, pin: Some(pin), .. }) = decode(&frame[4..]) else { panic!("another call") };
        assert_eq!(read, token);
        assert_eq!(pin.0.expose_secret(), b"\0 1234\xff");
    }
}
