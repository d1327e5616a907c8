//! The three that are compared.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::Result;
use crate::agent::Agent;
use crate::client::AgentClient;
use crate::fixture::Fixture;
use crate::keys::{Key, Kind};
use crate::load::{self, Turn};
use crate::options::Options;
use crate::process::{self, Usage};
use crate::raw::RawToken;

/// Who has a turn, in the order of the table's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Hardkey,
    Stock,
    Raw,
}

impl Who {
    pub(crate) const ALL: [Self; 3] = [Self::Hardkey, Self::Stock, Self::Raw];
    pub(crate) const AGENTS: [Self; 2] = [Self::Hardkey, Self::Stock];
}

/// Both agents with all keys, and the token.
pub(crate) struct Targets {
    hardkey: Loaded,
    stock: Loaded,
    raw: RawToken,
    /// All keys, of which not every target has every one.
    pub(crate) keys: Vec<Key>,
}

struct Loaded {
    agent: Agent,
    /// The public keys it lists.
    blobs: Vec<Vec<u8>>,
}

impl Targets {
    /// # Errors
    ///
    /// An agent does not start or does not show the token's keys. One that takes no software keys has no such rows.
    pub(crate) fn start(options: &Options, fixture: &Fixture) -> Result<Self> {
        let raw = RawToken::open()?;
        let mut keys = raw.keys(options.kinds)?;
        let in_token = keys.clone();
        let load = |program, name| -> Result<(Loaded, Vec<Key>)> {
            let mut agent = Agent::start(program, name, fixture)?;
            agent.wait()?;
            agent.add_token(fixture)?;
            if let Err(error) = agent.add_software_keys(fixture) {
                eprintln!("bench: {name} has no software keys: {error}");
            }
            let list = agent.wait_for(|list| list.iter().any(|(blob, _)| *blob == in_token[0].blob))?;
            let software = |kind: Kind| {
                let (blob, _) = list
                    .iter()
                    .find(|(blob, comment)| comment == kind.name() && !in_token.iter().any(|key| key.blob == *blob))?;
                Some(Key { kind, in_token: false, blob: blob.clone() })
            };
            let keys = Kind::USUAL.into_iter().filter_map(software).collect();
            Ok((Loaded { agent, blobs: list.into_iter().map(|(blob, _)| blob).collect() }, keys))
        };
        let (hardkey, _) = load(&options.hardkey, "hardkey")?;
        let (stock, software) = load(&options.stock, "stock")?;
        keys.extend(software);
        Ok(Self { hardkey, stock, raw, keys })
    }

    /// Ends the agents; the keys remain.
    pub(crate) fn end(self) -> Vec<Key> {
        self.keys
    }

    /// Whether `who` can sign with `key`.
    pub(crate) fn has(&self, who: Who, key: &Key) -> bool {
        match who {
            Who::Hardkey => self.hardkey.blobs.contains(&key.blob),
            Who::Stock => self.stock.blobs.contains(&key.blob),
            Who::Raw => key.in_token,
        }
    }

    /// Lets `who` sign with `key` for one turn.
    ///
    /// # Errors
    ///
    /// It failed to.
    pub(crate) fn sign(&self, who: Who, key: &Key, clients: usize, time: Duration) -> Result<Turn> {
        match self.agent(who) {
            Some(agent) => {
                let client = |_| AgentClient::signing(agent.socket(), key);
                load::run((0..clients).map(client).collect::<Result<_>>()?, time)
            }
            None => {
                let client = |_| self.raw.client(key);
                load::run((0..clients).map(client).collect::<Result<_>>()?, time)
            }
        }
    }

    /// Lets `who`, an agent, list its keys for one turn, through one connection or a new one for each request.
    ///
    /// # Errors
    ///
    /// It failed to, or is none.
    pub(crate) fn list(&self, who: Who, clients: usize, anew: bool, time: Duration) -> Result<Turn> {
        let agent = self.agent(who).ok_or("a token has no list of keys")?;
        let client = |_| {
            let client = AgentClient::listing(agent.socket())?;
            Ok(if anew { client.reconnecting(agent.socket()) } else { client })
        };
        load::run((0..clients).map(client).collect::<Result<_>>()?, time)
    }

    /// The CPU time that `who` and its children have used so far; for the raw token that is this process.
    pub(crate) fn cpu(&self, who: Who) -> Duration {
        match self.agent(who) {
            Some(agent) => process::usage_of_tree(agent.id()).cpu,
            None => clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap_or_default(),
        }
    }

    /// What `who`, an agent, uses with and without its children.
    pub(crate) fn memory(&self, who: Who) -> Option<(Usage, Usage)> {
        let id = self.agent(who)?.id();
        Some((process::usage_of_tree(id), process::usage(id)))
    }

    fn agent(&self, who: Who) -> Option<&Agent> {
        match who {
            Who::Hardkey => Some(&self.hardkey.agent),
            Who::Stock => Some(&self.stock.agent),
            Who::Raw => None,
        }
    }
}
