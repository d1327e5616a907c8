//! Real OpenSSH servers on loopback, and clients that know them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::recorder::{Record, Recorder};

/// Hosts `hosta` and `hostb`, an agent, and a configuration for clients in which both are known.
pub(crate) struct Lab {
    directory: PathBuf,
    pub(crate) recorder: Recorder,
    servers: Vec<Server>,
}

struct Server {
    process: Child,
    port: u16,
}

impl Lab {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("hardkey-lab-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).expect("directory");
        let recorder = Recorder::start(&directory);
        let mut lab = Self { directory, recorder, servers: Vec::new() };
        lab.keygen("file_key");
        let file_key = fs::read_to_string(lab.path("file_key.pub")).expect("key");
        fs::write(lab.path("authorized_keys"), lab.recorder.public_key() + &file_key).expect("authorized keys");
        let mut config = String::new();
        let mut known_hosts = String::new();
        for name in ["hosta", "hostb"] {
            lab.keygen(name);
            let server = lab.serve(name);
            let key = fs::read_to_string(lab.path(&format!("{name}.pub"))).expect("host key");
            known_hosts += &format!("{name} {key}");
            config += &format!("Host {name}\n HostName 127.0.0.1\n Port {}\n HostKeyAlias {name}\n", server.port);
            lab.servers.push(server);
        }
        fs::write(lab.path("known_hosts"), known_hosts).expect("known hosts");
        config += &format!(
            "Host *\n UserKnownHostsFile {0}/known_hosts\n GlobalKnownHostsFile none\n IdentityFile none\n BatchMode yes\n\
             StrictHostKeyChecking yes\n LogLevel ERROR\n",
            lab.directory.display()
        );
        fs::write(lab.path("config"), config).expect("configuration");
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(crate) fn port(&self, index: usize) -> u16 {
        self.servers[index].port
    }

    /// Runs a command line in a shell, with the agent, and gives what the agent was asked meanwhile. `ssh` in it knows the
    /// hosts, here and on the hosts; `$LAB` is a directory both sides see.
    pub(crate) fn run(&self, script: &str) -> Vec<Record> {
        let output = self.output(script);
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        self.recorder.take()
    }

    /// Like [`run`](Self::run), whatever the command's status.
    pub(crate) fn output(&self, script: &str) -> Output {
        self.shell(script).output().expect("sh")
    }

    fn shell(&self, script: &str) -> Command {
        let script = script.replace("ssh ", &format!("ssh -F {} ", self.path("config").display()));
        let script = script.replace("$LAB", &self.directory.to_string_lossy());
        let mut command = Command::new("sh");
        command.args(["-c", &script]).env("SSH_AUTH_SOCK", &self.recorder.agent).stdin(Stdio::null());
        command
    }

    /// Like [`run`](Self::run), with the agent's socket replaced by one that `relay` listens at: `$LAB/relay.sock`.
    pub(crate) fn run_behind(&self, relay: &str, script: &str) -> Vec<Record> {
        let socket = self.path("relay.sock");
        let mut relay = self.shell(relay).spawn().expect("relay");
        let start = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "the relay does not listen");
            std::thread::yield_now();
        }
        // What the relay itself asked for, and our looking whether it is there, is not what is tested.
        self.recorder.take();
        let records = self.run(&format!("SSH_AUTH_SOCK=$LAB/relay.sock {script}"));
        relay.kill().expect("kill");
        relay.wait().expect("wait");
        fs::remove_file(socket).expect("unlink");
        records
    }

    fn keygen(&self, name: &str) {
        let path = self.path(name);
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(path).status();
        assert!(made.expect("ssh-keygen").success());
    }

    fn serve(&self, name: &str) -> Server {
        let port = free_port();
        let config = self.path(&format!("{name}.conf"));
        let text = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\n\
             PermitRootLogin yes\nStreamLocalBindUnlink yes\nMaxStartups 100\nSubsystem sftp internal-sftp\n",
            self.path(name).display(),
            self.path("authorized_keys").display()
        );
        fs::write(&config, text).expect("server configuration");
        // Root's sshd wants it, and nobody else can make it.
        _ = fs::create_dir("/run/sshd");
        let mut process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(config)
            .stderr(Stdio::piped())
            .spawn()
            .expect("sshd");
        let mut log = BufReader::new(process.stderr.take().expect("stderr"));
        let mut line = String::new();
        while !line.contains("Server listening") {
            line.clear();
            assert_ne!(log.read_line(&mut line).expect("log"), 0, "sshd did not start");
        }
        // Its log must go on being read, or it would block.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Server { process, port }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for server in &mut self.servers {
            _ = server.process.kill();
            _ = server.process.wait();
        }
        _ = fs::remove_dir_all(&self.directory);
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port()
}
