//! What the agent asks of a worker for one FIDO device, and what comes back (CTAP 2.1, OpenSSH PROTOCOL.u2f).

use serde::{Deserialize, Serialize};

use super::SecretOctets;

/// A request to a FIDO worker.
#[derive(Serialize, Deserialize)]
pub enum FidoCall {
    /// Say what the device is able to do. The first call.
    Abilities,
    /// Say, without touch or verification, whether the device holds a key, and prove it by a signature where it can.
    Preflight(FidoAssertion),
    /// Sign; says on the way when the device waits for its touch.
    Sign(FidoAssertion),
    /// Wait until the device is touched, to tell it from others.
    Select,
    /// Make a new key.
    Enroll(Box<Enrolment>),
    /// List the resident keys of `ssh:` applications.
    Residents {
        /// The PIN.
        pin: SecretOctets,
    },
    /// Delete a resident key.
    Delete {
        /// The PIN.
        pin: SecretOctets,
        /// The credential id.
        handle: Vec<u8>,
    },
    /// Set the device's PIN, or change it.
    SetPin {
        /// The PIN in force; none on a device without.
        old: Option<SecretOctets>,
        /// The PIN to be.
        new: SecretOctets,
    },
}

/// What to sign, and how the person is to take part.
#[derive(Serialize, Deserialize)]
pub struct FidoAssertion {
    /// The key is Ed25519; else ECDSA on P-256.
    pub is_ed25519: bool,
    /// The data; the worker hashes it.
    pub data: Vec<u8>,
    /// The relying party, such as `ssh:`.
    pub application: String,
    /// The credential id.
    pub handle: Vec<u8>,
    /// A touch is wanted.
    pub touch: bool,
    /// The device's own verification (a finger) is wanted. Never together with a PIN.
    pub verify: bool,
    /// The PIN.
    pub pin: Option<SecretOctets>,
}

/// A key to be made.
#[derive(Serialize, Deserialize)]
pub struct Enrolment {
    /// Ed25519; else ECDSA on P-256.
    pub is_ed25519: bool,
    /// The relying party, such as `ssh:`.
    pub application: String,
    /// What the attestation is made over.
    pub challenge: Vec<u8>,
    /// The key stays on the device, with this user.
    pub resident: Option<ResidentUser>,
    /// The PIN, where the device has one.
    pub pin: Option<SecretOctets>,
    /// Have the device verify its person itself.
    pub verify: bool,
}

/// Who a resident key is for.
#[derive(Serialize, Deserialize)]
pub struct ResidentUser {
    /// The user id: keys of one application and user replace each other.
    pub id: Vec<u8>,
    /// The name.
    pub name: String,
    /// The key shows and signs only after verification (credProtect 3), else with its id alone (2).
    pub hidden: bool,
}

/// What a FIDO worker answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum FidoAnswer {
    /// Done.
    Done,
    /// What the device is able to do.
    Abilities(Box<Abilities>),
    /// Whether the device holds the key, by its word alone.
    Holds(bool),
    /// A signature.
    Assertion {
        /// 64 octets, or `r || s`.
        raw: Vec<u8>,
        /// What the key did: 1 user present, 4 user verified.
        flags: u8,
        /// The key's signature counter.
        counter: u32,
    },
    /// A new key.
    Enrolled(Box<Enrolled>),
    /// Resident keys.
    Residents(Vec<Resident>),
    /// It failed.
    Failed(FidoFault),
}

/// What a device says of itself (`authenticatorGetInfo`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abilities {
    /// It speaks CTAP2; else U2F alone.
    pub fido2: bool,
    /// The versions it names.
    pub versions: Vec<String>,
    /// The model.
    pub aaguid: Vec<u8>,
    /// Whether a PIN is set; `None` where there can be none.
    pub pin: Option<bool>,
    /// Whether the device's own verification is set up; `None` where it has none.
    pub verification: Option<bool>,
    /// It wants a PIN or finger for everything.
    pub always_verify: bool,
    /// It can hold resident keys.
    pub residents: bool,
    /// It can list and delete them.
    pub manages: bool,
    /// It does so by the command of the drafts of CTAP 2.1.
    pub manages_by_preview: bool,
    /// The version of the PIN protocol to be used.
    pub pin_protocol: u8,
    /// It lets itself be told from others by a touch.
    pub selects: bool,
    /// It makes Ed25519 keys; `None` when it does not say.
    pub ed25519: Option<bool>,
    /// How many PIN tries are left, where a PIN is set.
    pub tries: Option<u8>,
    /// The shortest PIN it takes, in characters.
    pub shortest_pin: u8,
    /// It wants its PIN changed before anything else.
    pub pin_is_stale: bool,
}

/// A key that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The credential id.
    pub handle: Vec<u8>,
    /// 32 octets for Ed25519, an uncompressed point for ECDSA.
    pub public: Vec<u8>,
    /// What the device attested, as it came.
    pub authenticator_data: Vec<u8>,
    /// The attestation's signature.
    pub signature: Vec<u8>,
    /// The attestation's certificates, in DER; none where the key attests itself.
    pub certificates: Vec<Vec<u8>>,
}

/// A resident key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resident {
    /// The relying party.
    pub application: String,
    /// The credential id.
    pub handle: Vec<u8>,
    /// Ed25519; else ECDSA on P-256.
    pub is_ed25519: bool,
    /// As [`Enrolled::public`].
    pub public: Vec<u8>,
    /// The user's name.
    pub user: String,
    /// It wants verification (credProtect 3).
    pub hidden: bool,
}

/// A failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FidoFault {
    /// What happened.
    pub cause: FidoCause,
    /// How many PIN tries are left, when a PIN was refused.
    pub tries: Option<u8>,
}

/// What happened to an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FidoCause {
    /// The device answered with this status (CTAP 2.1 section 8.2).
    Status(u8),
    /// The device was pulled out.
    Gone,
    /// The device says nothing.
    Silent,
    /// Another application uses the device.
    Busy,
    /// The operation was withdrawn.
    Cancelled,
    /// The time was over.
    TimedOut,
    /// The device's file may not be opened.
    NotPermitted,
    /// The device's answer makes no sense.
    Garbled,
    /// The device cannot do it.
    Unable(String),
    /// The kernel's or the library's text.
    Other(String),
}
