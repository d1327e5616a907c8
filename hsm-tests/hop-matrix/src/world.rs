//! The small world of one play of a case: a person, an agent with two keys, and hosts.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use hsm_tests::{Agent, Answer, Askpass, Home, KeyFile, PublicKey, SOON, Signal, Sshd, Task, is_stock, until};

use crate::judgements;

/// What a person at this machine locks the agent with.
pub(crate) const PASSPHRASE: &str = "passphrase";

/// Whether there is a person to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Person {
    /// Says yes to everything, and remembers what was asked.
    SaysYes,
    /// Nobody, and no way to ask.
    Nobody,
}

/// A key, by what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// The agent has it, and the case is about its use.
    Subject,
    /// The agent has it, and local logins that only open the way use it.
    Entry,
    /// In a file, unknown to the agent: for logins that the agent is to have no part in.
    Carried,
}

/// See the module. When it goes, every process in it is ended.
pub(crate) struct World {
    home: Home,
    /// In the order of [`Key::ALL`].
    keys: [KeyFile; 3],
    askpass: Askpass,
    person: Person,
    agent: RefCell<Option<Agent>>,
    socket: PathBuf,
    log_begins: Cell<usize>,
    hosts: RefCell<BTreeMap<String, Rc<Sshd>>>,
    kept: RefCell<Vec<Box<dyn Any>>>,
    environment: RefCell<Vec<(&'static str, PathBuf)>>,
}

/// What a play showed.
pub(crate) struct Seen {
    /// Questions about the key that the case is about.
    pub(crate) questions: Vec<String>,
    /// Questions about logins that only open the way.
    pub(crate) needless_questions: Vec<String>,
    /// Where the agent found the requests to come from; empty for agents that do not look.
    pub(crate) classes: Vec<String>,
    /// How often the key that the case is about has signed, as far as the agent tells.
    pub(crate) signatures: usize,
}

impl World {
    /// With these hosts.
    pub(crate) fn new(person: Person, hosts: &[&str]) -> Self {
        let home = Home::new();
        let askpass = Askpass::new(&home, &[Answer::Ok; 20]);
        home.directory("public");
        let keys = Key::ALL.map(|key| {
            let made = KeyFile::new(&home, key.name());
            // Without the private key beside it, which ssh and ssh-keygen would find.
            let line = format!("{} {}\n", made.public().line(), key.name());
            home.file(Path::new("public").join(format!("{}.pub", key.name())), line);
            made
        });
        let socket = home.path("run/agent.sock");
        let world = Self {
            home,
            keys,
            askpass,
            person,
            agent: RefCell::new(None),
            socket,
            log_begins: Cell::new(0),
            hosts: RefCell::default(),
            kept: RefCell::default(),
            environment: RefCell::default(),
        };
        for host in hosts {
            world.host(host);
        }
        world.start_agent();
        world.add_keys(&[], &[Key::Subject, Key::Entry]);
        world
    }

    /// Starts a host whose lines of `sshd_config` are the usual ones.
    pub(crate) fn host(&self, name: &str) -> Rc<Sshd> {
        self.host_with(name, "")
    }

    /// Starts a host with further lines, or gives the one that runs.
    pub(crate) fn host_with(&self, name: &str, configuration: &str) -> Rc<Sshd> {
        if let Some(running) = self.hosts.borrow().get(name) {
            return Rc::clone(running);
        }
        let keys = self.keys.iter().map(KeyFile::public);
        let environment = self.environment.borrow();
        let started = Rc::new(Sshd::in_environment(&self.home, name, keys, configuration, &environment));
        self.hosts.borrow_mut().insert(name.to_owned(), Rc::clone(&started));
        self.write_configurations();
        started
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// The agent's socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The socket for forwarded requests.
    pub(crate) fn forward_socket(&self) -> PathBuf {
        self.home.path("run/forward.sock")
    }

    pub(crate) fn key_file(&self, key: Key) -> &KeyFile {
        &self.keys[key as usize]
    }

    pub(crate) fn public(&self, key: Key) -> &PublicKey {
        self.key_file(key).public()
    }

    /// The public key without its private one beside it.
    pub(crate) fn public_file(&self, key: Key) -> PathBuf {
        self.home.path("public").join(format!("{}.pub", key.name()))
    }

    /// The private key.
    pub(crate) fn private_file(&self, key: Key) -> &Path {
        self.key_file(key).path()
    }

    /// Lets these keys in at a host, and no others.
    pub(crate) fn authorize(&self, host: &str, keys: &[Key]) {
        let lines: String = keys.iter().map(|key| format!("{}\n", self.public(*key).line())).collect();
        self.home.file(Path::new(host).join("authorized_keys"), lines);
    }

    /// The configuration of `ssh` that logs in with this key, and knows all hosts.
    pub(crate) fn configuration(&self, key: Key) -> PathBuf {
        self.home.path("home").join(format!("{}.conf", key.name()))
    }

    /// The known host keys.
    pub(crate) fn known_hosts(&self) -> PathBuf {
        self.home.path("home/known_hosts")
    }

    /// A program on this machine that knows the agent.
    pub(crate) fn command(&self, program: &str) -> Task {
        self.home.command(program).env("SSH_AUTH_SOCK", &self.socket).envs(self.environment.borrow().iter().cloned())
    }

    /// Sets variables for programs and hosts that are started from now on.
    pub(crate) fn set_environment(&self, variables: Vec<(&'static str, PathBuf)>) {
        self.environment.replace(variables);
    }

    /// `ssh` on this machine.
    pub(crate) fn ssh(&self, key: Key) -> Task {
        self.command("ssh").arg("-F").arg(self.configuration(key))
    }

    /// What a script prints on `hosta`, run with these options of `ssh`.
    pub(crate) fn on_hosta(&self, key: Key, options: &[&str], script: &str) -> String {
        self.ssh(key).args(options).args(["hosta", script]).run().stdout
    }

    /// Adds keys as a person at this machine does.
    pub(crate) fn add_keys(&self, options: &[&str], keys: &[Key]) {
        let files = keys.iter().map(|key| self.private_file(*key));
        self.command("ssh-add").arg("-q").args(options).args(files).run().succeeds();
        self.begin_log();
    }

    /// The comments of the agent's keys, as a person at this machine sees them.
    pub(crate) fn keys(&self) -> Vec<String> {
        let listed = self.command("ssh-add").arg("-L").run().stdout;
        // "The agent has no identities." is not one.
        let keys = listed.lines().filter(|line| line.starts_with("ssh-"));
        keys.filter_map(|line| line.split(' ').nth(2)).map(str::to_owned).collect()
    }

    /// Lets a program run until this world ends.
    pub(crate) fn keep(&self, program: impl Any) {
        self.kept.borrow_mut().push(Box::new(program));
    }

    /// Logs in to `hosta` in the background, forwarding the agent with these options: the agent's socket over there.
    pub(crate) fn forwarded_to_hosta(&self, key: Key, options: &[&str]) -> PathBuf {
        self.stay_at_hosta(self.ssh(key).args(options)).into()
    }

    /// Logs in to `hosta` in the background, relaying the agent's socket with `-R`: the socket over there.
    pub(crate) fn relayed_to_hosta(&self, key: Key, options: &[&str]) -> PathBuf {
        let socket = self.home.path("home/relayed.sock");
        let relay = format!("{}:{}", socket.display(), self.socket.display());
        self.stay_at_hosta(self.ssh(key).args(options).args(["-R", &relay]));
        socket
    }

    /// Logs in and stays there, with all forwardings ready: what `SSH_AUTH_SOCK` is there.
    fn stay_at_hosta(&self, ssh: Task) -> String {
        let note = self.home.path("home/note");
        let script = format!("echo \"$SSH_AUTH_SOCK\" >{0}.new && mv {0}.new {0} && exec sleep 600", note.display());
        self.keep(ssh.args(["hosta", &script]).start("way"));
        assert!(until(SOON, || note.exists()), "no way to hosta\n{}", self.home.logs());
        fs::read_to_string(&note).expect("a note").trim().to_owned()
    }

    /// Ends the agent and starts another at the same place.
    pub(crate) fn restart_agent(&self) {
        if let Some(agent) = self.agent.take() {
            agent.end_with(Signal::TERM);
        }
        self.start_agent();
        self.add_keys(&[], &[Key::Subject, Key::Entry]);
    }

    /// Locks (`-x`) or unlocks (`-X`) the agent, as a person at this machine does.
    pub(crate) fn lock_agent(&self, option: &str) {
        let askpass = self.home.program("home/passphrase", format!("#!/bin/sh\necho {PASSPHRASE}\n"));
        let task = self.command("ssh-add").arg(option).env("SSH_ASKPASS", askpass).env("SSH_ASKPASS_REQUIRE", "force");
        task.run().succeeds();
        self.begin_log();
    }

    /// The user who runs this.
    pub(crate) fn user(&self) -> String {
        self.home.command("id").arg("-un").run().succeeds().stdout.trim().to_owned()
    }

    /// What there is to see after the play.
    pub(crate) fn seen(&self) -> Seen {
        let all = self.askpass.questions();
        let about = |key: Key| {
            let fingerprint = self.public(key).fingerprint();
            all.iter().filter(|question| question.contains(fingerprint)).cloned().collect()
        };
        let log = self.agent_log();
        let log = &log[self.log_begins.get()..];
        Seen {
            questions: about(Key::Subject),
            needless_questions: about(Key::Entry),
            classes: judgements::classes(log, Key::Entry.name()),
            signatures: judgements::signatures(log, Key::Subject.name()),
        }
    }

    fn start_agent(&self) {
        let environment = match self.person {
            Person::SaysYes => self.askpass.environment(),
            Person::Nobody => vec![("SSH_ASKPASS_REQUIRE", "never".into())],
        };
        let mut agent = Agent::with(&self.home).envs(environment).env("HARDKEY_LOG", "debug");
        // For the cases that have a token.
        agent = agent.env("SOFTHSM2_CONF", self.home.path("token/softhsm2.conf"));
        if !is_stock() {
            agent = agent.line(&format!("listen = {{ forward = {:?} }}", self.forward_socket()));
        }
        self.agent.replace(Some(agent.start()));
    }

    /// What the person does to the agent is no part of a case.
    fn begin_log(&self) {
        self.log_begins.set(self.agent_log().len());
    }

    fn agent_log(&self) -> String {
        self.agent.borrow().as_ref().map(Agent::log).unwrap_or_default()
    }

    fn write_configurations(&self) {
        let (mut hosts, mut known) = (String::new(), String::new());
        for (name, host) in self.hosts.borrow().iter() {
            let _ = writeln!(
                hosts,
                "Host {name}\n    HostName 127.0.0.1\n    Port {}\n    HostKeyAlias {name}",
                host.port()
            );
            let _ = writeln!(known, "{name} {}", host.host_key().public().line());
        }
        self.home.file("home/known_hosts", known);
        for key in Key::ALL {
            let identity = match key {
                Key::Carried => self.private_file(key),
                Key::Subject | Key::Entry => &self.public_file(key),
            };
            let rest = format!(
                "Host *\n    UserKnownHostsFile {}\n    GlobalKnownHostsFile /dev/null\n    StrictHostKeyChecking yes\n    \
                 UpdateHostKeys no\n    IdentitiesOnly yes\n    IdentityFile {}\n    PreferredAuthentications publickey\n    \
                 BatchMode yes\n    ControlPath none\n    LogLevel ERROR\n    KexAlgorithms curve25519-sha256\n",
                self.known_hosts().display(),
                identity.display()
            );
            self.home.file(Path::new("home").join(format!("{}.conf", key.name())), hosts.clone() + &rest);
        }
    }
}

impl Key {
    const ALL: [Self; 3] = [Self::Subject, Self::Entry, Self::Carried];

    /// Its comment and the name of its files.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Entry => "entry",
            Self::Carried => "carried",
        }
    }
}
