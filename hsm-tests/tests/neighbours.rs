//! Other programs that want the card: it is let go when nobody uses it, and who holds it instead is named.

use std::time::Duration;

use hsm_tests::{
    Agent, Answer, Askpass, Card, FaultyToken, Home, Key, Module, Pinentry, Reader, SOON, Scdaemon, Signal, Slot,
    library, signal, stock_cannot, until,
};

const LETS_GO: &str = "let go of a card";
/// OpenSC takes two seconds to read a card, more on a busy machine.
const READ: Duration = Duration::from_secs(30);
const PIN: Answer<'static> = Answer::Type("123456");

/// A card, an agent that serves it, and gnupg, which wants it for itself.
struct World {
    agent: Agent,
    gnupg: Scdaemon,
    pinentry: Pinentry,
    card: Card,
    home: Home,
    reader: Reader,
}

fn world(release: &str) -> World {
    world_with(|module| module.pin_asked().line(format!("release = \"{release}\"")))
}

fn world_with(settings: impl FnOnce(Module) -> Module) -> World {
    let home = Home::new();
    let reader = Reader::new(&home);
    let mut card = reader.piv("card");
    card.insert();
    let pinentry = Pinentry::new(&home, &[PIN, PIN]);
    let agent = Agent::with(&home).module(settings(reader.opensc())).pinentry(&pinentry).start();
    let gnupg = Scdaemon::new(&reader);
    let world = World { agent, gnupg, pinentry, card, home, reader };
    world.shows("needs PIN");
    world
}

impl World {
    fn state(&self) -> Option<String> {
        self.agent.state(self.card.public(Slot::Authentication))
    }

    fn shows(&self, state: &str) {
        let shows = until(READ, || self.state().as_deref() == Some(state));
        assert!(shows, "{:?}, not {state}\n{}", self.state(), self.home.logs());
    }

    fn signs(&self) -> bool {
        self.agent.signs(self.card.public(Slot::Authentication)).within(READ).run().code() == Some(0)
    }

    /// Whether the card takes any program for one that gave the PIN: VERIFY without a PIN asks just that (NIST SP 800-73-4 part 2).
    fn card_is_unlocked(&self) -> bool {
        let (name, socket) = self.reader.environment();
        let asked = self.home.command("opensc-tool").args(["--send-apdu", "00:20:00:80"]).env(name, socket);
        let answer = asked.within(READ).run().succeeds().stdout;
        let status = |status: &str| answer.contains(status);
        assert!(status("SW1=0x90") || status("SW1=0x63"), "{answer}");
        status("SW1=0x90")
    }

    fn gnupg_gets_the_card(&self) -> bool {
        until(SOON, || self.gnupg.takes_the_card())
    }

    fn has_let_go(&self) -> bool {
        until(READ, || self.agent.workers().is_empty())
    }
}

#[test]
fn a_card_that_nobody_uses_is_let_go_and_serves_again_without_another_question() {
    if stock_cannot(LETS_GO) {
        return;
    }
    let mut world = world("2s");
    assert!(world.signs(), "{}", world.home.logs());
    assert!(!world.gnupg.takes_the_card(), "the agent does not hold the card, so this test shows nothing");
    assert!(world.has_let_go(), "{}", world.home.logs());
    // A program that asks the card is one that uses it, so it is not asked before.
    world.agent.wait_for_log("the card was reset");
    assert!(!world.card_is_unlocked(), "whoever comes next can sign without the PIN");
    assert!(world.gnupg_gets_the_card(), "{}", world.home.logs());
    world.gnupg.ends();
    assert_eq!(world.state().as_deref(), Some("ready"));
    assert!(world.signs(), "{}", world.home.logs());
    assert_eq!((world.pinentry.pins_asked(), world.card.pins_presented(), world.card.pins_refused()), (1, 2, 0));
}

#[test]
fn release_lets_go_of_the_card_at_once() {
    if stock_cannot(LETS_GO) {
        return;
    }
    let mut world = world("never");
    assert!(world.signs(), "{}", world.home.logs());
    assert!(!world.gnupg.takes_the_card());
    assert!(world.card_is_unlocked(), "the PIN was given, so this test shows nothing");
    world.agent.command("hardkey").arg("release").run().succeeds();
    assert!(world.has_let_go(), "{}", world.home.logs());
    world.agent.wait_for_log("the card was reset");
    assert!(!world.card_is_unlocked(), "whoever comes next can sign without the PIN");
    assert!(world.gnupg_gets_the_card(), "{}", world.home.logs());
    world.gnupg.ends();
    world.shows("needs PIN");
    assert!(world.signs(), "{}", world.home.logs());
    assert_eq!(world.pinentry.pins_asked(), 2);
}

#[test]
fn removing_all_keys_and_hanging_up_let_go_of_the_card_too() {
    if stock_cannot(LETS_GO) {
        return;
    }
    let mut world = world("never");
    signal(world.agent.pid(), Signal::HUP);
    assert!(world.has_let_go(), "{}", world.home.logs());
    assert!(world.signs(), "{}", world.home.logs());
    assert!(!world.agent.workers().is_empty());
    world.agent.ssh_add(["-D"]).run().succeeds();
    assert!(world.has_let_go(), "{}", world.home.logs());
    world.agent.wait_for_log("the card was reset");
    assert!(!world.card_is_unlocked(), "whoever comes next can sign without the PIN");
}

/// A way to have the agent forget the PIN, tried by somebody who then tries to sign without one.
fn locks_the_card(settings: impl FnOnce(Module) -> Module, way: impl FnOnce(&World)) {
    if stock_cannot(LETS_GO) {
        return;
    }
    let mut world = world_with(|module| settings(module).line("release = 'never'"));
    assert!(world.signs(), "{}", world.home.logs());
    assert!(world.card_is_unlocked(), "the PIN was given, so this test shows nothing");
    way(&world);
    world.agent.wait_for_log("the card was reset");
    assert!(!world.card_is_unlocked(), "whoever comes next can sign without the PIN");
    assert_eq!(world.card.pins_refused(), 0);
}

#[test]
fn a_locked_agent_leaves_no_card_unlocked() {
    locks_the_card(Module::pin_asked, |world| {
        let askpass = Askpass::new(&world.home, &[Answer::Type("open sesame"); 2]);
        world.agent.ssh_add(["-x"]).envs(askpass.environment()).run().succeeds();
    });
}

#[test]
fn a_module_that_is_removed_leaves_no_card_unlocked() {
    locks_the_card(Module::pin_asked, |world| {
        world.agent.ssh_add(["-e"]).arg(library("opensc-pkcs11.so", "opensc-pkcs11")).run().succeeds();
    });
}

#[test]
fn a_pin_whose_time_is_over_leaves_no_card_unlocked() {
    locks_the_card(|module| module.line("pin = { cache = '10s' }"), |world| world.shows("needs PIN"));
}

#[test]
fn a_module_whose_lifetime_is_over_leaves_no_card_unlocked() {
    locks_the_card(Module::pin_asked, |world| {
        let askpass = Askpass::new(&world.home, &[PIN]);
        let add = world.agent.ssh_add(["-t", "2", "-s"]).arg(library("opensc-pkcs11.so", "opensc-pkcs11"));
        add.envs(askpass.environment()).within(READ).run().succeeds();
        assert!(until(READ, || world.agent.listed().is_empty()), "{}", world.home.logs());
    });
}

#[test]
fn a_refusal_names_the_program_that_has_the_card_for_itself() {
    if stock_cannot(LETS_GO) {
        return;
    }
    let mut world = world("2s");
    assert!(world.has_let_go(), "{}", world.home.logs());
    assert!(world.gnupg_gets_the_card(), "{}", world.home.logs());
    assert!(!world.signs(), "with a card that another program holds");
    let pid = world.gnupg.pid();
    world.agent.wait_for_log(&format!("is held by scdaemon (pid {pid}), which shares it with nobody"));
    world.shows(&format!("in use by scdaemon (pid {pid})"));
    assert_eq!(world.pinentry.pins_asked(), 0, "a PIN was asked for a card that cannot be had");
    world.gnupg.ends();
    world.shows("needs PIN");
    assert!(world.signs(), "{}", world.home.logs());
}

#[test]
fn a_card_that_is_pulled_or_put_in_is_noticed_while_none_is_held() {
    if stock_cannot(LETS_GO) {
        return;
    }
    let mut world = world("1s");
    assert!(world.has_let_go(), "{}", world.home.logs());
    world.card.pull();
    world.shows("gone");
    assert!(world.agent.listed().is_empty(), "keys of a card that is gone are offered");
    assert!(world.has_let_go(), "{}", world.home.logs());
    world.card.insert();
    world.shows("needs PIN");
    assert!(world.has_let_go(), "{}", world.home.logs());
}

#[test]
fn every_session_ends_with_its_worker_and_the_next_signature_begins_a_new_one() {
    if stock_cannot(LETS_GO) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let agent = Agent::with(&home).as_stock().module(token.module().line("release = \"1s\"")).start();
    let key = token.public(Key::P256);
    agent.signs(key).run().succeeds();
    assert!(until(SOON, || agent.workers().is_empty()), "{}", home.logs());
    assert_eq!(agent.listed().len(), 1);
    assert_eq!(agent.state(key).as_deref(), Some("ready"));
    token.forget_calls();
    agent.signs(key).run().succeeds();
    assert_eq!(token.calls.count("C_Login"), 1, "a PIN that was accepted is presented by the new worker");
}
