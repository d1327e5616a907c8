//! Keys of the web in an SSH agent: a security key whose application is not `ssh:` may belong to a web site, and data of any kind could be
//! that site's login (OpenSSH ssh-agent(1), `-O no-restrict-websafe`).

use std::sync::Arc;

use crate::pattern::PatternList;
use crate::protocol::payload::Payload;
use crate::protocol::public_key::{KeyMaterial, PublicKey};

/// Which applications' keys may sign data of any kind; all, when `None`.
#[derive(Debug, Clone)]
pub struct Websafe(Option<Arc<PatternList>>);

/// A key of the web was to sign something that is not SSH's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a security key made for another application than ssh: signs logins and messages (SSHSIG) only; see -O websafe-allow"
)]
pub struct NotWebsafe;

impl Default for Websafe {
    fn default() -> Self {
        Self::allowing("ssh:*")
    }
}

impl Websafe {
    /// Lets the keys of these applications sign data of any kind, and no others'.
    pub fn allowing(patterns: &str) -> Self {
        Self(Some(Arc::new(PatternList::new(patterns))))
    }

    /// Lets every key sign data of any kind.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Whether a key may sign this.
    ///
    /// # Errors
    /// It is a key of the web, and the data is neither a login nor a message signature.
    pub fn permits(&self, key: &PublicKey, payload: &Payload<'_>) -> Result<(), NotWebsafe> {
        let (KeyMaterial::SkEd25519 { application, .. } | KeyMaterial::SkEcdsa { application, .. }) = key.material()
        else {
            return Ok(());
        };
        let is_ssh = self.0.as_ref().is_none_or(|allowed| allowed.matches(application));
        match payload {
            // Another key's login is no login that this one could be asked for.
            Payload::Login(login) | Payload::BoundLogin { login, .. } if login.key == &key.blob()[..] => Ok(()),
            Payload::SshSig { .. } => Ok(()),
            _ if is_ssh => Ok(()),
            _ => Err(NotWebsafe),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(application: &str) -> PublicKey {
        PublicKey::from_material(KeyMaterial::SkEd25519 { key: [1; 32], application: application.to_owned() })
    }

    #[test]
    fn a_key_of_the_web_signs_nothing_that_could_be_the_webs() {
        let rule = Websafe::default();
        assert_eq!(rule.permits(&key("example.org"), &Payload::Raw), Err(NotWebsafe));
        assert_eq!(rule.permits(&key("example.org"), &Payload::SshSig { namespace: b"git" }), Ok(()));
        assert_eq!(rule.permits(&key("ssh:work"), &Payload::Raw), Ok(()));
        assert_eq!(Websafe::off().permits(&key("example.org"), &Payload::Raw), Ok(()));
    }

    #[test]
    fn an_allow_list_replaces_the_default() {
        let rule = Websafe::allowing("example.*");
        assert_eq!(rule.permits(&key("example.org"), &Payload::Raw), Ok(()));
        assert_eq!(rule.permits(&key("ssh:"), &Payload::Raw), Err(NotWebsafe));
    }
}
