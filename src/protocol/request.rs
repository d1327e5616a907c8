//! Requests as types (RFC 9987 section 5).

use secrecy::SecretSlice;

use super::Malformed;
use super::constraint::{Constraints, Subject};
use super::private_key::{PrivateKey, Secret};
use super::prompts::{self, Prompts};
use super::session_bind::{self, SessionBind};
use super::wire::{Put as _, Reader};

/// The private extension by which `hardkey list` asks a running agent for its inventory.
//= RFC 9987 section 5.8: Implementation-specific extensions MUST be suffixed by the implementation domain
pub const INVENTORY: &str = "inventory@hardkey.github.io";
/// The private extension by which `hardkey release` has a running agent forget PINs and end logins.
pub const RELEASE: &str = "release@hardkey.github.io";
/// Our own extension: tokens were changed, so PINs may be wrong and keys others. Answered when the agent has looked.
pub const TOKENS_CHANGED: &str = "tokens-changed@hardkey.github.io";

/// The private extension by which `hardkey approvals` lists and revokes approvals.
pub const APPROVALS: &str = "approvals@hardkey.github.io";
/// The private extension by which `hardkey explain` asks a running agent for its judgements.
pub const EXPLAIN: &str = "explain@hardkey.github.io";

//= RFC 9987 section 8.1.1: These message numbers MAY be used by an implementation supporting the legacy protocol but
//= MUST NOT be reused otherwise.
const REMOVE_ALL_RSA1: u8 = 9;
/// `SSH_AGENTC_REQUEST_IDENTITIES`
pub const REQUEST_IDENTITIES: u8 = 11;
/// `SSH_AGENTC_SIGN_REQUEST`
pub const SIGN_REQUEST: u8 = 13;
const ADD_IDENTITY: u8 = 17;
const REMOVE_IDENTITY: u8 = 18;
const REMOVE_ALL_IDENTITIES: u8 = 19;
const ADD_SMARTCARD_KEY: u8 = 20;
const REMOVE_SMARTCARD_KEY: u8 = 21;
const LOCK: u8 = 22;
const UNLOCK: u8 = 23;
const ADD_ID_CONSTRAINED: u8 = 25;
const ADD_SMARTCARD_KEY_CONSTRAINED: u8 = 26;
/// `SSH_AGENTC_EXTENSION`
pub const EXTENSION: u8 = 27;

/// One request, completely parsed.
pub enum Request<'a> {
    /// List the identities.
    List,
    /// Sign data with a key.
    Sign(Sign<'a>),
    /// Add a software key or a security key. Boxed: every request would have to have room for it.
    Add(Box<Add<'a>>),
    /// Remove one identity, named by its blob.
    Remove {
        /// The identity's blob.
        key: &'a [u8],
    },
    /// Remove all identities.
    RemoveAll,
    /// Add the keys of a PKCS#11 provider.
    AddProvider(Box<AddProvider<'a>>),
    /// Remove the keys of a PKCS#11 provider.
    RemoveProvider {
        /// Path of the module, or an RFC 7512 URI.
        provider: &'a str,
    },
    /// Lock the agent with a passphrase.
    Lock {
        /// The passphrase.
        passphrase: SecretSlice<u8>,
    },
    /// Unlock the agent with the passphrase it was locked with.
    Unlock {
        /// The passphrase.
        passphrase: SecretSlice<u8>,
    },
    /// `query`: which extensions are there.
    Query,
    /// `session-bind@openssh.com`. A bind out of form is still an attempt to bind, and counts as one.
    SessionBind(Result<SessionBind<'a>, Malformed>),
    /// The inventory that `hardkey list` shows.
    Inventory,
    /// Forget the PINs of tokens and end the logins; the keys stay.
    Release,
    /// PINs and keys of tokens may be others than they were.
    TokensChanged,
    /// The approvals that hold for a while: to be listed, or revoked first.
    Approvals(Revoke),
    /// The account that `hardkey explain` shows.
    Explain,
    /// The questions that wait for a person: to be told, or answered.
    Prompts(Prompts),
    /// An extension that this agent does not know.
    UnknownExtension {
        /// Its name.
        name: &'a str,
    },
}

/// What of the approvals is to be revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoke {
    /// None of them.
    Nothing,
    /// The one with this number.
    One(u64),
    /// All of them.
    All,
}

impl Revoke {
    /// Its form on the wire: a word, and the number after `one`.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let mut octets = Vec::new();
        match self {
            Self::Nothing => octets.put_string(b"list"),
            Self::All => octets.put_string(b"all"),
            Self::One(number) => {
                octets.put_string(b"one");
                octets.extend_from_slice(&number.to_be_bytes());
            }
        }
        octets
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.text()? {
            "list" => Ok(Self::Nothing),
            "all" => Ok(Self::All),
            "one" => Ok(Self::One(reader.u64()?)),
            _ => Err(Malformed::new("not a request about approvals")),
        }
    }
}

/// `SSH_AGENTC_SIGN_REQUEST` (RFC 9987 section 5.6).
#[derive(Clone, Copy)]
pub struct Sign<'a> {
    /// The identity's blob.
    pub key: &'a [u8],
    /// The octets to be signed.
    pub data: &'a [u8],
    /// Flags that choose the RSA hash; unknown bits are ignored.
    pub flags: u32,
}

/// `SSH_AGENTC_ADD_IDENTITY` and its constrained form (RFC 9987 section 5.2).
pub struct Add<'a> {
    /// The key.
    pub key: PrivateKey<'a>,
    /// Comment, any octets.
    pub comment: &'a [u8],
    /// Limits of its use.
    pub constraints: Constraints,
}

/// `SSH_AGENTC_ADD_SMARTCARD_KEY` and its constrained form (RFC 9987 section 5.2.6).
pub struct AddProvider<'a> {
    /// Path of the module, or an RFC 7512 URI.
    pub provider: &'a str,
    /// The PIN that the user typed for it; may be empty.
    pub pin: SecretSlice<u8>,
    /// Limits of its keys' use.
    pub constraints: Constraints,
}

impl<'a> Request<'a> {
    /// Parses one frame.
    ///
    /// Octets after a complete request are ignored, as OpenSSH does; octets after an added key are its constraints.
    ///
    /// # Errors
    /// Unknown type or a body out of form. The connection stays in frame: the caller answers with a failure and reads on.
    pub fn parse(frame: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(frame);
        Ok(match reader.u8()? {
            REQUEST_IDENTITIES => Self::List,
            SIGN_REQUEST => Self::Sign(Sign { key: reader.string()?, data: reader.string()?, flags: reader.u32()? }),
            //= RFC 9987 section 5.2: though both are valid and equivalent
            ADD_IDENTITY | ADD_ID_CONSTRAINED => {
                let key = PrivateKey::read(&mut reader)?;
                let comment = reader.string()?;
                let subject = match key.secret {
                    Secret::SecurityKey { .. } => Subject::SecurityKey,
                    _ => Subject::Software,
                };
                Self::Add(Box::new(Add { key, comment, constraints: Constraints::parse(reader, subject)? }))
            }
            REMOVE_IDENTITY => Self::Remove { key: reader.string()? },
            REMOVE_ALL_IDENTITIES | REMOVE_ALL_RSA1 => Self::RemoveAll,
            ADD_SMARTCARD_KEY | ADD_SMARTCARD_KEY_CONSTRAINED => Self::AddProvider(Box::new(AddProvider {
                provider: reader.text()?,
                pin: reader.string()?.to_vec().into(),
                constraints: Constraints::parse(reader, Subject::Provider)?,
            })),
            REMOVE_SMARTCARD_KEY => Self::RemoveProvider { provider: reader.text()? },
            LOCK => Self::Lock { passphrase: reader.string()?.to_vec().into() },
            UNLOCK => Self::Unlock { passphrase: reader.string()?.to_vec().into() },
            EXTENSION => match reader.text()? {
                "query" => Self::Query,
                session_bind::NAME => Self::SessionBind(SessionBind::parse(reader)),
                INVENTORY => Self::Inventory,
                RELEASE => Self::Release,
                TOKENS_CHANGED => Self::TokensChanged,
                APPROVALS => Self::Approvals(Revoke::parse(&mut reader)?),
                EXPLAIN => Self::Explain,
                prompts::NAME => Self::Prompts(Prompts::parse(&mut reader)?),
                name => Self::UnknownExtension { name },
            },
            //= RFC 9987 section 8.1.1: Message number 0 is also reserved and MUST NOT be used.
            //= RFC 9987 section 8.1.1: MUST NOT be used by generic implementations
            number => return Err(Malformed::new(format!("request type {number} is not known"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_request_without_flags_is_malformed() {
        let mut frame = vec![SIGN_REQUEST];
        frame.put_string(b"key");
        frame.put_string(b"data");
        assert!(Request::parse(&frame).is_err());
        frame.put_u32(4);
        assert!(matches!(Request::parse(&frame), Ok(Request::Sign(Sign { flags: 4, .. }))));
    }

    #[test]
    fn unknown_and_empty_requests_are_malformed() {
        assert!(Request::parse(&[]).is_err());
        for number in [0, 1, 5, 6, 12, 14, 200] {
            assert!(Request::parse(&[number]).is_err(), "{number}");
        }
    }

    //= RFC 9987 section 5.8: Implementation-specific extensions MUST be suffixed by the implementation domain
    #[test]
    fn own_extensions_are_named_by_a_domain() {
        for own in [INVENTORY, APPROVALS, EXPLAIN, prompts::NAME] {
            let (name, domain) = own.split_once('@').expect("a name and a domain");
            assert!(!name.is_empty() && domain.split('.').filter(|label| !label.is_empty()).count() > 1, "{own}");
        }
    }

    #[test]
    fn what_is_to_be_revoked_is_understood_or_refused() {
        let parse = |content: &[u8]| {
            let mut frame = vec![EXTENSION];
            frame.put_string(APPROVALS.as_bytes());
            frame.extend_from_slice(content);
            match Request::parse(&frame) {
                Ok(Request::Approvals(revoke)) => Some(revoke),
                _ => None,
            }
        };
        for revoke in [Revoke::Nothing, Revoke::One(1 << 40), Revoke::All] {
            assert_eq!(parse(&revoke.encode()), Some(revoke));
        }
        assert_eq!(parse(&Revoke::One(7).encode()[..10]), None, "a number cut off");
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"\0\0\0\x04some"), None);
    }

    #[test]
    fn a_bind_out_of_form_is_still_an_attempt_to_bind() {
        let mut frame = vec![EXTENSION];
        frame.put_string(session_bind::NAME.as_bytes());
        frame.put_string(b"only a host key");
        assert!(matches!(Request::parse(&frame), Ok(Request::SessionBind(Err(_)))));
    }
}
