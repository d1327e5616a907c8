//! The gathering of evidence for one request: no more than the judgement hangs on, the cheapest first.

use std::sync::Arc;
use std::time::Duration;

use super::Connection;
use crate::origin::Unknown;
use crate::origin::classify::{Judgement, classify, needed};
use crate::origin::destination;
use crate::origin::evidence::{Evidence, Need, Phase, Request, Setup};
use crate::origin::known_hosts::{Answer, HostKey};
use crate::origin::ledger::Standing;
use crate::origin::peer::Process;
use crate::origin::setup::{Asked, Sockets};
use crate::origin::ssh_argv::SshCommand;

/// How long reading `known_hosts` may take.
const READING_TIME: Duration = Duration::from_secs(2);

impl Connection {
    /// Judges where a request comes from, looking only at what matters.
    pub async fn judge(&mut self, request: &Request) -> Arc<Judgement> {
        self.judge_with(request, needed).await
    }

    /// Judges where a request comes from, looking at everything there is to look at, for explanations.
    pub async fn explain(&mut self, request: &Request) -> Arc<Judgement> {
        self.judge_with(request, |evidence| match (&evidence.phase, &evidence.setup, &evidence.pin) {
            (None, _, _) => Some(Need::Phase),
            (_, None, _) => Some(Need::Setup),
            (_, _, None) => Some(Need::Pin),
            _ => None,
        })
        .await
    }

    async fn judge_with(&mut self, request: &Request, need: impl Fn(&Evidence<'_>) -> Option<Need>) -> Arc<Judgement> {
        self.look_at_program().await;
        let (mut phase, mut setup, mut pin) = (None, None, None);
        loop {
            // Apart, so that nothing of it is kept while something is waited for.
            let next = {
                let (phase, setup, pin) = (phase.clone(), setup.clone(), pin.clone());
                let evidence = Evidence { phase, setup, pin, ..self.evidence(request) };
                need(&evidence).ok_or_else(|| Arc::new(classify(&evidence)))
            };
            match next {
                Ok(Need::Phase) => phase = Some(self.phase()),
                Ok(Need::Setup) => setup = Some(Box::pin(self.setup()).await),
                Ok(Need::Pin) => pin = Some(Box::pin(self.pin()).await),
                Err(judgement) => {
                    self.remember(request, &judgement);
                    return judgement;
                }
            }
        }
    }

    /// The public keys that the peer's own configuration names by `IdentityFile`, in order; none when a judgement has not needed that
    /// configuration.
    pub async fn named_keys(&self) -> Vec<Vec<u8>> {
        let Some(names) = self.config().map(|config| config.identity_files.clone()) else { return Vec::new() };
        let hosts = Arc::clone(self.hosts());
        read_within_time(move || hosts.identities(&names)).await.unwrap_or_default()
    }

    pub(in crate::origin) fn evidence<'a>(&'a self, request: &'a Request) -> Evidence<'a> {
        let first_session = self.binds.list().first().map(|bind| bind.session_id());
        let program = self
            .program
            .as_ref()
            .map(|program| program.as_ref().map(|(program, _)| program.clone()).map_err(Clone::clone));
        let (standing, first_hop_is_local_login) = self.standing(first_session);
        Evidence {
            listener: self.listener.kind,
            label: self.listener.label.as_deref(),
            binds: &self.binds,
            request,
            program: program.unwrap_or_else(|| Err(Unknown::new("its program was not looked at"))),
            standing,
            first_hop_is_local_login,
            phase: None,
            setup: None,
            pin: None,
        }
    }

    fn standing(&self, first_session: Option<&[u8]>) -> (Result<Standing, Unknown>, bool) {
        let ledger = self.assessor.ledger();
        let standing = self.place.as_ref().map(|place| ledger.standing(place)).map_err(Clone::clone);
        (standing, first_session.is_some_and(|session_id| ledger.is_local_login(session_id)))
    }

    async fn look_at_program(&mut self) {
        if self.program.is_none() {
            self.program = Some(Box::pin(self.assessor.recognise(&self.peer)).await);
        }
    }

    fn process(&self) -> Result<&Process, Unknown> {
        self.peer.process.as_ref().map_err(Clone::clone)
    }

    fn phase(&self) -> Result<Phase, Unknown> {
        self.process()?.phase()
    }

    async fn setup(&mut self) -> Result<Setup, Unknown> {
        if self.config.is_none() {
            self.config = Some(self.ask_ssh().await);
        }
        let asked = self.config.as_ref().ok_or_else(|| Unknown::new("its configuration was not looked at"))?;
        let sockets = Sockets { this: self.listener.path.as_deref(), all: &self.assessor.sockets };
        asked.as_ref().map(|asked| Setup::new(asked, sockets)).map_err(Clone::clone)
    }

    async fn ask_ssh(&self) -> Result<Arc<Asked>, Unknown> {
        let process = self.process()?;
        if let Some(asked) = self.assessor.configs.of(process) {
            return Ok(asked);
        }
        let looked = self.program.as_ref().ok_or_else(|| Unknown::new("its program was not looked at"))?;
        let (program, file) = looked.as_ref().map_err(Clone::clone)?;
        let version = program.version.ok_or_else(|| Unknown::new("it is not an ssh"))?;
        let arguments = process.arguments.as_ref().map_err(Clone::clone)?;
        let command = SshCommand::parse(arguments, version)
            .map_err(|error| Unknown::new(format!("its command line does not tell where it goes: {error}")))?;
        let environment = process.environment()?;
        let directory = process.working_directory().ok();
        let config = destination::query(file, &command, &environment, directory.as_deref()).await?;
        Ok(self.assessor.configs.keep(process, Asked::new(config, &environment)))
    }

    async fn pin(&self) -> Result<Answer, Unknown> {
        let config = self.config().ok_or_else(|| Unknown::new("its destination is not known"))?;
        let bind = self.binds.list().first().ok_or_else(|| Unknown::new("no session has been announced"))?;
        let key = HostKey::from_wire(bind.hostkey())?;
        let (files, name) = (config.known_hosts.clone(), config.host_name());
        let hosts = Arc::clone(&self.assessor.hosts);
        read_within_time(move || hosts.find(&files, &name, &key)).await
    }
}

/// Reads `known_hosts` on another thread, so that nobody waits for a slow disk but who asked.
pub(in crate::origin) async fn read_within_time<A: Send + 'static>(
    read: impl FnOnce() -> A + Send + 'static,
) -> Result<A, Unknown> {
    match tokio::time::timeout(READING_TIME, tokio::task::spawn_blocking(read)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(Unknown::new("known_hosts could not be read")),
        Err(_) => Err(Unknown::new(format!("known_hosts could not be read within {READING_TIME:?}"))),
    }
}
