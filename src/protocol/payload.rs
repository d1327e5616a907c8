//! What the octets to be signed are: a login, a signature over a file, a certificate, or nothing that can be told.
//!
//! Each kind is recognised completely, to the last octet, or not at all.

mod sudo;

use super::Malformed;
use super::wire::Reader;
pub use sudo::Sudo;

const USERAUTH_REQUEST: u8 = 50;
/// The lengths of exchange hashes: SHA-1, SHA-256, SHA-384 and SHA-512, in octets.
const HASH_LENGTHS: [usize; 4] = [20, 32, 48, 64];

/// The meaning of a signature request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload<'a> {
    /// A login by `publickey` (RFC 4252 section 7). Where to is not part of what is signed.
    Login(Login<'a>),
    /// A login by `publickey-hostbound-v00@openssh.com` (OpenSSH PROTOCOL section 1.6): the server compares the host key with its own.
    BoundLogin {
        /// The login.
        login: Login<'a>,
        /// The host key of the server that will accept the signature.
        host_key: &'a [u8],
    },
    /// A signature over a message (OpenSSH PROTOCOL.sshsig), such as git's.
    SshSig {
        /// What the signature is for, such as `git` or `file`.
        namespace: &'a [u8],
    },
    /// A certificate that an authority is to sign (OpenSSH PROTOCOL.certkeys).
    Certificate(Certificate<'a>),
    /// A request of `pam_ssh_agent_auth`, such as `sudo`'s.
    Sudo(Sudo<'a>),
    /// The exchange hash of a key exchange (RFC 4253 section 8), which a server has signed whose host key lies here
    /// (`HostKeyAgent` in sshd_config(5)). Nothing in the octets says so: see [`Payload::for_host_key_agent`].
    HostKex {
        /// The hash.
        hash: &'a [u8],
    },
    /// Anything else.
    Raw,
}

/// What a signature over a message commits to (OpenSSH PROTOCOL.sshsig): the digest of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageDigest<'a> {
    /// `sha256` or `sha512`.
    pub algorithm: &'a [u8],
    /// The digest.
    pub digest: &'a [u8],
}

impl<'a> MessageDigest<'a> {
    /// The digest in octets that are recognised as [`Payload::SshSig`]; none in others.
    pub fn of(data: &'a [u8]) -> Option<Self> {
        ssh_sig(data).ok().map(|(_, digest)| digest)
    }
}

/// The fields of a certificate that say what it would be good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate<'a> {
    /// The authority's own name for it.
    pub key_id: &'a [u8],
    /// It is a host's; else a user's.
    pub is_host: bool,
    /// Whom it speaks for.
    pub principals: Vec<&'a [u8]>,
    /// The end of its validity, in seconds since 1970.
    pub valid_before: u64,
}

/// The fields of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login<'a> {
    /// The SSH session identifier.
    pub session_id: &'a [u8],
    /// The user to log in as.
    pub user: &'a [u8],
    /// The signature algorithm that the server was told of.
    pub algorithm: &'a [u8],
    /// The key that the server was told of.
    pub key: &'a [u8],
}

impl<'a> Payload<'a> {
    /// Tells what the octets are.
    pub fn of(data: &'a [u8]) -> Self {
        let sudo = |_| Sudo::parse(data).map(Self::Sudo);
        let message = ssh_sig(data).map(|(namespace, _)| Self::SshSig { namespace });
        message.or_else(|_| login(data)).or_else(|_| certificate(data)).or_else(sudo).unwrap_or(Self::Raw)
    }

    /// Tells what the octets are when somebody asks who may be a server with its host key here. An exchange hash is as good as
    /// random and has no form but its length, so this is to be called for nobody else.
    pub fn for_host_key_agent(data: &'a [u8]) -> Self {
        match Self::of(data) {
            Self::Raw if HASH_LENGTHS.contains(&data.len()) => Self::HostKex { hash: data },
            other => other,
        }
    }

    /// The login inside, whether bound to its host or not.
    pub const fn login(&self) -> Option<&Login<'a>> {
        match self {
            Self::Login(login) | Self::BoundLogin { login, .. } => Some(login),
            Self::SshSig { .. } | Self::Certificate(_) | Self::Sudo(_) | Self::HostKex { .. } | Self::Raw => None,
        }
    }
}

fn ssh_sig(data: &[u8]) -> Result<(&[u8], MessageDigest<'_>), Malformed> {
    let body = data.strip_prefix(b"SSHSIG").ok_or_else(|| Malformed::new("no magic"))?;
    let mut reader = Reader::new(body);
    let namespace = reader.string()?;
    let (_reserved, algorithm, digest) = (reader.string()?, reader.string()?, reader.string()?);
    reader.finish()?;
    Ok((namespace, MessageDigest { algorithm, digest }))
}

fn login(data: &[u8]) -> Result<Payload<'_>, Malformed> {
    let mut reader = Reader::new(data);
    let session_id = reader.string()?;
    let kind = reader.u8()?;
    let user = reader.string()?;
    let service = reader.string()?;
    let method = reader.string()?;
    // Servers put exactly this octet where they rebuild what was signed, so another true one is no login anywhere.
    let with_signature = reader.u8()? == 1;
    let algorithm = reader.string()?;
    let key = reader.string()?;
    if session_id.is_empty() || kind != USERAUTH_REQUEST || service != b"ssh-connection" || !with_signature {
        return Err(Malformed::new("not a login"));
    }
    let login = Login { session_id, user, algorithm, key };
    let payload = match method {
        b"publickey" => Payload::Login(login),
        b"publickey-hostbound-v00@openssh.com" => Payload::BoundLogin { login, host_key: reader.string()? },
        _ => return Err(Malformed::new("another method")),
    };
    reader.finish()?;
    Ok(payload)
}

fn certificate(data: &[u8]) -> Result<Payload<'_>, Malformed> {
    let mut reader = Reader::new(data);
    let kind = reader.text()?;
    let key_fields = match kind.strip_suffix("-cert-v01@openssh.com") {
        Some("ssh-ed25519") => 1,
        Some("ssh-rsa" | "sk-ssh-ed25519") => 2,
        Some("ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "ecdsa-sha2-nistp521") => 2,
        Some("sk-ecdsa-sha2-nistp256") => 3,
        _ => return Err(Malformed::new("not a certificate")),
    };
    let _nonce = reader.string()?;
    for _ in 0..key_fields {
        reader.string()?;
    }
    let _serial = reader.u64()?;
    let is_host = match reader.u32()? {
        1 => false,
        2 => true,
        _ => return Err(Malformed::new("certificate of a kind that is not known")),
    };
    let key_id = reader.string()?;
    let mut list = Reader::new(reader.string()?);
    let mut principals = Vec::new();
    while !list.is_empty() {
        principals.push(list.string()?);
    }
    let (_valid_after, valid_before) = (reader.u64()?, reader.u64()?);
    let (_critical_options, _extensions, _reserved, _authority) =
        (reader.string()?, reader.string()?, reader.string()?, reader.string()?);
    reader.finish()?;
    Ok(Payload::Certificate(Certificate { key_id, is_host, principals, valid_before }))
}

#[cfg(test)]
mod tests {
    use super::super::wire::Put as _;
    use super::*;

    fn request(method: &str, host_key: Option<&[u8]>) -> Vec<u8> {
        let mut data = Vec::new();
        data.put_string(b"session");
        data.push(USERAUTH_REQUEST);
        data.put_string(b"user");
        data.put_string(b"ssh-connection");
        data.put_string(method.as_bytes());
        data.push(1);
        data.put_string(b"ssh-ed25519");
        data.put_string(b"key");
        host_key.into_iter().for_each(|key| data.put_string(key));
        data
    }

    #[test]
    fn logins_are_recognised_to_the_last_octet() {
        assert!(matches!(Payload::of(&request("publickey", None)), Payload::Login(Login { user: b"user", .. })));
        let bound = request("publickey-hostbound-v00@openssh.com", Some(b"host"));
        assert!(matches!(Payload::of(&bound), Payload::BoundLogin { host_key: b"host", .. }));
        for other in [
            request("publickey", Some(b"host")),
            request("publickey-hostbound-v00@openssh.com", None),
            request("password", None),
            [request("publickey", None), vec![0]].concat(),
            request("publickey", None).into_iter().map(|octet| if octet == 1 { 2 } else { octet }).collect(),
        ] {
            assert_eq!(Payload::of(&other), Payload::Raw);
        }
    }

    #[test]
    fn exchange_hashes_are_told_by_their_length_and_by_who_asks_only() {
        for length in 0..=65 {
            let data = vec![7; length];
            assert_eq!(Payload::of(&data), Payload::Raw);
            let is_hash = matches!(Payload::for_host_key_agent(&data), Payload::HostKex { hash } if hash == data);
            assert_eq!(is_hash, [20, 32, 48, 64].contains(&length), "{length}");
        }
        let login = request("publickey", None);
        assert!(matches!(Payload::for_host_key_agent(&login), Payload::Login(_)));
    }

    #[test]
    fn message_signatures_are_recognised_by_their_namespace() {
        let mut data = b"SSHSIG".to_vec();
        for part in [&b"git"[..], b"", b"sha512", b"digest"] {
            data.put_string(part);
        }
        assert_eq!(Payload::of(&data), Payload::SshSig { namespace: b"git" });
        data.push(0);
        assert_eq!(Payload::of(&data), Payload::Raw);
    }
}
