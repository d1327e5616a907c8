//! All that may be known about a request, owned, for the tests of the judgement.

use std::time::Duration;

use super::Unknown;
use super::binds::{BindClaim, BindFault, Binds};
use super::classify::{Judgement, classify};
use super::evidence::{Evidence, Kind, PayloadFact, Phase, Program, Request, Setup};
use super::known_hosts::{Answer, Place};
use super::ledger::Standing;
use super::testing::Random;
use super::trust::{Role, Version};

/// By default a plain, trusted `ssh hosta` on its first connection that logs in as `me`.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) listener: Kind,
    pub(crate) binds: Binds,
    pub(crate) request: Request,
    pub(crate) program: Result<Program, Unknown>,
    pub(crate) standing: Standing,
    pub(crate) known_login: bool,
    pub(crate) phase: Phase,
    pub(crate) setup: Setup,
    pub(crate) pin: Answer,
}

impl Default for World {
    fn default() -> Self {
        Self {
            listener: Kind::Agent,
            binds: bound("A:hosta@s0"),
            request: Request::Sign(hostbound("hosta", "s0")),
            program: Ok(ssh(9, 2)),
            standing: Standing {
                ordinal: Some(1),
                authenticating: false,
                first_session: Some(b"s0".to_vec()),
                taint: None,
                predates_agent: false,
            },
            known_login: false,
            phase: Phase { age: Duration::from_secs(1), listens: false, forked: false, detached: false },
            setup: Setup {
                destination: "hosta port 22".into(),
                user: "me".into(),
                own_agent_is_ours: Ok(true),
                relays: None,
                forwards_us: Ok(false),
                gssapi_key_exchange: false,
                backgrounds: false,
            },
            pin: Answer::Known(place()),
        }
    }
}

impl World {
    /// Changes of which each takes a plain login's being local away.
    pub(crate) const FAULTS: [&str; 14] = [
        "listener",
        "stranger",
        "signer",
        "manager",
        "server",
        "old",
        "second",
        "predates",
        "tainted",
        "background",
        "foreign",
        "relays",
        "gssapi-a",
        "not-ours",
    ];
    /// Changes of which none does.
    const FAVOURS: [&str; 5] = ["known", "authenticating", "gssapi", "service", "backgrounds"];

    pub(crate) fn of(binds: &str, changes: &str, request: &str) -> Self {
        let mut world = Self { binds: bound(binds), ..Self::default() };
        world.apply(changes);
        world.request = requested(request);
        world
    }

    pub(crate) fn evidence(&self) -> Evidence<'_> {
        Evidence {
            listener: self.listener,
            label: None,
            binds: &self.binds,
            request: &self.request,
            program: self.program.clone(),
            standing: Ok(self.standing.clone()),
            first_hop_is_local_login: self.known_login,
            phase: Some(Ok(self.phase)),
            setup: Some(Ok(self.setup.clone())),
            pin: Some(Ok(self.pin.clone())),
        }
    }

    pub(crate) fn judge(&self) -> Judgement {
        classify(&self.evidence())
    }

    pub(crate) fn sign(&mut self, payload: PayloadFact) {
        self.request = Request::Sign(payload);
    }

    pub(crate) fn apply(&mut self, changes: &str) {
        for change in changes.split_ascii_whitespace() {
            self.change(change);
        }
    }

    fn change(&mut self, change: &str) {
        let tool = |role| Ok(Program { role, version: None });
        match change {
            // It arrived where only forwarded requests do.
            "listener" => self.listener = Kind::Forward,
            "stranger" => {
                self.program = Err(Unknown::new("its program is not one that is trusted"));
            }
            "signer" => self.program = tool(Role::Signer),
            "manager" => self.program = tool(Role::Manager),
            "server" => self.program = tool(Role::Server),
            "old" => self.program = Ok(ssh(8, 7)),
            // A later connection of a process that has logged in before.
            "second" => {
                self.standing.ordinal = Some(2);
                self.standing.first_session = Some(b"own".to_vec());
            }
            "authenticating" => self.standing.authenticating = true,
            "predates" => self.standing.predates_agent = true,
            "tainted" => self.standing.taint = Some(BindFault::BadSignature),
            // The first bind's session is that of a login judged local.
            "known" => self.known_login = true,
            // An ssh -A, whose own login came first.
            "forwards" => {
                self.apply("second known");
                self.setup.forwards_us = Ok(true);
            }
            "backgrounds" => self.setup.backgrounds = true,
            "service" => self.phase.detached = true,
            // A master or a child of `ssh -f` in the background; its destination cannot be seen any more.
            "background" => {
                self.apply("backgrounds service foreign");
                self.phase.forked = true;
                self.phase.listens = true;
            }
            // The bind's host key is not one of the host that this ssh was started for.
            "foreign" => self.pin = Answer::Unknown,
            "relays" => {
                self.setup.relays = Some("lets the far side reach the agent's socket".into());
            }
            "gssapi" => self.setup.gssapi_key_exchange = true,
            "gssapi-a" => {
                self.apply("gssapi");
                self.setup.forwards_us = Ok(true);
            }
            // This ssh asks another agent, or none, for its own login.
            "not-ours" => self.setup.own_agent_is_ours = Ok(false),
            "other-user" => self.setup.user = "somebody".into(),
            other => panic!("no such change: {other}"),
        }
    }

    /// Mostly favourable, so that all classes come up.
    pub(crate) fn random(random: &mut Random) -> Self {
        const BINDS: [&str; 9] = [
            "",
            "A:hosta@s0",
            "A:hosta@s0",
            "F:hosta@s0",
            "F:hosta@s0 A:hostb@s1",
            "A:hosta@s0 F:hostb@s1",
            "!",
            "F:hosta@s0 !",
            "A:hosta@s0 A:hosta@s0",
        ];
        const REQUESTS: [&str; 9] = [
            "list",
            "manage",
            "sshsig",
            "raw",
            "login s0",
            "login s1",
            "bound hosta@s0",
            "bound hosta@s0",
            "bound hostb@s1",
        ];
        let mut world = Self::of(random.pick(&BINDS), "", random.pick(&REQUESTS));
        for change in Self::FAULTS.into_iter().chain(Self::FAVOURS) {
            if random.below(10) == 0 {
                world.change(change);
            }
        }
        world
    }
}

/// Binds as `A:host@session` and `F:host@session`, and `!` for one whose signature is bad.
pub(crate) fn bound(path: &str) -> Binds {
    let mut binds = Binds::default();
    for bind in path.split_ascii_whitespace() {
        let (kind, rest) = bind.split_once(':').unwrap_or(("A", "evil@s0"));
        let (hostkey, session_id) = rest.split_once('@').expect("host@session");
        let claim = BindClaim {
            hostkey: hostkey.as_bytes(),
            session_id: session_id.as_bytes(),
            signature: b"",
            is_forwarding: kind == "F",
        };
        // Faults are part of what is tested.
        _ = binds.receive(&claim, |_, _, _| bind != "!");
    }
    binds
}

pub(crate) fn hostbound(host: &str, session: &str) -> PayloadFact {
    PayloadFact::BoundLogin { user: "me".into(), session_id: session.into(), hostkey: host.into() }
}

pub(crate) fn login(session: &str) -> PayloadFact {
    PayloadFact::Login { user: "me".into(), session_id: session.into() }
}

pub(crate) fn place() -> Place {
    Place { file: "/known_hosts".into(), line: 1 }
}

fn requested(request: &str) -> Request {
    let (word, rest) = request.split_once(' ').unwrap_or((request, ""));
    Request::Sign(match word {
        "list" => return Request::List,
        "manage" => return Request::Manage,
        "bound" => {
            let (host, session) = rest.split_once('@').expect("host@session");
            hostbound(host, session)
        }
        "login" => login(rest),
        "sshsig" => PayloadFact::SshSig,
        "certificate" => PayloadFact::Certificate,
        "sudo" => PayloadFact::Sudo,
        "host-kex" => PayloadFact::HostKex,
        "raw" => PayloadFact::Raw,
        other => panic!("no such request: {other}"),
    })
}

fn ssh(major: u32, minor: u32) -> Program {
    Program { role: Role::Ssh, version: Some(Version { major, minor }) }
}
