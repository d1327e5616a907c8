//! Tokens of every kind, each as real as it gets without hardware, are used, removed, brought back and mistyped in the same way.

use std::time::Duration;

use hsm_tests::{
    Agent, Answer, Background, Home, Inserted, KeyFile, Pinentry, PublicKey, Remote, SOON, Soft, Sshd, TokenKind, Tpm,
    stock_cannot, until,
};

const KINDS: &str = "live through what happens to tokens";
/// Until what became of a token is noticed: a look by a new worker where the old one sees nothing new, and reading a card.
const NOTICED: Duration = Duration::from_secs(60);
/// A token that someone else waits for, on a busy machine.
const SERVED: Duration = Duration::from_secs(30);

/// A token, an agent with its keys, a server that they open, and the person who knows the PIN.
struct World {
    agent: Agent,
    keys: Vec<PublicKey>,
    sshd: Sshd,
    pinentry: Pinentry,
    token: Box<dyn TokenKind>,
    home: Home,
}

impl World {
    fn new(make: fn(&Home) -> Box<dyn TokenKind>) -> Self {
        let home = Home::new();
        let token = make(&home);
        let pinentry = Pinentry::new(&home, &[]);
        let agent = Agent::with(&home).module(token.module().pin_asked()).pinentry(&pinentry).start();
        assert!(until(NOTICED, || !agent.listed().is_empty()), "no keys\n{}", home.logs());
        let keys = keys(&home, &agent);
        let sshd = Sshd::start(&home, &keys);
        Self { agent, keys, sshd, pinentry, token, home }
    }

    /// A key that wants the PIN; some do not.
    fn key(&self) -> PublicKey {
        let wants = |key: &&PublicKey| self.agent.state(key).as_deref() == Some("needs PIN");
        self.keys.iter().find(wants).expect("a key that wants the PIN").clone()
    }

    fn person_types(&self, pins: &[&str]) {
        let answers: Vec<Answer<'_>> = pins.iter().map(|pin| Answer::Type(pin)).collect();
        self.pinentry.answers(&answers);
    }

    fn shows(&self, key: &PublicKey, state: &str) {
        let shows = until(NOTICED, || self.agent.state(key).as_deref() == Some(state));
        assert!(shows, "{} is {:?}, not {state}\n{}", key.line(), self.agent.state(key), self.home.logs());
    }

    fn logs_in(&self, key: &PublicKey) {
        self.sshd.login(&self.agent, key).succeeds();
    }

    fn login_begins(&self, key: &PublicKey) -> Background {
        let ssh = self.agent.ssh(&self.sshd).args(["-o", "IdentitiesOnly=yes", "-i"]).arg(key.path());
        ssh.args(["box", "echo logged in"]).start("login")
    }
}

/// The keys that are offered, as files.
fn keys(home: &Home, agent: &Agent) -> Vec<PublicKey> {
    let lines = agent.ssh_add(["-L"]).run().succeeds().stdout;
    let files = lines.lines().enumerate().map(|(number, line)| home.file(format!("key-{number}.pub"), line));
    files.map(|file| PublicKey::read(home, file)).collect()
}

fn a_wrong_pin_costs_one_try_and_the_right_one_opens_every_key(mut world: World) {
    let right = world.token.pin();
    let wrong: String = right.chars().rev().collect();
    let key = world.key();
    world.person_types(&[&wrong]);
    world.sshd.login(&world.agent, &key).fails();
    assert_eq!((world.pinentry.pins_asked(), world.token.pins_refused()), (1, 1), "{}", world.home.logs());

    world.person_types(&[right, right]);
    let signers: String = world.keys.iter().map(|key| format!("me {}\n", key.line())).collect();
    let signers = world.home.file("signers", signers);
    for key in &world.keys {
        world.logs_in(key);
        world.sshd.accepted(key);
        let sign = world.agent.command("ssh-keygen").args(["-q", "-Y", "sign", "-n", "file", "-f"]).arg(key.path());
        let signature = world.home.file("signature", sign.input("a message").run().succeeds().stdout);
        let verify = world.home.command("ssh-keygen").args(["-Y", "verify", "-n", "file", "-I", "me", "-f"]);
        verify.arg(&signers).arg("-s").arg(&signature).input("a message").run().succeeds();
    }
    let waiting: Vec<Background> = (0..10).map(|_| world.login_begins(&key)).collect();
    for mut one in waiting {
        assert!(one.ends(SERVED).success(), "{}\n{}", one.log(), world.home.logs());
    }
    assert_eq!(world.token.pins_refused(), 1, "{}", world.home.logs());
    assert!(!world.agent.has_ended());
}

fn what_was_removed_serves_again_when_it_is_back(mut world: World) {
    let right = world.token.pin();
    world.person_types(&[right, right]);
    let key = world.key();
    let software = KeyFile::new(&world.home, "software");
    world.logs_in(&key);
    world.token.remove();
    world.shows(&key, "gone");
    assert!(world.agent.listed().is_empty(), "the keys of a token that is gone are offered");
    world.agent.ssh_add([software.path()]).run().succeeds();
    world.agent.signs(software.public()).run().succeeds();
    world.sshd.login(&world.agent, &key).fails();

    world.token.put_back();
    world.shows(&key, "needs PIN");
    world.logs_in(&key);
    assert_eq!((world.pinentry.pins_asked(), world.token.pins_refused()), (2, 0), "{}", world.home.logs());
    assert!(!world.agent.has_ended());
}

fn a_removal_ends_the_signature_that_is_pending(mut world: World) {
    let right = world.token.pin();
    world.person_types(&[right, right]);
    let key = world.key();
    world.logs_in(&key);
    world.token.hold();
    let mut pending = world.login_begins(&key);
    world.agent.wait_for_log("Waiting for token");
    world.token.remove();
    let ended = pending.ends(SOON);
    if let Some(reason) = world.token.says_of_a_pending_signature() {
        assert!(!ended.success(), "{}", world.home.logs());
        world.agent.wait_for_log(reason);
    }
    world.shows(&key, "gone");

    world.token.put_back();
    world.shows(&key, "needs PIN");
    world.logs_in(&key);
    assert_eq!((world.pinentry.pins_asked(), world.token.pins_refused()), (2, 0), "{}", world.home.logs());
    assert!(!world.agent.has_ended());
}

macro_rules! every_kind {
    ($($kind:ident: $make:expr,)*) => {
        $(mod $kind {
            use super::*;

            every_kind!(test a_wrong_pin_costs_one_try_and_the_right_one_opens_every_key: $make);
            every_kind!(test what_was_removed_serves_again_when_it_is_back: $make);
            every_kind!(test a_removal_ends_the_signature_that_is_pending: $make);
        })*
    };
    (test $scenario:ident: $make:expr) => {
        #[test]
        fn $scenario() {
            if !stock_cannot(KINDS) {
                super::$scenario(World::new(|home| Box::new($make(home))));
            }
        }
    };
}

every_kind! {
    softhsm: Soft::softhsm,
    kryoptic: Soft::kryoptic,
    p11_kit: Remote::new,
    tpm: Tpm::new,
    piv_card: Inserted::piv,
    openpgp_card: Inserted::openpgp,
}
