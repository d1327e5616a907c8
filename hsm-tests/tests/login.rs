//! The main job: a key on a token, or in memory, logs in.

use std::fs;
use std::time::{Duration, Instant};

use hsm_tests::{
    Agent, Fields, Home, Key, KeyFile, Module, Pid, Sshd, Token, agent_binary, is_alive, is_stock, stock_cannot, until,
};

/// A token with the given keys, an agent that has its PIN, and a server that lets the keys in.
fn at_work(home: &Home, keys: &[Key]) -> (Token, Agent, Sshd) {
    let token = Token::new(home, "token", keys);
    let agent = Agent::with(home).module(Module::of(&token)).start();
    let sshd = Sshd::start(home, token.publics());
    (token, agent, sshd)
}

fn logs_in_with(key: Key) {
    let home = Home::new();
    let (token, agent, sshd) = at_work(&home, &[key]);
    let outcome = sshd.login(&agent, token.public(key)).succeeds();
    assert_eq!(outcome.stdout, "logged in\n");
    sshd.accepted(token.public(key));
}

#[test]
fn rsa_2048_logs_in() {
    logs_in_with(Key::Rsa2048);
}

#[test]
fn p256_logs_in() {
    logs_in_with(Key::P256);
}

#[test]
fn p384_logs_in() {
    logs_in_with(Key::P384);
}

#[test]
fn p521_logs_in() {
    logs_in_with(Key::P521);
}

#[test]
fn ed25519_logs_in() {
    if stock_cannot("use Ed25519 keys on tokens before 10.1") {
        return;
    }
    logs_in_with(Key::Ed25519);
}

#[test]
#[ignore = "slow: two more RSA tokens are made"]
fn long_rsa_keys_log_in() {
    logs_in_with(Key::Rsa3072);
    logs_in_with(Key::Rsa4096);
}

#[test]
fn each_key_of_one_token_logs_in() {
    let keys: &[Key] = if is_stock() { &[Key::Rsa2048, Key::P256] } else { &Key::USUAL };
    let home = Home::new();
    let (token, agent, sshd) = at_work(&home, keys);
    for key in keys {
        sshd.login(&agent, token.public(*key)).succeeds();
        sshd.accepted(token.public(*key));
    }
}

#[test]
fn rsa_logs_in_with_either_hash() {
    let home = Home::new();
    let (_token, agent, sshd) = at_work(&home, &[Key::Rsa2048]);
    for hash in ["rsa-sha2-256", "rsa-sha2-512"] {
        let algorithm = format!("PubkeyAcceptedAlgorithms={hash}");
        agent.ssh(&sshd).args(["-o", &algorithm, "box", "true"]).run().succeeds();
    }
}

#[test]
fn a_key_the_server_does_not_know_stays_outside() {
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let agent = Agent::with(&home).module(Module::of(&token)).start();
    let sshd = Sshd::start(&home, []);
    let outcome = sshd.login(&agent, token.public(Key::P256)).fails();
    assert!(outcome.stderr.contains("Permission denied"), "{}", outcome.report());
}

#[test]
fn the_first_request_finds_the_keys_of_the_configuration() {
    if stock_cannot("load keys from a configuration file") {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let agent = Agent::with(&home).as_stock().module(Module::of(&token)).start();
    // A client that knows its key does not list first.
    let signature = agent.client().sign(&token.public(Key::P256).blob(), b"data", 0);
    assert!(signature.is_some(), "{}", agent.log());
    let agent = Agent::with(&home).named("second").module(Module::of(&token)).start();
    assert_eq!(agent.comments(), ["p256"]);
}

#[test]
fn an_rsa_key_signs_with_the_hash_that_was_asked_for_and_never_with_sha_1() {
    if stock_cannot("refuse SHA-1") {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::Rsa2048]);
    let agent = Agent::with(&home).allowed_by_a_person().module(Module::of(&token)).start();
    let blob = token.public(Key::Rsa2048).blob();
    let mut client = agent.client();
    for (flags, name) in [(2, "rsa-sha2-256"), (4, "rsa-sha2-512"), (6, "rsa-sha2-256")] {
        let signature = client.sign(&blob, b"data", flags).expect("a signature");
        let mut fields = Fields::of(&signature);
        assert_eq!(String::from_utf8_lossy(&fields.string()), name);
        assert_eq!(fields.string().len(), 256, "as long as the modulus");
    }
}

#[test]
fn a_login_by_ssh_rsa_is_refused_and_the_log_says_why() {
    if stock_cannot("refuse SHA-1") {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::Rsa2048]);
    let mut agent = Agent::with(&home).module(Module::of(&token)).start();
    let key = token.public(Key::Rsa2048);
    let sshd = Sshd::with(&home, "sshd", [key], "PubkeyAcceptedAlgorithms +ssh-rsa");
    let sha1 = ["-o", "PubkeyAcceptedAlgorithms=ssh-rsa", "-o", "IdentitiesOnly=yes", "-i"];
    agent.ssh(&sshd).args(sha1).arg(key.path()).args(["box", "true"]).run().fails();
    agent.wait_for_log("ssh-rsa signature with SHA-1, which is broken");
    sshd.login(&agent, key).succeeds();
}

#[test]
fn a_software_key_logs_in() {
    let home = Home::new();
    let key = KeyFile::new(&home, "work");
    let agent = Agent::start(&home);
    let sshd = Sshd::start(&home, [key.public()]);
    agent.ssh_add([key.path()]).run().succeeds();
    sshd.login(&agent, key.public()).succeeds();
    sshd.accepted(key.public());
}

#[test]
fn twenty_logins_at_once_all_succeed() {
    let home = Home::new();
    let (token, agent, sshd) = at_work(&home, &[Key::P256]);
    let key = token.public(Key::P256);
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| sshd.login(&agent, key).succeeds());
        }
    });
}

#[test]
fn scp_copies_in_both_directions() {
    let home = Home::new();
    let (_token, agent, sshd) = at_work(&home, &[Key::P256]);
    let original = home.file("original", "precious");
    let [there, back] = ["there", "back"].map(|name| home.path(name));
    let scp = || agent.command("scp").arg("-F").arg(sshd.client_configuration());
    scp().arg(&original).arg(format!("box:{}", there.display())).run().succeeds();
    scp().arg(format!("box:{}", there.display())).arg(&back).run().succeeds();
    assert_eq!(fs::read_to_string(back).expect("the copy"), "precious");
}

#[test]
fn sftp_lists_and_fetches() {
    let home = Home::new();
    let (_token, agent, sshd) = at_work(&home, &[Key::P256]);
    let directory = home.directory("files");
    home.file("files/report", "precious");
    let batch = format!("cd {}\nls\nget report {}\n", directory.display(), home.path("fetched").display());
    let outcome = agent
        .command("sftp")
        .arg("-F")
        .arg(sshd.client_configuration())
        .args(["-b", "-", "box"])
        .input(batch)
        .run()
        .succeeds();
    assert!(outcome.stdout.contains("report"), "{}", outcome.report());
    assert_eq!(fs::read_to_string(home.path("fetched")).expect("the fetched file"), "precious");
}

#[test]
fn git_clones_fetches_and_pushes_over_ssh() {
    let home = Home::new();
    let (_token, agent, sshd) = at_work(&home, &[Key::P256]);
    let ssh = format!("ssh -F {}", sshd.client_configuration().display());
    let git = |directory: &str| {
        agent
            .command("git")
            .arg("-C")
            .arg(home.directory(directory))
            .args([
                "-c",
                "user.name=Ada",
                "-c",
                "user.email=ada@example.org",
                "-c",
                "init.defaultBranch=main",
                "-c",
                "safe.directory=*",
            ])
            .env("GIT_SSH_COMMAND", &ssh)
    };
    git("upstream.git").args(["init", "--bare", "--quiet"]).run().succeeds();
    let address = format!("ssh://box{}", home.path("upstream.git").display());
    git("ours").args(["clone", "--quiet", &address, "."]).run().succeeds();
    git("theirs").args(["clone", "--quiet", &address, "."]).run().succeeds();
    git("ours").args(["commit", "--quiet", "--allow-empty", "--message", "first"]).run().succeeds();
    git("ours").args(["push", "--quiet", "origin", "HEAD:main"]).run().succeeds();
    git("theirs").args(["fetch", "--quiet", "origin", "main"]).run().succeeds();
    let log = git("theirs").args(["log", "--format=%s", "FETCH_HEAD"]).run().succeeds();
    assert_eq!(log.stdout, "first\n");
}

#[test]
fn an_agent_around_ssh_passes_on_its_exit_status_and_ends_with_it() {
    if stock_cannot("load keys from a configuration file") {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let sshd = Sshd::start(&home, token.publics());
    let configuration = home.file("hardkey.toml", Agent::with(&home).module(Module::of(&token)).configuration());
    let started = Instant::now();
    let outcome = home
        .command(agent_binary())
        .arg("agent")
        .arg("--config")
        .arg(configuration)
        .args(["--", "sh", "-c", "echo $SSH_AUTH_SOCK $SSH_AGENT_PID; exec ssh -F \"$1\" box exit 7", "sh"])
        .arg(sshd.client_configuration())
        .run();
    let ended = Instant::now();
    assert_eq!(outcome.code(), Some(7), "{}", outcome.report());
    sshd.accepted(token.public(Key::P256));

    let (socket, pid) = outcome.stdout.trim().split_once(' ').expect("socket and pid");
    let pid = Pid::from_raw(pid.parse().expect("a number")).expect("a process id");
    assert!(until(Duration::from_secs(2), || !is_alive(pid)), "the agent outlives its command\n{}", outcome.report());
    assert!(ended.elapsed() < Duration::from_secs(2), "it took {:?}", started.elapsed());
    assert!(!std::path::Path::new(socket).exists(), "the socket is left behind");
}
