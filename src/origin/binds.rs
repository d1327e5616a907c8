//! What one connection has been bound to: the sessions that `session-bind@openssh.com` named on it, in order.
//!
//! OpenSSH's `ssh` announces the session it speaks for before anything else, and for a forwarded agent it announces the
//! session *before it relays one octet* (OpenSSH PROTOCOL.agent section 1). So what was announced can be added to by whoever
//! is relayed, never taken back: the list only grows, and two marks, once set, stay for the connection's life.
//! Binds count while the agent is locked.

/// More binds than this on one connection are surplus, as in OpenSSH.
pub const MOST_BINDS: usize = 16;
/// Session identifiers longer than this are refused, as in OpenSSH: octets.
pub const LONGEST_SESSION_ID: usize = 128;

/// A bind as it was received: a claim.
#[derive(Debug, Clone, Copy)]
pub struct BindClaim<'a> {
    /// The server's host key or host certificate.
    pub hostkey: &'a [u8],
    /// The session identifier (RFC 4253 section 7.2).
    pub session_id: &'a [u8],
    /// The server's signature over the session identifier.
    pub signature: &'a [u8],
    /// Whether the session is used to forward the agent rather than to log in.
    pub is_forwarding: bool,
}

/// A bind whose host key really signed the session identifier. There is no other way to have one.
///
/// What this proves is small: the holder of the host key saw, or made up, this session identifier. It does not prove that
/// anyone logged in there, and `is_forwarding` is not signed at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedBind {
    hostkey: Vec<u8>,
    session_id: Vec<u8>,
    is_forwarding: bool,
}

/// What is wrong with a bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BindFault {
    /// The message could not be read, for instance because its host key is of a type nobody knows.
    #[error("the session bind could not be read")]
    Malformed,
    /// The signature is not the host key's over this session identifier.
    #[error("the host key did not sign the session bind")]
    BadSignature,
    /// The session identifier is longer than any key exchange makes it.
    #[error("the session identifier is longer than {LONGEST_SESSION_ID} octets")]
    LongSessionId,
    /// A bind came after one that ended the path with a login.
    #[error("a session bind came after the login's own")]
    AfterLogin,
    /// The same session was announced for two host keys.
    #[error("one session was bound to two host keys")]
    OtherHostkey,
    /// The path is longer than OpenSSH allows.
    #[error("more than {MOST_BINDS} session binds on one connection")]
    Surplus,
}

/// The binds of one connection.
#[derive(Debug, Clone, Default)]
pub struct Binds {
    list: Vec<VerifiedBind>,
    claimed_forward: bool,
    fault: Option<BindFault>,
}

impl VerifiedBind {
    /// Verifies a bind. `check` is given host key, session identifier and signature; for a host certificate it must verify the
    /// authority's signature on the certificate too, as OpenSSH does on reading one, since [known hosts](super::known_hosts)
    /// are later asked about that authority.
    ///
    /// # Errors
    /// The session identifier is too long or the signature does not verify.
    pub fn verify(claim: &BindClaim<'_>, check: impl FnOnce(&[u8], &[u8], &[u8]) -> bool) -> Result<Self, BindFault> {
        if claim.session_id.len() > LONGEST_SESSION_ID {
            return Err(BindFault::LongSessionId);
        }
        if !check(claim.hostkey, claim.session_id, claim.signature) {
            return Err(BindFault::BadSignature);
        }
        Ok(Self {
            hostkey: claim.hostkey.to_vec(),
            session_id: claim.session_id.to_vec(),
            is_forwarding: claim.is_forwarding,
        })
    }

    /// The server's host key or host certificate.
    #[must_use]
    pub fn hostkey(&self) -> &[u8] {
        &self.hostkey
    }

    /// The session identifier.
    #[must_use]
    pub fn session_id(&self) -> &[u8] {
        &self.session_id
    }

    /// Whether the session was said to forward the agent.
    #[must_use]
    pub fn is_forwarding(&self) -> bool {
        self.is_forwarding
    }
}

impl Binds {
    /// Takes in a bind. `Ok` is to be answered with success, an error with an extension failure; either way the record stays.
    ///
    /// # Errors
    /// The bind is at fault, and the connection tainted for good.
    pub fn receive(
        &mut self,
        claim: &BindClaim<'_>,
        check: impl FnOnce(&[u8], &[u8], &[u8]) -> bool,
    ) -> Result<(), BindFault> {
        // Believed from anyone, before anything else can fail.
        self.claimed_forward |= claim.is_forwarding;
        let outcome = VerifiedBind::verify(claim, check).and_then(|bind| self.append(bind));
        outcome.inspect_err(|fault| self.taint(*fault))
    }

    /// Takes in a bind that could not be read.
    ///
    /// # Errors
    /// Always: that is what it is to be answered with.
    pub fn receive_malformed(&mut self) -> Result<(), BindFault> {
        self.taint(BindFault::Malformed);
        Err(BindFault::Malformed)
    }

    /// The verified binds, in the order of the path: the first is nearest to us.
    #[must_use]
    pub fn list(&self) -> &[VerifiedBind] {
        &self.list
    }

    /// Whether any bind on this connection, verified or not, said that the agent is forwarded through it.
    #[must_use]
    pub fn claimed_forward(&self) -> bool {
        self.claimed_forward
    }

    /// The first fault seen on this connection. One is enough: nothing on a tainted connection is local any more.
    #[must_use]
    pub fn taint_reason(&self) -> Option<BindFault> {
        self.fault
    }

    /// Whether a bind on this connection failed, came late, contradicted an earlier one, or was one too many.
    #[must_use]
    pub fn tainted(&self) -> bool {
        self.fault.is_some()
    }

    /// Whether no bind has been tried.
    #[must_use]
    pub fn untouched(&self) -> bool {
        self.list.is_empty() && self.fault.is_none() && !self.claimed_forward
    }

    fn append(&mut self, bind: VerifiedBind) -> Result<(), BindFault> {
        // Oldest first and in this order, so that answers are OpenSSH's to the octet.
        for own in &self.list {
            if !own.is_forwarding {
                return Err(BindFault::AfterLogin);
            }
            if own.session_id == bind.session_id {
                return match own.hostkey == bind.hostkey {
                    true => Ok(()),
                    false => Err(BindFault::OtherHostkey),
                };
            }
        }
        if self.list.len() >= MOST_BINDS {
            return Err(BindFault::Surplus);
        }
        self.list.push(bind);
        Ok(())
    }

    fn taint(&mut self, fault: BindFault) {
        self.fault.get_or_insert(fault);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: bool = false;
    const FORWARD: bool = true;

    #[test]
    fn the_path_is_kept_in_order() {
        let binds = received(&[("a", "s1", FORWARD), ("b", "s2", FORWARD), ("c", "s3", LOGIN)]);
        let hosts: Vec<_> = binds.list().iter().map(VerifiedBind::hostkey).collect();
        assert_eq!(hosts, [b"a", b"b", b"c"]);
        assert!(binds.claimed_forward() && !binds.tainted());
    }

    #[test]
    fn a_login_bind_after_a_forwarding_one_does_not_make_the_connection_local() {
        assert!(received(&[("a", "s1", FORWARD), ("b", "s2", LOGIN)]).claimed_forward());
    }

    #[test]
    fn nothing_follows_a_login_not_even_the_same_again() {
        for late in [("b", "s2", LOGIN), ("b", "s2", FORWARD), ("a", "s1", LOGIN)] {
            let mut binds = received(&[("a", "s1", LOGIN)]);
            assert_eq!(receive(&mut binds, late), Err(BindFault::AfterLogin));
            assert_eq!(binds.list().len(), 1);
            assert!(binds.tainted());
            assert_eq!(binds.claimed_forward(), late.2);
        }
    }

    #[test]
    fn the_same_forwarding_session_again_changes_nothing() {
        let mut binds = received(&[("a", "s1", FORWARD), ("b", "s2", FORWARD)]);
        assert_eq!(receive(&mut binds, ("a", "s1", FORWARD)), Ok(()));
        assert_eq!(receive(&mut binds, ("a", "s1", LOGIN)), Ok(()));
        assert_eq!(binds.list().len(), 2);
        assert!(binds.list()[0].is_forwarding() && !binds.tainted());
    }

    #[test]
    fn one_session_cannot_be_two_hosts() {
        let mut binds = received(&[("a", "s1", FORWARD)]);
        assert_eq!(receive(&mut binds, ("b", "s1", FORWARD)), Err(BindFault::OtherHostkey));
        assert!(binds.tainted());
    }

    #[test]
    fn a_path_through_one_host_twice_is_fine() {
        assert!(!received(&[("a", "s1", FORWARD), ("a", "s2", FORWARD)]).tainted());
    }

    #[test]
    fn the_seventeenth_bind_is_surplus() {
        let mut binds = Binds::default();
        for number in 0..MOST_BINDS {
            assert_eq!(receive(&mut binds, ("a", &format!("s{number}"), FORWARD)), Ok(()));
        }
        assert_eq!(receive(&mut binds, ("a", "s16", FORWARD)), Err(BindFault::Surplus));
        assert_eq!(binds.list().len(), MOST_BINDS);
        assert!(binds.tainted());
    }

    #[test]
    fn session_identifiers_have_a_longest() {
        let longest = "s".repeat(LONGEST_SESSION_ID);
        assert_eq!(receive(&mut Binds::default(), ("a", &longest, LOGIN)), Ok(()));
        let mut binds = Binds::default();
        let outcome = receive(&mut binds, ("a", &(longest + "s"), LOGIN));
        assert_eq!(outcome, Err(BindFault::LongSessionId));
        assert!(binds.tainted() && binds.list().is_empty());
    }

    #[test]
    fn a_bad_signature_taints_for_good_and_its_claim_to_be_forwarded_still_counts() {
        let mut binds = Binds::default();
        let forged = BindClaim { signature: b"forged", ..claim(("a", "s1", FORWARD)) };
        assert_eq!(binds.receive(&forged, signed), Err(BindFault::BadSignature));
        assert!(binds.claimed_forward() && binds.tainted() && binds.list().is_empty());
        assert_eq!(receive(&mut binds, ("a", "s2", LOGIN)), Ok(()));
        assert!(binds.claimed_forward() && binds.tainted());
        assert_eq!(binds.taint_reason(), Some(BindFault::BadSignature));
    }

    #[test]
    fn an_unreadable_bind_taints() {
        let mut binds = Binds::default();
        assert!(binds.untouched());
        assert!(binds.receive_malformed().is_err());
        assert!(binds.tainted() && !binds.untouched());
    }

    fn signed(_: &[u8], _: &[u8], signature: &[u8]) -> bool {
        signature == b"good"
    }

    fn claim<'a>((hostkey, session_id, is_forwarding): (&'a str, &'a str, bool)) -> BindClaim<'a> {
        BindClaim { hostkey: hostkey.as_bytes(), session_id: session_id.as_bytes(), signature: b"good", is_forwarding }
    }

    fn receive(binds: &mut Binds, bind: (&str, &str, bool)) -> Result<(), BindFault> {
        binds.receive(&claim(bind), signed)
    }

    fn received(path: &[(&str, &str, bool)]) -> Binds {
        let mut binds = Binds::default();
        for bind in path {
            receive(&mut binds, *bind).expect("a good bind");
        }
        binds
    }
}
