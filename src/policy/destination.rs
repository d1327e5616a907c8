//! Whether the path that a connection was bound to is one that a key's destination constraints permit, as OpenSSH evaluates them.

use std::time::{SystemTime, UNIX_EPOCH};

use ssh_key::certificate::CertType;

use crate::origin::binds::{Binds, VerifiedBind};
use crate::pattern;
use crate::protocol::destination::{DestinationConstraint, Hop};
use crate::protocol::payload::Payload;
use crate::protocol::public_key::PublicKey;

/// Why a path is not permitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key's destination constraints do not permit it: {0}")]
pub struct NotPermitted(&'static str);

/// Whether a connection may see a key: list it, remove it, add it again.
///
/// # Errors
/// The path is not permitted, or does not lead on from its last host.
pub fn permits_sight(constraints: &[DestinationConstraint], binds: &Binds) -> Result<(), NotPermitted> {
    if constraints.is_empty() {
        return Ok(());
    }
    permits_path(constraints, binds, None)
}

/// Whether a connection may have this signature: a login at the end of a permitted path, in the session it was bound to last.
///
/// # Errors
/// Anything else.
pub fn permits_signature(
    constraints: &[DestinationConstraint],
    binds: &Binds,
    key: &PublicKey,
    payload: &Payload<'_>,
) -> Result<(), NotPermitted> {
    if constraints.is_empty() {
        return Ok(());
    }
    let Some(last) = binds.list().last() else {
        return Err(NotPermitted("the connection was not bound to a session"));
    };
    let login = payload.login().ok_or(NotPermitted("it is not a login"))?;
    let algorithm = std::str::from_utf8(login.algorithm).unwrap_or_default();
    if login.key != &key.blob()[..] || !names_key(algorithm, key) {
        return Err(NotPermitted("the login is with another key"));
    }
    let user = std::str::from_utf8(login.user).map_err(|_| NotPermitted("the user's name is not UTF-8"))?;
    permits_path(constraints, binds, Some(user))?;
    if login.session_id != last.session_id() {
        return Err(NotPermitted("the login is in another session"));
    }
    match payload {
        Payload::BoundLogin { host_key, .. } if *host_key != last.hostkey() => {
            Err(NotPermitted("the login is at another host"))
        }
        Payload::BoundLogin { .. } => Ok(()),
        _ if binds.list().len() > 1 => Err(NotPermitted("a login through a hop has to name its host")),
        _ => Ok(()),
    }
}

/// Whether a signature algorithm's name goes with a key: its type's name, or for RSA keys one of the SHA-2 names.
fn names_key(algorithm: &str, key: &PublicKey) -> bool {
    let plain = algorithm.strip_suffix("-cert-v01@openssh.com").unwrap_or(algorithm);
    let is_certificate = algorithm.ends_with("-cert-v01@openssh.com");
    let type_name = key.type_name();
    let rsa = matches!(plain, "rsa-sha2-256" | "rsa-sha2-512") && key.material().algorithm() == "ssh-rsa";
    let webauthn = algorithm == "webauthn-sk-ecdsa-sha2-nistp256@openssh.com"
        && key.material().algorithm() == "sk-ecdsa-sha2-nistp256@openssh.com";
    algorithm == type_name || (rsa && is_certificate == key.certificate().is_some()) || webauthn
}

fn permits_path(constraints: &[DestinationConstraint], binds: &Binds, user: Option<&str>) -> Result<(), NotPermitted> {
    // A bind that failed once may have hidden a hop: the path would look one step shorter than it is.
    if binds.tainted() {
        return Err(NotPermitted("a session bind failed on this connection"));
    }
    let Some((last, before)) = binds.list().split_last() else { return Ok(()) };
    if before.iter().any(|bind| !bind.is_forwarding()) {
        return Err(NotPermitted("the path goes on after a login"));
    }
    if last.is_forwarding() && user.is_some() {
        return Err(NotPermitted("the session was bound for forwarding, not for a login"));
    }
    let mut from: Option<&VerifiedBind> = None;
    for bind in binds.list() {
        let at_end = std::ptr::eq(bind, last);
        let permitted = constraints.iter().any(|constraint| {
            let starts_here = match (&constraint.from, from) {
                (None, None) => true,
                (Some(hop), Some(from)) => matches(from, hop),
                _ => false,
            };
            let user_fits = match (user, &constraint.user) {
                (Some(user), Some(wanted)) if at_end => pattern::matches(wanted, user),
                _ => true,
            };
            starts_here && matches(bind, &constraint.to) && user_fits
        });
        if !permitted {
            return Err(NotPermitted("no constraint names this step of the path"));
        }
        from = Some(bind);
    }
    // A key that may be used at the last host but not beyond it is none of that host's business.
    let leads_on =
        || constraints.iter().any(|constraint| constraint.from.as_ref().is_some_and(|hop| matches(last, hop)));
    match last.is_forwarding() && user.is_none() && !leads_on() {
        true => Err(NotPermitted("no constraint leads on from the last host of the path")),
        false => Ok(()),
    }
}

fn matches(bind: &VerifiedBind, hop: &Hop) -> bool {
    let Ok(key) = PublicKey::from_blob(bind.hostkey()) else { return false };
    match key.certificate() {
        None => hop.keys.iter().any(|hop_key| !hop_key.is_authority && hop_key.blob[..] == *bind.hostkey()),
        Some(_) => {
            let authority = key.authority().map(|authority| authority.to_blob());
            let vouches = |blob: &[u8]| authority.as_deref() == Some(blob);
            hop.keys.iter().any(|hop_key| hop_key.is_authority && vouches(&hop_key.blob))
                && is_certificate_for(&key, &hop.hostname)
        }
    }
}

/// Whether a host certificate is valid now for this name. Its signature was verified when the bind was.
fn is_certificate_for(key: &PublicKey, hostname: &str) -> bool {
    let Some(certificate) = key.certificate() else { return false };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    certificate.cert_type() == CertType::Host
        && (certificate.valid_after()..certificate.valid_before()).contains(&now)
        && certificate.critical_options().is_empty()
        && certificate.valid_principals().iter().any(|principal| pattern::matches(principal, hostname))
}
