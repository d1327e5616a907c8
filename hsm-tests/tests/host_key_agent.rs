//! A server that has its host keys in the agent (`HostKeyAgent` in sshd_config(5)).

use std::os::unix::net::UnixStream;

use hsm_tests::{Agent, Client, Home, KeyFile, SOON, Sshd, is_stock, until};

/// As long as the hash of a key exchange may be.
const HASH: [u8; 32] = [7; 32];

#[test]
fn a_server_of_roots_answers_for_itself_without_a_question_and_nobody_else_does_in_its_place() {
    // For another user's agent a server of root's is a process that cannot be looked at.
    if !rustix::process::getuid().is_root() {
        return;
    }
    let home = Home::new();
    let agent = Agent::start(&home);
    let (host_key, own) = (KeyFile::with(&home, "host-key", &["-t", "ecdsa"], ""), KeyFile::new(&home, "own"));
    agent.ssh_add([host_key.path()]).run().succeeds();
    let lines = format!(
        "HostKeyAgent {}\nHostKey {}\nAllowStreamLocalForwarding yes",
        agent.socket().display(),
        host_key.public().path().display()
    );
    let server = Sshd::with(&home, "sshd", [own.public()], &lines);
    let known = home.file("known", format!("sshd {}\n", host_key.public().line()));
    let ssh = || {
        let ssh = agent.ssh(&server).env("SSH_AUTH_SOCK", "").arg("-i").arg(own.path());
        ssh.arg("-o").arg(format!("UserKnownHostsFile={}", known.display()))
    };

    assert_eq!(ssh().args(["box", "echo in"]).run().succeeds().stdout, "in\n");

    // The session of root's relays the agent's socket to where root logged in from, by the process that did the key exchange.
    let (relay, there) = (home.path("run/relay.sock"), agent.socket().display().to_string());
    let forward = format!("{}:{there}", relay.display());
    let _session = ssh().args(["-L", &forward, "box", "sleep 60"]).start("session");
    assert!(until(SOON, || UnixStream::connect(&relay).is_ok()));
    let sign = |client: &mut Client| client.sign(&host_key.public().blob(), &HASH, 0);
    let signed = [sign(&mut Client::connect(&relay)), sign(&mut agent.client())].map(|signature| signature.is_some());
    assert_eq!(signed, [is_stock(); 2], "{}", agent.log());
}
