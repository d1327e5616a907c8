//! What `ssh-add` and `ssh-keygen` say: every kind of key with every kind of limit, certificates, signatures over files.

use std::fs;
use std::path::Path;

use hsm_tests::{Agent, Answer, Askpass, Home, Key, KeyFile, Token};

use crate::recorder::Recorder;
use crate::store::Store;

const KINDS: [(&str, &[&str]); 5] = [
    ("ed25519", &["-t", "ed25519"]),
    ("p256", &["-t", "ecdsa", "-b", "256"]),
    ("p384", &["-t", "ecdsa", "-b", "384"]),
    ("p521", &["-t", "ecdsa", "-b", "521"]),
    ("rsa", &["-t", "rsa", "-b", "2048"]),
];

/// Debian's package of OpenSSH's tests has a security key made of software; where it is missing, recorded seeds stand in for it.
const SOFT_SECURITY_KEY: &str = "/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so";

pub(crate) fn record(home: &Home, store: &mut Store) {
    let token = Token::new(home, "token", &Key::USUAL);
    let agent = Agent::with(home).named("backend").as_stock().envs(token.environment()).start();
    let recorder = Recorder::start(&home.path("run/recorded.sock"), agent.socket());
    Lab { home, recorder, store }.all(&token);
}

struct Lab<'a> {
    home: &'a Home,
    recorder: Recorder,
    store: &'a mut Store,
}

impl Lab<'_> {
    fn all(mut self, token: &Token) {
        let authority = KeyFile::new(self.home, "authority");
        let hosts = self.known_hosts(&authority);
        for (name, arguments) in KINDS {
            let key = KeyFile::with(self.home, name, arguments, "");
            let file = key.path().to_str().expect("a path of plain letters").to_owned();
            self.certify(&authority, key.public().path());
            self.ssh_add(&format!("{name} added"), &[&file]);
            self.ssh_add(&format!("{name} for an hour"), &["-t", "1h", &file]);
            self.ssh_add(&format!("{name} with consent"), &["-c", &file]);
            self.ssh_add(&format!("{name} tested"), &["-T", &format!("{file}.pub")]);
            for destination in ["hosta", "ada@hosta", "hostb>lovelace*@hosta"] {
                self.ssh_add(
                    &format!("{name} for {destination}"),
                    &["-H", &hosts, "-h", destination, "-c", "-t9", &file],
                );
            }
            self.ssh_add("removed", &["-d", &format!("{file}.pub")]);
            self.ssh_add("again", &[&file]);
            self.sign_a_file(name, &file);
            self.certify_by_agent(name, &file);
        }
        self.security_keys();
        self.ssh_add("listed", &["-l"]);
        self.token(token);
        self.lock();
        self.ssh_add("all removed", &["-D"]);
    }

    /// Runs `ssh-add` and keeps what it said, whether it succeeded or not.
    fn ssh_add(&mut self, name: &str, arguments: &[&str]) {
        self.home.command("ssh-add").args(arguments).env("SSH_AUTH_SOCK", self.recorder.socket()).run();
        self.keep(name);
    }

    fn keep(&mut self, name: &str) {
        for conversation in self.recorder.take() {
            if !conversation.requests.is_empty() {
                self.store.conversation(name, &conversation);
            }
        }
    }

    /// Keys of two hosts, one of them vouched for by an authority.
    fn known_hosts(&self, authority: &KeyFile) -> String {
        let keys = ["hosta", "hostb"].map(|name| KeyFile::new(self.home, name).public().line());
        let text =
            format!("hosta {}\nhostb {}\n@cert-authority host* {}\n", keys[0], keys[1], authority.public().line());
        self.home.file("hosts", text).to_str().expect("a path of plain letters").to_owned()
    }

    fn certify(&mut self, authority: &KeyFile, public: &Path) {
        let options = "force-command=/bin/true";
        let task = self.home.command("ssh-keygen").args(["-q", "-I", "ada", "-n", "ada,lovelace", "-O", options]);
        task.args(["-V", "-1h:forever", "-s"]).arg(authority.path()).arg(public).run().succeeds();
    }

    /// `ssh-keygen -Y sign`, as git does it.
    fn sign_a_file(&mut self, name: &str, file: &str) {
        for namespace in ["git", "file"] {
            let task = self.home.command("ssh-keygen").args(["-q", "-Y", "sign", "-n", namespace, "-f"]);
            task.arg(format!("{file}.pub")).env("SSH_AUTH_SOCK", self.recorder.socket()).input("message").run();
        }
        self.keep(&format!("{name} signs a file"));
    }

    /// `ssh-keygen -Us`: certificates that the agent is to sign.
    fn certify_by_agent(&mut self, name: &str, file: &str) {
        for (role, subject) in [("user", "ed25519"), ("host", name)] {
            let mut task = self.home.command("ssh-keygen").args(["-q", "-U", "-I", role, "-n", "one,two", "-z", "7"]);
            if role == "host" {
                task = task.arg("-h");
            }
            let copy = self.home.path(format!("copy-{role}-{name}.pub"));
            fs::copy(self.home.path("home").join(format!("{subject}.pub")), &copy).expect("copy a public key");
            task.arg("-s").arg(format!("{file}.pub")).arg(copy).env("SSH_AUTH_SOCK", self.recorder.socket()).run();
            self.keep(&format!("{name} certifies a {role}"));
        }
    }

    fn security_keys(&mut self) {
        if !Path::new(SOFT_SECURITY_KEY).exists() {
            return;
        }
        let authority = KeyFile::new(self.home, "sk-authority");
        for kind in ["ed25519-sk", "ecdsa-sk"] {
            let file = self.home.path("home").join(kind);
            let task = self.home.command("ssh-keygen").args(["-q", "-N", "", "-C", kind, "-t", kind]);
            task.args(["-w", SOFT_SECURITY_KEY, "-f"]).arg(&file).run().succeeds();
            self.certify(&authority, &file.with_extension("pub"));
            let file = file.to_str().expect("a path of plain letters").to_owned();
            self.ssh_add(&format!("{kind} added"), &["-S", SOFT_SECURITY_KEY, &file]);
            self.ssh_add(&format!("{kind} by the agent itself"), &["-S", "internal", "-c", &file]);
        }
    }

    fn token(&mut self, token: &Token) {
        let library = token.library().to_str().expect("a path of plain letters").to_owned();
        let askpass = Askpass::new(self.home, &[Answer::Type(token.pin()), Answer::Type(token.pin())]);
        for arguments in [&["-s", &library][..], &["-c", "-t60", "-s", &library], &["-e", &library]] {
            let task = self.home.command("ssh-add").args(arguments).env("SSH_AUTH_SOCK", self.recorder.socket());
            task.envs(askpass.environment()).run();
            self.keep("provider");
        }
    }

    fn lock(&mut self) {
        let askpass = Askpass::new(self.home, &["word", "word", "word"].map(Answer::Type));
        for argument in ["-x", "-X"] {
            let task = self.home.command("ssh-add").arg(argument).env("SSH_AUTH_SOCK", self.recorder.socket());
            task.envs(askpass.environment()).run();
            self.keep("lock");
        }
    }
}
