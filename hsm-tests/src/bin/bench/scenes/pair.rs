//! Two agents of a scene's own, one of each program.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::agent::Agent;
use crate::client::AgentClient;
use crate::fixture::Fixture;
use crate::keys::Key;
use crate::load::{self, Turn};
use crate::options::Options;
use crate::process;
use crate::target::Who;

pub(super) struct Pair([Agent; 2]);

impl Pair {
    /// Starts both, without a token, and waits until they answer.
    ///
    /// # Errors
    ///
    /// One does not start.
    pub(super) fn start(options: &Options, fixture: &Fixture, environment: &[(&str, OsString)]) -> Result<Self> {
        Self::configured(options, fixture, &fixture.configuration_without_token()?, environment)
    }

    /// The same with another configuration for hardkey.
    ///
    /// # Errors
    ///
    /// One does not start.
    pub(super) fn configured(
        options: &Options,
        fixture: &Fixture,
        configuration: &Path,
        environment: &[(&str, OsString)],
    ) -> Result<Self> {
        let start = |program, name| {
            let mut agent = Agent::start_with(program, name, fixture, configuration, environment)?;
            agent.wait()?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(agent)
        };
        Ok(Self([start(&options.hardkey, "hardkey-too")?, start(&options.stock, "stock-too")?]))
    }

    pub(super) fn agent(&self, who: Who) -> &Agent {
        &self.0[usize::from(who != Who::Hardkey)]
    }

    pub(super) fn cpu(&self, who: Who) -> Duration {
        process::usage_of_tree(self.agent(who).id()).cpu
    }

    /// Lets `who` sign with `key` for one turn.
    ///
    /// # Errors
    ///
    /// It failed to.
    pub(super) fn sign(&self, who: Who, key: &Key, clients: usize, time: Duration) -> Result<Turn> {
        let client = |_| AgentClient::signing(self.agent(who).socket(), key);
        load::run((0..clients).map(client).collect::<Result<_>>()?, time)
    }

    /// Lets `who` list its keys for one turn.
    ///
    /// # Errors
    ///
    /// It failed to.
    pub(super) fn list(&self, who: Who, clients: usize, time: Duration) -> Result<Turn> {
        let client = |_| AgentClient::listing(self.agent(who).socket());
        load::run((0..clients).map(client).collect::<Result<_>>()?, time)
    }
}
