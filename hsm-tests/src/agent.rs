//! The agent under test.

use std::ffi::{OsStr, OsString};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use crate::background::Background;
use crate::binary::{agent_binary, is_stock};
use crate::client::Client;
use crate::home::Home;
use crate::module::Module;
use crate::pinentry::Pinentry;
use rustix::process::Signal;

use crate::processes::{Pid, arguments, children, signal};
use crate::publickey::PublicKey;
use crate::run::Task;
use crate::sshd::Sshd;
use crate::wait::{SOON, until};

/// An agent that runs in the foreground beside the test, and ends with it.
pub struct Agent {
    home: Home,
    process: Background,
    socket: PathBuf,
}

/// What an agent is started with.
#[derive(Clone)]
pub struct AgentBuilder {
    home: Home,
    name: String,
    top: Vec<String>,
    modules: Vec<Module>,
    prompt: Vec<String>,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl Agent {
    /// An agent without configured keys.
    #[must_use]
    pub fn start(home: &Home) -> Self {
        Self::with(home).start()
    }

    /// An agent to be configured first.
    #[must_use]
    pub fn with(home: &Home) -> AgentBuilder {
        AgentBuilder {
            home: home.clone(),
            name: "agent".into(),
            top: vec!["discover = false".into()],
            modules: Vec::new(),
            prompt: Vec::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// The path that belongs into `$SSH_AUTH_SOCK`.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The agent's process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// What the agent has written to standard error so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until the agent has logged `text`.
    ///
    /// # Panics
    /// When it does not soon.
    #[track_caller]
    pub fn wait_for_log(&mut self, text: &str) {
        self.process.wait_for_log(text, SOON);
    }

    /// The worker processes. The agent has other children too, such as an `ssh` that is asked for its version.
    #[must_use]
    pub fn workers(&self) -> Vec<Pid> {
        let is_worker = |pid: &Pid| arguments(*pid).get(1).is_some_and(|argument| argument == "worker");
        children(self.pid()).into_iter().filter(is_worker).collect()
    }

    /// A program in the agent's home, with `$SSH_AUTH_SOCK` set.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Task {
        self.home.command(program).env("SSH_AUTH_SOCK", &self.socket)
    }

    /// `ssh-add` with arguments.
    #[must_use]
    pub fn ssh_add<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Task {
        self.command("ssh-add").args(arguments)
    }

    /// A program that succeeds if the agent signs with the key and the signature is valid.
    ///
    /// It is `ssh-add -T`, except for RSA, where that asks for SHA-1 up to OpenSSH 9.2 at least.
    #[must_use]
    pub fn signs(&self, key: &PublicKey) -> Task {
        if key.algorithm() != "ssh-rsa" {
            return self.ssh_add(["-T"]).arg(key.path());
        }
        // The copy keeps ssh-keygen from finding the private key beside the public one.
        let script = "cd \"$(mktemp -d)\" && cp \"$0\" key.pub && echo message >message && \
            ssh-keygen -q -Y sign -n test -f key.pub <message >signature && \
            ssh-keygen -q -Y check-novalidate -n test -s signature <message";
        self.command("sh").args(["-c", script]).arg(key.path())
    }

    /// `ssh` with the client configuration for `sshd`, in which the server's name is `box`.
    #[must_use]
    pub fn ssh(&self, sshd: &Sshd) -> Task {
        self.command("ssh").arg("-F").arg(sshd.client_configuration())
    }

    /// A raw connection.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::connect(&self.socket)
    }

    /// The comments of the listed keys.
    ///
    /// # Panics
    /// When the agent does not answer.
    #[must_use]
    pub fn comments(&self) -> Vec<String> {
        self.client().list().expect("a list of keys").into_iter().map(|(_, comment)| comment).collect()
    }

    /// The lines that `ssh-add -l` prints about keys; none if it says that there are none.
    ///
    /// # Panics
    /// When it fails in another way.
    #[must_use]
    pub fn listed(&self) -> Vec<String> {
        let outcome = self.ssh_add(["-l"]).run();
        match outcome.code() {
            Some(0) => outcome.stdout.lines().map(str::to_owned).collect(),
            Some(1) if outcome.stdout.contains("no identities") => Vec::new(),
            _ => panic!("{}", outcome.report()),
        }
    }

    /// How `hardkey list` says that a key is; `None` when it does not list it.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn state(&self, key: &PublicKey) -> Option<String> {
        self.state_where("fingerprint", key.fingerprint())
    }

    /// The same of the key with this comment.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn state_of(&self, comment: &str) -> Option<String> {
        self.state_where("comment", comment)
    }

    fn state_where(&self, field: &str, value: &str) -> Option<String> {
        let listed = self.command("hardkey").args(["list", "--json"]).run().succeeds().stdout;
        let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
        let keys = listed.as_array().expect("a list of keys");
        let found = keys.iter().find(|listed| listed[field] == value)?;
        Some(found["state"].as_str().expect("a state").to_owned())
    }

    /// What `hardkey list` says beside its table.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn notes(&self) -> String {
        self.command("hardkey").arg("list").run().succeeds().stderr
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.process.has_ended()
    }

    /// Sends a signal and waits for the end.
    ///
    /// # Panics
    /// When it does not end soon.
    pub fn end_with(mut self, with: Signal) -> ExitStatus {
        signal(self.pid(), with);
        self.process.ends(SOON)
    }
}

impl AgentBuilder {
    /// A name other than `agent` for socket, configuration and log: for a second agent in the same home.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// Adds a module to the configuration.
    #[must_use]
    pub fn module(mut self, module: Module) -> Self {
        self.modules.push(module);
        self
    }

    /// Adds a line to the beginning of the configuration.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        self.top.push(line.into());
        self
    }

    /// Judges as stock does: for tests that ask from the test program itself, which no agent has reason to trust.
    #[must_use]
    pub fn as_stock(self) -> Self {
        self.line("preset = \"openssh\"")
    }

    /// A person who says yes to every question: for tests of what strict judgement does even then.
    #[must_use]
    pub fn allowed_by_a_person(self) -> Self {
        let askpass = self.home.program("yes-to-all", "#!/bin/sh\n");
        self.env("SSH_ASKPASS", askpass).env("SSH_ASKPASS_REQUIRE", "force")
    }

    /// Dialogs are shown by this pinentry.
    #[must_use]
    pub fn pinentry(self, pinentry: &Pinentry) -> Self {
        let line = format!("pinentry = {}", crate::module::quoted(pinentry.program().display()));
        self.prompt(&line)
    }

    /// Adds a line to the `[prompt]` section.
    #[must_use]
    pub fn prompt(mut self, line: &str) -> Self {
        self.prompt.push(line.into());
        self
    }

    /// Adds an argument to the command line.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.envs([(name, value)])
    }

    /// Sets several environment variables.
    #[must_use]
    pub fn envs(mut self, variables: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>) -> Self {
        self.environment.extend(variables.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// The configuration file's text.
    #[must_use]
    pub fn configuration(&self) -> String {
        let mut text = format!("{}\n", self.top.join("\n"));
        for module in &self.modules {
            text.push_str(&module.to_string());
        }
        if !self.prompt.is_empty() {
            text.push_str(&format!("[prompt]\n{}\n", self.prompt.join("\n")));
        }
        text
    }

    /// The command that starts the agent in the foreground, for tests of how it fails to start.
    #[must_use]
    pub fn command(&self) -> Task {
        let mut task = self.home.command(agent_binary());
        if !is_stock() {
            let file = self.home.file(format!("{}.toml", self.name), self.configuration());
            task = task.arg("agent").arg("--config").arg(file);
        }
        for (name, value) in self.modules.iter().filter(|_| is_stock()).flat_map(Module::environment) {
            task = task.env(name, value);
        }
        task.args(["-D", "-a"])
            .arg(self.socket())
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
    }

    /// Starts the agent and waits until it answers.
    ///
    /// # Panics
    /// When it ends or does not answer soon; the text has its log.
    #[must_use]
    pub fn start(self) -> Agent {
        let socket = self.socket();
        let mut process = self.command().start(&self.name);
        let mut ended = false;
        let answers = until(SOON, || {
            ended = process.has_ended();
            ended || UnixStream::connect(&socket).is_ok()
        });
        assert!(answers && !ended, "the agent does not listen at {}\n{}", socket.display(), self.home.logs());
        let agent = Agent { home: self.home, process, socket };
        if is_stock() {
            self.modules.iter().for_each(|module| add_to_stock(&agent, module));
        }
        agent
    }

    fn socket(&self) -> PathBuf {
        self.home.path("run").join(format!("{}.sock", self.name))
    }
}

/// OpenSSH's agent has no configuration: what ours reads from there, a person does by hand.
fn add_to_stock(agent: &Agent, module: &Module) {
    let pin = module.pin_file().expect("stock ssh-agent cannot ask for a PIN later");
    let askpass = agent.home.program("stock-askpass", format!("#!/bin/sh\ncat '{}'\n", pin.display()));
    agent
        .ssh_add(["-s"])
        .arg(module.path())
        .env("SSH_ASKPASS", askpass)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .within(Duration::from_secs(60))
        .run()
        .succeeds();
}
