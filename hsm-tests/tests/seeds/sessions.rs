//! What `ssh` says when it logs in, directly and through a host, with keys and with certificates of hosts.

use std::fs;

use hsm_tests::{Agent, Home, KeyFile, Sshd};

use crate::recorder::Recorder;
use crate::store::Store;

pub(crate) fn record(home: &Home, store: &mut Store) {
    let agent = Agent::with(home).named("sessions").as_stock().start();
    let recorder = Recorder::start(&home.path("run/recorded-sessions.sock"), agent.socket());
    let authority = KeyFile::new(home, "host-authority");
    let ed25519 = KeyFile::new(home, "session-ed25519");
    let rsa = KeyFile::with(home, "session-rsa", &["-t", "rsa", "-b", "2048"], "");
    let keys = [ed25519.public(), rsa.public()];

    let plain = Sshd::start(home, keys);
    let certified = certified_server(home, &authority, keys);
    let hosts = fs::read_to_string(home.path("sshd/known_hosts")).expect("known hosts");
    let hosts = home.file("session-hosts", format!("{hosts}@cert-authority certified {}\n", authority.public().line()));
    let hosts = hosts.to_str().expect("a path of plain letters").to_owned();

    let mut keep = |name: &str| {
        for conversation in recorder.take() {
            if !conversation.requests.is_empty() {
                store.conversation(name, &conversation);
            }
        }
    };
    let command = |program: &str| home.command(program).env("SSH_AUTH_SOCK", recorder.socket());
    let ssh = |server: &Sshd| command("ssh").arg("-F").arg(server.client_configuration());

    for key in [&ed25519, &rsa] {
        let name = key.public().algorithm();
        let limits = ["-H", &hosts, "-h", "sshd", "-h", "certified", "-h", "sshd>certified"];
        command("ssh-add").args(limits).arg(key.path()).run().succeeds();
        keep(name);
        ssh(&plain).args(["box", "true"]).run();
        keep(&format!("{name} login"));
        ssh(&certified).args(["box", "true"]).run();
        keep(&format!("{name} login at a certified host"));
        ssh(&plain).args(["-o", "PubkeyAuthentication=unbound", "box", "true"]).run();
        keep(&format!("{name} login that names no host"));
        let onward = format!("ssh -F {} box true", certified.client_configuration().display());
        ssh(&plain).args(["-A", "box", &onward]).run();
        keep(&format!("{name} login through a host"));
        command("ssh-add").arg("-D").run().succeeds();
        keep("all removed");
    }
}

/// A server that shows a certificate, known by its authority only.
fn certified_server(home: &Home, authority: &KeyFile, keys: [&hsm_tests::PublicKey; 2]) -> Sshd {
    let key = KeyFile::with(home, "certified-key", &["-t", "ecdsa"], "");
    let task =
        home.command("ssh-keygen").args(["-q", "-h", "-I", "host", "-n", "certified", "-V", "-1h:forever", "-s"]);
    task.arg(authority.path()).arg(key.public().path()).run().succeeds();
    let certificate = home.path("home/certified-key-cert.pub");
    let lines = format!("HostKey {}\nHostCertificate {}", key.path().display(), certificate.display());
    let server = Sshd::with(home, "certified", keys, &lines);
    let line = format!("@cert-authority certified {}\n", authority.public().line());
    fs::write(home.path("certified/known_hosts"), line).expect("write known_hosts");
    server
}
