//! An OpenSSH server on loopback.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use crate::agent::Agent;
use crate::background::Background;
use crate::home::Home;
use crate::keyfile::KeyFile;
use crate::publickey::PublicKey;
use crate::run::Outcome;
use crate::wait::{SOON, until};

/// A server that lets the user who runs the tests log in, with its own host key, port and list of keys.
pub struct Sshd {
    home: Home,
    process: Background,
    host_key: KeyFile,
    port: u16,
    client_configuration: PathBuf,
}

impl Sshd {
    /// Starts a server that accepts `keys`; clients call it `box`.
    ///
    /// # Panics
    /// When `sshd` is missing or does not start; the text has its log.
    #[must_use]
    pub fn start<'k>(home: &Home, keys: impl IntoIterator<Item = &'k PublicKey>) -> Self {
        Self::with(home, "sshd", keys, "")
    }

    /// Starts a server with further lines of `sshd_config`; `name` is its directory and log.
    #[must_use]
    pub fn with<'k>(
        home: &Home,
        name: &str,
        keys: impl IntoIterator<Item = &'k PublicKey>,
        configuration: &str,
    ) -> Self {
        Self::in_environment(home, name, keys, configuration, &[])
    }

    /// The same, with further variables in the server's own environment.
    #[must_use]
    pub fn in_environment<'k>(
        home: &Home,
        name: &str,
        keys: impl IntoIterator<Item = &'k PublicKey>,
        configuration: &str,
        variables: &[(&str, PathBuf)],
    ) -> Self {
        let directory = home.directory(name);
        let host_key = KeyFile::with(home, &format!("{name}-host-key"), &["-t", "ed25519"], "");
        let authorized: String = keys.into_iter().map(|key| format!("{}\n", key.line())).collect();
        fs::write(directory.join("authorized_keys"), authorized).expect("write authorized_keys");
        fs::write(directory.join("known_hosts"), format!("{name} {}\n", host_key.public().line()))
            .expect("write known_hosts");
        make_privilege_separation_directory();

        // The port is free when it is chosen and may be taken by another test when sshd wants it.
        for _ in 0..5 {
            let port = free_port();
            let text = server_configuration(home, &directory, &host_key, port, configuration);
            let file = home.file(Path::new(name).join("sshd_config"), text);
            let sshd = home.command(find_sshd()).args(["-D", "-e", "-f"]).arg(&file);
            let mut process = sshd.envs(variables.iter().map(|(name, value)| (name, value))).start(name);
            if listens(&mut process) {
                let client =
                    home.file(Path::new(name).join("ssh_config"), client_configuration(&directory, name, port));
                return Self { home: home.clone(), process, host_key, port, client_configuration: client };
            }
            assert!(process.log().contains("Address already in use"), "sshd does not start\n{}", home.logs());
        }
        panic!("no free port for sshd\n{}", home.logs());
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The server's host key.
    #[must_use]
    pub const fn host_key(&self) -> &KeyFile {
        &self.host_key
    }

    /// The client's configuration, for `ssh -F`.
    #[must_use]
    pub fn client_configuration(&self) -> &Path {
        &self.client_configuration
    }

    /// What the server has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Logs in with exactly this key and runs `echo logged in`.
    #[must_use]
    pub fn login(&self, agent: &Agent, key: &PublicKey) -> Outcome {
        agent.ssh(self).args(["-o", "IdentitiesOnly=yes", "-i"]).arg(key.path()).args(["box", "echo logged in"]).run()
    }

    /// Waits until the server has accepted a login with this key.
    ///
    /// # Panics
    /// When it does not soon: the client got in by other means.
    #[track_caller]
    pub fn accepted(&self, key: &PublicKey) {
        let seen = until(SOON, || {
            self.log().lines().any(|line| line.contains("Accepted publickey") && line.contains(key.fingerprint()))
        });
        assert!(seen, "no login with {} in the server's log\n{}", key.fingerprint(), self.home.logs());
    }
}

fn server_configuration(home: &Home, directory: &Path, host_key: &KeyFile, port: u16, more: &str) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        let _ = writeln!(text, "{line}");
    };
    // Lines of the test come first, because the first value of a keyword counts.
    line(more);
    line("ListenAddress 127.0.0.1");
    line(&format!("Port {port}"));
    line(&format!("HostKey {}", host_key.path().display()));
    line(&format!("AuthorizedKeysFile {}", directory.join("authorized_keys").display()));
    line("AuthenticationMethods publickey");
    line("PasswordAuthentication no");
    line("KbdInteractiveAuthentication no");
    line("PermitRootLogin prohibit-password");
    line("PidFile none");
    line("LogLevel VERBOSE");
    line("MaxStartups 100");
    line("PrintMotd no");
    line("PrintLastLog no");
    line("PermitUserRC no");
    line("UseDNS no");
    line("Subsystem sftp internal-sftp");
    // The files lie below /tmp, which others may write to.
    line("StrictModes no");
    // A locked password, as root has on many machines, keeps everybody out unless PAM decides.
    line(if locked_password() { "UsePAM yes" } else { "UsePAM no" });
    line(&format!("SetEnv HOME={}", home.path("home").display()));
    text
}

fn client_configuration(directory: &Path, alias: &str, port: u16) -> String {
    format!(
        "Host box\n\
         HostName 127.0.0.1\n\
         HostKeyAlias {alias}\n\
         Port {port}\n\
         Host *\n\
         UserKnownHostsFile {}\n\
         GlobalKnownHostsFile /dev/null\n\
         StrictHostKeyChecking yes\n\
         UpdateHostKeys no\n\
         IdentityFile none\n\
         PreferredAuthentications publickey\n\
         BatchMode yes\n\
         ControlPath none\n\
         LogLevel VERBOSE\n",
        directory.join("known_hosts").display(),
    )
}

fn listens(process: &mut Background) -> bool {
    let mut ended = false;
    let answered = until(SOON, || {
        ended = process.has_ended();
        ended || process.log().contains("Server listening on")
    });
    answered && !ended
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("find a free port on loopback");
    listener.local_addr().expect("address of a listener").port()
}

fn find_sshd() -> PathBuf {
    let candidates = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"];
    candidates
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .expect("sshd is missing: apt-get install openssh-server")
}

/// sshd of root refuses to start without it; packages make it when they start the system's own server.
fn make_privilege_separation_directory() {
    if rustix::process::geteuid().is_root() {
        fs::create_dir_all("/run/sshd").expect("make /run/sshd");
    }
}

/// Whether root has a password that begins with `!`; unreadable for everybody else, and then sshd cannot look either.
fn locked_password() -> bool {
    let shadow = fs::read_to_string("/etc/shadow").unwrap_or_default();
    shadow.lines().any(|line| line.starts_with("root:!"))
}
