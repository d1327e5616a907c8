//! What `pam_ssh_agent_auth` has signed before somebody may become another user, for `sudo` mostly.
//!
//! Its format is documented nowhere; this is what version 0.10.3 was measured to send. It has the shape of a login (RFC 4252
//! section 7) with a message number of its own, and in the place of the session a record of who wants to do what.

use super::Malformed;
use crate::protocol::wire::Reader;

/// The message number: no login has it.
const TRUST_REQUEST: u8 = 54;
/// The version of the record: `PAM_SSH_AGENT_AUTH_REQUESTv1`.
const VERSION: u32 = 101;

/// Who wants to become somebody else, where, and for what. Each field is what the program at the other end says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sudo<'a> {
    /// The account that is authenticated; with `sudo` the one who calls it, unless it is set to ask for the target's.
    pub user: &'a [u8],
    /// Who calls.
    pub caller: &'a [u8],
    /// The PAM service, such as `sudo` or `su`.
    pub service: &'a [u8],
    /// The working directory.
    pub directory: &'a [u8],
    /// The command line, `sudo` itself and its options included; the module cuts it after 255 words, and leaves it empty
    /// when it cannot read it.
    pub command: Vec<&'a [u8]>,
    /// The host's own name.
    pub hostname: &'a [u8],
    /// When, in seconds since 1970 by the host's clock.
    pub time: u64,
}

impl<'a> Sudo<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(data);
        let record = reader.string()?;
        let kind = reader.u8()?;
        let caller = reader.string()?;
        let (service, method) = (reader.string()?, reader.string()?);
        let with_signature = reader.u8()? == 1;
        let (_algorithm, _key) = (reader.string()?, reader.string()?);
        reader.finish()?;
        let sudo = Self::record(record)?;
        let named = kind == TRUST_REQUEST && service == b"pam_ssh_agent_auth" && method == b"publickey";
        match named && with_signature && sudo.caller == caller {
            true => Ok(sudo),
            false => Err(Malformed::new("not a request of pam_ssh_agent_auth")),
        }
    }

    fn record(record: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(record);
        if reader.u32()? != VERSION {
            return Err(Malformed::new("a record of another version"));
        }
        let _random = reader.string()?;
        let (user, caller, service) = (reader.string()?, reader.string()?, reader.string()?);
        let (directory, command, hostname) = (reader.string()?, words(reader.string()?)?, reader.string()?);
        let time = reader.u64()?;
        reader.finish()?;
        Ok(Self { user, caller, service, directory, command, hostname, time })
    }
}

/// A count and as many strings; nothing at all for none.
fn words(octets: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
    let mut words = Vec::new();
    if octets.is_empty() {
        return Ok(words);
    }
    let mut reader = Reader::new(octets);
    let count = reader.u32()?;
    while !reader.is_empty() {
        words.push(reader.string()?);
    }
    match u32::try_from(words.len()) == Ok(count) {
        true => Ok(words),
        false => Err(Malformed::new("another number of words than announced")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Payload;
    use super::*;
    use crate::protocol::wire::Put as _;

    /// What libpam-ssh-agent-auth 0.10.3-4 of Debian 12 asked an agent to sign for `sudo -k -S id -un`.
    const RECORDED: &[u8] = include_bytes!("sudo.bin");

    #[test]
    fn a_recorded_request_is_understood() {
        let Payload::Sudo(sudo) = Payload::of(RECORDED) else { panic!("not recognised") };
        assert_eq!((sudo.user, sudo.caller, sudo.service), (&b"hopper"[..], &b"hopper"[..], &b"sudo"[..]));
        assert_eq!((sudo.directory, sudo.hostname), (&b"/tmp/ex-sudo"[..], &b"vm"[..]));
        assert_eq!(sudo.command, [&b"sudo"[..], b"-k", b"-S", b"id", b"-un"]);
        assert_eq!(sudo.time, 1_795_208_060);
    }

    #[test]
    fn whatever_is_cut_or_added_is_not() {
        for length in 0..RECORDED.len() {
            assert_eq!(Payload::of(&RECORDED[..length]), Payload::Raw, "{length}");
        }
        assert_eq!(Payload::of(&[RECORDED, &[0]].concat()), Payload::Raw);
    }

    #[test]
    fn each_field_is_checked() {
        assert!(matches!(Payload::of(&request(&Form::default())), Payload::Sudo(_)));
        for other in [
            Form { version: 102, ..Form::default() },
            Form { kind: 50, ..Form::default() },
            Form { caller: b"somebody", ..Form::default() },
            Form { service: b"ssh-connection", ..Form::default() },
            Form { announced: 1, ..Form::default() },
            Form { announced: 3, ..Form::default() },
            Form { signed: 2, ..Form::default() },
        ] {
            assert_eq!(Payload::of(&request(&other)), Payload::Raw);
        }
    }

    struct Form {
        version: u32,
        kind: u8,
        caller: &'static [u8],
        service: &'static [u8],
        announced: u32,
        signed: u8,
    }

    impl Default for Form {
        fn default() -> Self {
            let (caller, service) = (&b"me"[..], &b"pam_ssh_agent_auth"[..]);
            Self { version: VERSION, kind: TRUST_REQUEST, caller, service, announced: 2, signed: 1 }
        }
    }

    fn request(form: &Form) -> Vec<u8> {
        let mut command = Vec::new();
        command.put_u32(form.announced);
        [&b"sudo"[..], b"id"].into_iter().for_each(|word| command.put_string(word));
        let mut record = Vec::new();
        record.put_u32(form.version);
        [&b"random"[..], b"root", b"me", b"sudo", b"/", &command, b"host"]
            .into_iter()
            .for_each(|field| record.put_string(field));
        record.extend_from_slice(&7_u64.to_be_bytes());
        let mut data = Vec::new();
        data.put_string(&record);
        data.push(form.kind);
        [form.caller, form.service, b"publickey"].into_iter().for_each(|field| data.put_string(field));
        data.push(form.signed);
        [&b"ssh-ed25519"[..], b"key"].into_iter().for_each(|field| data.put_string(field));
        data
    }
}
