//! A token on another machine: `p11-kit server` with SoftHSM behind it, and p11-kit's module that asks it.

use std::fs;

use crate::background::Background;
use crate::home::Home;
use crate::kind::{Stopped, TokenKind};
use crate::module::Module;
use crate::processes::{children, kill};
use crate::run::text;
use crate::token::{Key, Token, library};
use crate::wait::{SOON, until};

/// The server and its token. See the module.
pub struct Remote {
    home: Home,
    token: Token,
    server: Option<Background>,
    stopped: Stopped,
}

impl Remote {
    /// A token with its keys.
    #[must_use]
    pub fn new(home: &Home) -> Self {
        let token = Token::new(home, "token", &[Key::Rsa2048, Key::P256]).spied();
        let mut remote = Self { home: home.clone(), token, server: None, stopped: Stopped::default() };
        remote.start();
        remote
    }

    /// The token behind the server.
    #[must_use]
    pub fn token(&self) -> &Token {
        &self.token
    }

    fn start(&mut self) {
        let socket = self.home.path("run/p11-kit");
        let _ = fs::remove_file(&socket);
        let uri = format!("pkcs11:token={}", self.token.label());
        let server = self.home.command("p11-kit").args(["server", "--foreground", "--name"]).arg(&socket);
        let server = server.arg("--provider").arg(self.token.library()).arg(uri).envs(self.token.environment());
        self.server = Some(server.start("p11-kit"));
        assert!(until(SOON, || socket.exists()), "the server does not listen\n{}", self.home.logs());
    }
}

impl TokenKind for Remote {
    fn module(&self) -> Module {
        let address = format!("unix:path={}", self.home.path("run/p11-kit").display());
        let module = Module::at(library("pkcs11/p11-kit-client.so", "p11-kit-modules"));
        module.env("P11_KIT_SERVER_ADDRESS", address)
    }

    fn pin(&self) -> &'static str {
        self.token.pin()
    }

    /// Each connection has a process of its own, and the server gives the next one.
    fn hold(&mut self) {
        self.stopped.stop(self.server.iter().map(|server| server.pid()));
        self.stopped.stop(self.server.iter().flat_map(|server| children(server.pid())));
    }

    fn says_of_a_pending_signature(&self) -> Option<&'static str> {
        Some("answered CKR_DEVICE_ERROR")
    }

    /// Ends the server, with all connections.
    fn remove(&mut self) {
        if let Some(mut server) = self.server.take() {
            let connections = children(server.pid());
            kill(server.pid());
            connections.into_iter().for_each(kill);
            server.ends(SOON);
        }
        self.stopped = Stopped::default();
    }

    fn put_back(&mut self) {
        self.start();
    }

    fn pins_refused(&self) -> usize {
        let log = text(&self.token.spy_log());
        log.lines().filter(|line| line.contains("CKR_PIN_INCORRECT") || line.contains("CKR_PIN_LOCKED")).count()
    }
}
