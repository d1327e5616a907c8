//! A token on another machine, by `p11-kit server` and the module that asks it.

use std::fs;
use std::time::Duration;

use hsm_tests::{Agent, Background, Home, Key, KeyFile, Module, SOON, Sshd, Token, library, stock_cannot, until};

const RECOVER: &str = "recover a module whose server went away";
/// Two looks that fail, the pause between them, and a new worker.
const NOTICED: Duration = Duration::from_secs(30);

/// The server with a SoftHSM token behind it.
struct Server {
    home: Home,
    token: Token,
    running: Option<Background>,
}

impl Server {
    fn new(home: &Home) -> Self {
        let mut server =
            Self { home: home.clone(), token: Token::new(home, "token", &[Key::Rsa2048, Key::P256]), running: None };
        server.start();
        server
    }

    fn start(&mut self) {
        let socket = self.home.path("run/p11-kit");
        let _ = fs::remove_file(&socket);
        let uri = format!("pkcs11:token={}", self.token.label());
        let server = self.home.command("p11-kit").args(["server", "--foreground", "--name"]).arg(&socket);
        let server = server.arg("--provider").arg(self.token.library()).arg(uri).envs(self.token.environment());
        self.running = Some(server.start("p11-kit"));
        assert!(until(SOON, || socket.exists()), "the server does not listen\n{}", self.home.logs());
    }

    fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            // Each connection has a process of its own.
            let connections = hsm_tests::children(running.pid());
            hsm_tests::kill(running.pid());
            connections.into_iter().for_each(hsm_tests::kill);
            running.ends(SOON);
        }
    }

    fn module(&self) -> Module {
        let address = format!("unix:path={}", self.home.path("run/p11-kit").display());
        let module = Module::at(library("pkcs11/p11-kit-client.so", "p11-kit-modules"));
        module.env("P11_KIT_SERVER_ADDRESS", address).pin_from(self.token.pin_file())
    }
}

#[test]
fn logins_messages_and_ten_at_once_are_signed() {
    if stock_cannot("read a PIN from a file") {
        return;
    }
    let home = Home::new();
    let server = Server::new(&home);
    let agent = Agent::with(&home).module(server.module()).start();
    let sshd = Sshd::start(&home, server.token.publics());
    for key in server.token.publics() {
        sshd.login(&agent, key).succeeds();
        agent.signs(key).run().succeeds();
    }
    let key = server.token.public(Key::P256);
    let mut waiting: Vec<Background> = (0..10).map(|_| agent.signs(key).start("waiting")).collect();
    for one in &mut waiting {
        assert!(one.ends(SOON).success(), "{}\n{}", one.log(), home.logs());
    }
}

#[test]
fn a_server_that_ends_takes_its_keys_along_and_brings_them_back() {
    if stock_cannot(RECOVER) {
        return;
    }
    let home = Home::new();
    let mut server = Server::new(&home);
    let agent = Agent::with(&home).module(server.module()).start();
    let key = server.token.public(Key::P256).clone();
    let software = KeyFile::new(&home, "software");
    agent.ssh_add([software.path()]).run().succeeds();
    agent.signs(&key).run().succeeds();

    server.stop();
    agent.signs(&key).run().fails();
    agent.signs(software.public()).run().succeeds();
    assert!(until(NOTICED, || agent.state(&key).as_deref() == Some("gone")), "{}", home.logs());

    server.start();
    assert!(until(NOTICED, || agent.state(&key).as_deref() == Some("needs PIN")), "{}", home.logs());
    agent.signs(&key).run().succeeds();
}
