//! What the command line and a worker that manages tokens say to each other. Each call stands alone: it finds its token, opens a session, and
//! closes it.

use serde::{Deserialize, Serialize};

use super::{KeySeen, SecretOctets, TokenName, TokenSeen};
use crate::backend::pin::TriesLeft;

/// What is to be done with a module's tokens.
#[derive(Serialize, Deserialize)]
pub enum TokenCall {
    /// Look at all tokens, also those that are not initialised, without logging in.
    Survey,
    /// Erase a token and give it a label, its security officer's PIN and a user's PIN (`C_InitToken`, `C_InitPIN`).
    Initialize {
        /// The token as the survey found it.
        at: Holder,
        /// The label, 32 octets at most.
        label: String,
        /// The security officer's PIN: the one in force, or the one that is to be where the token is not initialised.
        so_pin: Presented,
        /// The user's PIN that is to be.
        pin: SecretOctets,
    },
    /// Change a PIN (`C_SetPIN`). The one in force is proved by a login first.
    ChangePin {
        /// The token as the survey found it.
        at: Holder,
        /// Whose PIN.
        role: Role,
        /// The PIN in force.
        old: Presented,
        /// The PIN that is to be.
        new: SecretOctets,
    },
    /// Set the user's PIN anew (`C_InitPIN` after a login as security officer).
    Unblock {
        /// The token as the survey found it.
        at: Holder,
        /// The security officer's PIN.
        so_pin: Presented,
        /// The user's PIN that is to be.
        pin: SecretOctets,
    },
    /// Set the user's PIN anew by the PUK (`C_SetPIN` without a login, as OpenSC has it when it is told so).
    UnblockByPuk {
        /// The token as the survey found it.
        at: Holder,
        /// The PUK.
        puk: SecretOctets,
        /// The user's PIN that is to be.
        pin: SecretOctets,
    },
    /// Make a key (`C_GenerateKeyPair`).
    GenerateKey {
        /// The token as the survey found it.
        at: Holder,
        /// The kind of key.
        kind: KeyKind,
        /// `CKA_LABEL`
        label: String,
        /// `CKA_ID`, which nothing may have yet; the first free number if none is given.
        id: Option<Vec<u8>>,
        /// Who logs in; nobody where the token wants no login.
        login: Option<Login>,
    },
    /// Look for the key that a certificate belongs to.
    Beside {
        /// The token as the survey found it.
        at: Holder,
        /// X.509, in DER.
        certificate: Vec<u8>,
    },
    /// Store a certificate beside its key (`C_CreateObject`), in the place of others of that key.
    StoreCertificate {
        /// The token as the survey found it.
        at: Holder,
        /// X.509, in DER.
        certificate: Vec<u8>,
        /// Who logs in; nobody where the token wants no login.
        login: Option<Login>,
    },
}

/// Who logs in.
#[derive(Serialize, Deserialize)]
pub struct Login {
    /// As whom.
    pub role: Role,
    /// The PIN.
    pub presented: Presented,
}

/// The key that a certificate belongs to.
#[derive(Debug, Serialize, Deserialize)]
pub struct Beside {
    /// The key.
    pub key: KeySeen,
    /// The certificate is on the token already.
    pub is_there: bool,
    /// The subjects of other certificates that are beside the key.
    pub others: Vec<String>,
}

/// A token in its slot; another one there gets nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The slot.
    pub slot: u64,
    /// The token. One that is not initialised has a name too, with an empty label.
    pub token: TokenName,
}

/// A PIN that somebody decided to present, once.
#[derive(Serialize, Deserialize)]
pub struct Presented {
    /// The PIN; none for a token that asks for it itself.
    pub pin: Option<SecretOctets>,
    /// Present it even when it is the final try.
    pub even_final_try: bool,
}

/// Whose PIN it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Whoever uses the keys (`CKU_USER`).
    User,
    /// Whoever manages the token (`CKU_SO`). Modules for PIV cards may mean the PUK or the management key.
    SecurityOfficer,
}

/// The answer to a [`TokenCall`].
#[derive(Debug, Serialize, Deserialize)]
pub enum TokenAnswer {
    /// The tokens that are there.
    Tokens {
        /// Who made the module (`C_GetInfo`).
        maker: String,
        /// The tokens, in the order of their slots.
        tokens: Vec<TokenState>,
    },
    /// The token has been initialised; this is what it is now.
    Initialized(TokenName),
    /// The key that was made, or got a certificate.
    Key(KeySeen),
    /// The key that a certificate belongs to.
    Beside(Beside),
    /// Done, nothing to tell.
    Done,
}

/// A token and the state of its PINs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenState {
    /// The token, with the keys that show before a login.
    pub seen: TokenSeen,
    /// `C_InitToken` was called for it once.
    pub initialized: bool,
    /// How many objects of all kinds show before a login.
    pub objects: u64,
    /// Why its objects cannot be read, if they cannot.
    pub unreadable: Option<String>,
    /// Nothing on it can be changed.
    pub write_protected: bool,
    /// The user's PIN has to be changed before it serves.
    pub pin_to_be_changed: bool,
    /// What the token says of the security officer's tries.
    pub so_tries: TriesLeft,
    /// The security officer's PIN has to be changed before it serves.
    pub so_pin_to_be_changed: bool,
    /// The shortest and the longest PIN, in octets; both 0 where the token does not say.
    pub pin_lengths: (u64, u64),
    /// What kinds of keys the module says that the token makes.
    pub makes: Vec<KeyKind>,
}

impl TokenState {
    /// The token in its slot.
    pub fn holder(&self) -> Holder {
        Holder { slot: self.seen.slot, token: self.seen.name.clone() }
    }
}

/// A kind of key that can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyKind {
    /// RSA with so many bits.
    Rsa(u16),
    /// ECDSA on NIST P-256.
    P256,
    /// ECDSA on NIST P-384.
    P384,
    /// Ed25519.
    Ed25519,
}

impl KeyKind {
    /// Every kind, in the order in which they are shown.
    pub const ALL: [Self; 6] =
        [Self::Ed25519, Self::P256, Self::P384, Self::Rsa(2048), Self::Rsa(3072), Self::Rsa(4096)];
}
