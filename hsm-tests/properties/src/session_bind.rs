//! Session binds: the record of a connection against a model of OpenSSH's rules, and what destination constraints make of it.

use hardkey::crypto::verify::verify_host;
use hardkey::origin::binds::{BindClaim, Binds};
use hardkey::policy::destination::{permits_sight, permits_signature};
use hardkey::protocol::destination::{self, DestinationConstraint};
use hardkey::protocol::payload::Payload;
use hardkey::protocol::public_key::PublicKey;
use hardkey::protocol::session_bind::SessionBind;
use hardkey::protocol::wire::Reader;

use crate::octets::{assert_fits_a_log, strings};

/// A signature that passes for any host key's, since nothing but a server can make a real one.
pub const PASSES: &[u8] = b"good";

/// Input: strings. The first is the payload of a destination constraint, the second a key, the third octets to be signed with it, and
/// each further one the body of a session bind.
pub fn check(input: &[u8]) {
    let mut fields = strings(input);
    let [constraints, key, data] = [(); 3].map(|()| fields.next().unwrap_or_default());
    let mut binds = Binds::default();
    let mut model = Model::default();
    for body in fields {
        receive(&mut binds, &mut model, body);
    }
    let constraints = destination::parse(&mut Reader::new(constraints)).unwrap_or_default();
    permits(&constraints, &binds, &PublicKey::from_blob(key), data);
}

fn receive(binds: &mut Binds, model: &mut Model, body: &[u8]) {
    let before: Vec<_> = binds.list().to_vec();
    let outcome = match SessionBind::parse(Reader::new(body)) {
        Ok(bind) => {
            let claim = BindClaim {
                hostkey: bind.host_key,
                session_id: bind.session_id,
                signature: bind.signature,
                is_forwarding: bind.is_forwarding,
            };
            let genuine = bind.signature == PASSES || is_signed(bind.host_key, bind.session_id, bind.signature);
            let expected = model.receive(&claim, genuine);
            let outcome = binds.receive(&claim, |_, _, _| genuine);
            assert_eq!(outcome.is_ok(), expected, "{claim:?} after {before:?}");
            outcome
        }
        Err(error) => {
            assert_fits_a_log(&error.to_string());
            model.tainted = true;
            binds.receive_malformed()
        }
    };
    if let Err(fault) = outcome {
        assert_fits_a_log(&fault.to_string());
        assert_eq!(binds.list(), before, "a refused bind changed the path");
    }
    let path: Vec<_> = binds.list().iter().map(|own| (own.hostkey(), own.session_id(), own.is_forwarding())).collect();
    let expected: Vec<_> = model.path.iter().map(|(host, session, on)| (&host[..], &session[..], *on)).collect();
    assert_eq!(path, expected);
    assert_eq!((binds.tainted(), binds.claimed_forward()), (model.tainted, model.forwarded));
    assert!(!binds.untouched());
}

fn is_signed(host_key: &[u8], session_id: &[u8], signature: &[u8]) -> bool {
    PublicKey::from_blob(host_key).is_ok_and(|key| verify_host(&key, session_id, signature).is_ok())
}

/// The record as OpenSSH keeps it, but for its two faults: a failed bind stays failed, and a long session identifier fails.
#[derive(Default)]
struct Model {
    path: Vec<(Vec<u8>, Vec<u8>, bool)>,
    tainted: bool,
    forwarded: bool,
}

impl Model {
    fn receive(&mut self, claim: &BindClaim<'_>, genuine: bool) -> bool {
        self.forwarded |= claim.is_forwarding;
        let same_session = self.path.iter().find(|(_, session, _)| session == claim.session_id);
        // A hop that binds once more is answered as before, also after the login.
        let ended = self.path.last().is_some_and(|(_, _, forwarding)| !forwarding)
            && same_session.is_none_or(|(_, _, forwarding)| !forwarding);
        let good = genuine
            && claim.session_id.len() <= 128
            && !ended
            && same_session.map_or(self.path.len() < 16, |(host, _, _)| host == claim.hostkey);
        if good && same_session.is_none() {
            self.path.push((claim.hostkey.to_vec(), claim.session_id.to_vec(), claim.is_forwarding));
        }
        self.tainted |= !good;
        good
    }
}

/// What follows from permission, whatever the constraints are.
fn permits<E>(constraints: &[DestinationConstraint], binds: &Binds, key: &Result<PublicKey, E>, data: &[u8]) {
    let sight = permits_sight(constraints, binds);
    if constraints.is_empty() {
        return assert_eq!(sight, Ok(()));
    }
    if sight.is_ok() {
        assert!(!binds.tainted());
        let steps = binds.list().iter().all(|bind| constraints.iter().any(|one| could_be(one, bind.hostkey())));
        assert!(steps, "a host that no constraint names");
    }
    let Ok(key) = key else { return };
    let payload = Payload::of(data);
    if permits_signature(constraints, binds, key, &payload).is_ok() {
        let last = binds.list().last().expect("a signature without a session");
        let login = payload.login().expect("a signature that is no login");
        assert_eq!(sight, Ok(()), "a signature with a key that is not seen");
        assert!(!last.is_forwarding());
        assert_eq!((login.session_id, login.key), (last.session_id(), &key.blob()[..]));
        match &payload {
            Payload::BoundLogin { host_key, .. } => assert_eq!(*host_key, last.hostkey()),
            _ => assert_eq!(binds.list().len(), 1, "a login through a hop that does not name its host"),
        }
    }
}

/// Whether a host with this key could be where a constraint leads: by the key itself or by an authority.
fn could_be(constraint: &DestinationConstraint, host_key: &[u8]) -> bool {
    constraint.to.keys.iter().any(|key| key.is_authority || key.blob[..] == *host_key)
}
