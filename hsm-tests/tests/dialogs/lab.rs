//! A person at one machine, three hosts to hop through, and a pinentry that writes down what the person would read.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use hsm_tests::{Agent, Answer, Background, Display, Home, KeyFile, Pinentry, Realm, SOON, Sshd, Task, until};

/// See the module. Every dialog is allowed.
pub(crate) struct Lab {
    pub(crate) home: Home,
    pub(crate) agent: Agent,
    pub(crate) pinentry: Pinentry,
    /// In the agent.
    pub(crate) work: KeyFile,
    /// In the agent, to be confirmed at each use.
    pub(crate) careful: KeyFile,
    /// In a file alone.
    pub(crate) carried: KeyFile,
    pub(crate) display: Option<Display>,
    /// Which knows hosta.
    pub(crate) realm: Option<Realm>,
    hosts: Vec<(&'static str, Sshd)>,
    ways: Vec<Background>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let home = Home::new();
        let pinentry = Pinentry::new(&home, &[Answer::Ok; 40]);
        Self::with(home, pinentry, "", None)
    }

    /// With a Kerberos realm, to which hosta and the person belong.
    pub(crate) fn in_realm() -> Self {
        let home = Home::new();
        let pinentry = Pinentry::new(&home, &[Answer::Ok; 40]);
        let realm = Realm::start(&home, "hosta");
        Self::with(home, pinentry, "", Some(realm))
    }

    /// With a person who gives these answers, and further lines of configuration.
    pub(crate) fn of_somebody(answers: &[Answer<'_>], lines: &str) -> Self {
        let home = Home::new();
        let pinentry = Pinentry::new(&home, answers);
        Self::with(home, pinentry, lines, None)
    }

    /// With a person before a screen, on which this program shows the dialogs.
    pub(crate) fn on_screen(program: &str) -> Self {
        let home = Home::new();
        let pinentry = Pinentry::new(&home, &[]);
        home.program("pinentry/pinentry", format!("#!/bin/sh\nexec {program} \"$@\"\n"));
        let display = Display::start(&home);
        Self { display: Some(display), ..Self::with(home, pinentry, "", None) }
    }

    /// With a person who presses "Deny and mute" wherever it is, and further lines of configuration.
    pub(crate) fn of_the_weary(lines: &str) -> Self {
        let home = Home::new();
        let pinentry = Pinentry::new(&home, &[]);
        let presses = include_str!("generous.sh").replace("SETNOTOK Allow", "SETNOTOK Deny and mute");
        home.program("pinentry/pinentry", presses);
        Self::with(home, pinentry, lines, None)
    }

    /// With a person who presses the button for a longer yes wherever there is one, and further lines of configuration.
    pub(crate) fn of_the_generous(lines: &str) -> Self {
        let home = Home::new();
        let pinentry = Pinentry::new(&home, &[]);
        home.program("pinentry/pinentry", include_str!("generous.sh"));
        Self::with(home, pinentry, lines, None)
    }

    /// How many dialogs were shown so far.
    pub(crate) fn dialogs(&self) -> usize {
        self.pinentry.descriptions().len()
    }

    /// The port of a host.
    pub(crate) fn port(&self, name: &str) -> u16 {
        self.host(name).port()
    }

    /// A host's key, as `plink` wants to be told it.
    pub(crate) fn host_key(&self, name: &str) -> &str {
        self.host(name).host_key().public().fingerprint()
    }

    fn host(&self, name: &str) -> &Sshd {
        let named = self.hosts.iter().find(|(own, _)| *own == name);
        &named.expect("a host of this name").1
    }

    fn with(home: Home, pinentry: Pinentry, lines: &str, realm: Option<Realm>) -> Self {
        let [work, careful, carried] = ["work", "careful", "carried"].map(|name| KeyFile::new(&home, name));
        let agent = Agent::with(&home).pinentry(&pinentry).line(lines).start();
        agent.ssh_add(["-q"]).arg(work.path()).run().succeeds();
        agent.ssh_add(["-q", "-c"]).arg(careful.path()).run().succeeds();
        home.directory("public");
        for key in [&work, &careful] {
            // Without the private key beside it, which ssh and ssh-keygen would find.
            let name = key.path().file_name().expect("a name").to_string_lossy().into_owned();
            home.file(format!("public/{name}.pub"), format!("{} {name}\n", key.public().line()));
        }
        let hosts = ["hosta", "hostb", "hostc"].map(|name| {
            let keys = [work.public(), careful.public(), carried.public()];
            let realm = realm.as_ref().filter(|_| name == "hosta");
            let (lines, variables) = realm.map_or(("", Vec::new()), |realm| (Realm::HOST, realm.environment()));
            (name, Sshd::in_environment(&home, name, keys, lines, &variables))
        });
        let lab = Self {
            home,
            agent,
            pinentry,
            work,
            careful,
            carried,
            display: None,
            realm,
            hosts: hosts.into(),
            ways: Vec::new(),
        };
        lab.configure();
        lab
    }

    /// A shell script on this machine; `$CONFIG` is the configuration of `ssh`, `$PUBLIC` the folder of public keys.
    pub(crate) fn script(&self, agent: &Path, script: &str) -> Task {
        let task = self.home.command("sh").env("SSH_AUTH_SOCK", agent).args(["-c", script]);
        let scratch = self.home.directory("scratch");
        let task = task.envs(self.display.iter().map(|display| ("DISPLAY", display.name())));
        let task = task.envs(self.realm.iter().flat_map(Realm::environment));
        task.env("CONFIG", self.home.path("home/config")).env("PUBLIC", self.home.path("public")).directory(scratch)
    }

    /// Logs in to a host in the background with the key in the file: `$SSH_AUTH_SOCK` over there.
    pub(crate) fn way(&mut self, agent: &Path, host: &str, options: &str) -> PathBuf {
        let note = self.home.path(format!("tmp/note-{}", self.ways.len()));
        let script = format!(
            "exec ssh -F $CONFIG {options} -i {key} {host} \
             'echo \"$SSH_AUTH_SOCK\" >{note}.new && mv {note}.new {note} && exec sleep 600'",
            key = self.carried.path().display(),
            note = note.display(),
        );
        self.ways.push(self.script(agent, &script).start("way"));
        assert!(until(SOON, || note.exists()), "no way to {host}\n{}", self.home.logs());
        fs::read_to_string(&note).expect("a note").trim().into()
    }

    /// A dialog without what differs from run to run.
    pub(crate) fn normal(&self, dialog: &str) -> String {
        let mut changing = vec![(self.home.path("").display().to_string(), "HOME/".to_owned())];
        for (name, host) in &self.hosts {
            changing.push((host.host_key().public().fingerprint().to_owned(), format!("SHA256:({name})")));
        }
        for key in [&self.work, &self.careful] {
            changing.push((key.public().fingerprint().to_owned(), "SHA256:(key)".to_owned()));
        }
        let mut text = dialog.to_owned();
        for (from, to) in &changing {
            text = without_cut(&text.replace(from, to), from, to);
        }
        let program = std::env::current_exe().expect("this program");
        let folder = program.parent().expect("its folder").display().to_string();
        let test = program.file_name().expect("its name").to_string_lossy().into_owned();
        let lines = text.lines().map(|line| {
            // Where the tests are and who started them is nobody's business.
            let line = match (line.find(&test), line.find(&folder)) {
                (Some(at), None) => format!("{}TEST", &line[..at]),
                (_, Some(at)) => format!("{}TEST", &line[..at]),
                (None, None) => line.to_owned(),
            };
            // Ports are chosen by the kernel.
            let line = match line.split_once(".git_signing_buffer_tmp") {
                Some((line, _)) => format!("{line}.git_signing_buffer_tmp(…)  (pid "),
                None => line,
            };
            let line = self.hosts.iter().fold(line, |line, (name, host)| {
                line.replace(&host.port().to_string(), &format!("PORT-OF-{}", name.to_uppercase()))
            });
            match line.split_once("  (pid ") {
                Some((line, _)) => format!("{line}  (pid N)"),
                None => line,
            }
        });
        lines.map(|line| line + "\n").collect()
    }

    fn configure(&self) {
        let (mut text, mut known) = (String::new(), String::new());
        for (name, host) in &self.hosts {
            let _ = writeln!(text, "Host {name}\n HostName 127.0.0.1\n Port {}\n HostKeyAlias {name}", host.port());
            let _ = writeln!(known, "{name} {}", host.host_key().public().line());
        }
        // Where ssh, and whoever looks for the names of hosts, find it by themselves.
        self.home.directory("home/.ssh");
        let known = self.home.file("home/.ssh/known_hosts", known);
        let _ = write!(
            text,
            "Host *\n UserKnownHostsFile {}\n GlobalKnownHostsFile /dev/null\n StrictHostKeyChecking yes\n \
             UpdateHostKeys no\n IdentitiesOnly yes\n PreferredAuthentications publickey\n BatchMode yes\n \
             ControlPath none\n LogLevel ERROR\n",
            known.display()
        );
        self.home.file("home/config", text);
    }
}

/// Replaces what is left of `from` where the midst of a line is left out.
fn without_cut(text: &str, from: &str, to: &str) -> String {
    const LEAST: usize = 6;
    let Some((begin, end)) = text.split_once('…') else { return text.to_owned() };
    let first = (LEAST..from.len()).rev().find_map(|length| begin.strip_suffix(&from[..length]));
    let last = (1..=from.len() - LEAST).find_map(|length| end.strip_prefix(&from[length..]));
    let begin = first.map_or_else(|| begin.to_owned(), |begin| begin.to_owned() + to);
    let end = last.map_or_else(|| end.to_owned(), |end| to.to_owned() + end);
    format!("{begin}…{end}")
}
