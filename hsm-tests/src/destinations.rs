//! Destination constraints as `ssh-add -h` sends them (OpenSSH PROTOCOL.agent section 2).

use crate::client::Body;
use crate::hosts::Host;

/// One end of a permitted step.
#[derive(Clone, Default)]
pub struct Hop {
    /// A pattern for users; empty for any.
    pub user: String,
    /// The host's name; empty with no keys for the machine of the agent.
    pub hostname: String,
    /// Blobs of keys, and whether each is an authority's.
    pub keys: Vec<(Vec<u8>, bool)>,
    /// What must be empty.
    pub reserved: Vec<u8>,
}

impl Hop {
    /// The machine of the agent.
    #[must_use]
    pub fn origin() -> Self {
        Self::default()
    }

    /// A host by name and key.
    #[must_use]
    pub fn host(hostname: &str, host: &Host) -> Self {
        Self { hostname: hostname.into(), keys: vec![(host.key.clone(), false)], ..Self::default() }
    }

    /// Any host of this name that an authority vouches for.
    #[must_use]
    pub fn certified(hostname: &str, authority: &[u8]) -> Self {
        Self { hostname: hostname.into(), keys: vec![(authority.to_vec(), true)], ..Self::default() }
    }

    /// Logged in to as a user who matches this pattern.
    #[must_use]
    pub fn by(mut self, user: &str) -> Self {
        self.user = user.into();
        self
    }

    fn encoded(&self) -> Vec<u8> {
        let hop = Body::nothing().string(&self.user).string(&self.hostname).string(&self.reserved);
        self.keys.iter().fold(hop, |hop, (key, is_authority)| hop.string(key).raw(&[u8::from(*is_authority)])).bytes()
    }
}

/// The constraint that permits these steps, to be appended to `SSH_AGENTC_ADD_ID_CONSTRAINED`.
#[must_use]
pub fn restricted_to(steps: &[(Hop, Hop)]) -> Vec<u8> {
    restricted_by(
        steps.iter().map(|(from, to)| Body::nothing().string(from.encoded()).string(to.encoded()).string("").bytes()),
    )
}

/// The constraint with steps encoded by hand.
#[must_use]
pub fn restricted_by(steps: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let list = steps.into_iter().fold(Body::nothing(), |list, step| list.string(step)).bytes();
    Body::new(255).string("restrict-destination-v00@openssh.com").string(list).bytes()
}
