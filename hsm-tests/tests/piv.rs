//! A PIV card in a reader: real `pcscd`, real OpenSC, real firmware.

use std::time::Duration;

use hsm_tests::{
    Agent, Answer, Background, Card, Home, Pinentry, PublicKey, Reader, SOON, Slot, Sshd, stock_cannot, until,
};

const CARDS: &str = "live through what happens to cards";
/// OpenSC takes two seconds to read a card, more on a busy machine.
const READ: Duration = Duration::from_secs(30);

/// A card in its reader, an agent that asks for the PIN, and the person who answers.
struct World {
    agent: Agent,
    pinentry: Pinentry,
    card: Card,
    reader: Reader,
    home: Home,
}

fn world(answers: &[Answer<'_>]) -> World {
    let home = Home::new();
    let reader = Reader::new(&home);
    let mut card = reader.piv("card");
    card.insert();
    let pinentry = Pinentry::new(&home, answers);
    let agent = Agent::with(&home).module(reader.opensc().pin_asked()).pinentry(&pinentry).start();
    let world = World { agent, pinentry, card, reader, home };
    world.shows(Slot::Authentication, "needs PIN");
    world
}

impl World {
    fn shows(&self, slot: Slot, state: &str) {
        let key = self.card.public(slot);
        let shows = until(READ, || self.agent.state(key).as_deref() == Some(state));
        assert!(shows, "{slot:?} is {:?}, not {state}\n{}", self.agent.state(key), self.home.logs());
    }

    fn signs(&self, slot: Slot) -> bool {
        self.agent.signs(self.card.public(slot)).within(READ).run().code() == Some(0)
    }

    fn signature_begins(&self, key: &PublicKey) -> Background {
        self.agent.signs(key).within(READ).start("waiting")
    }
}

const PIN: Answer<'static> = Answer::Type("123456");

#[test]
fn logins_and_messages_are_signed_and_the_pin_is_presented_once() {
    if stock_cannot(CARDS) {
        return;
    }
    let world = world(&[PIN]);
    let key = world.card.public(Slot::Authentication);
    let sshd = Sshd::start(&world.home, [key]);
    for _ in 0..3 {
        sshd.login(&world.agent, key).succeeds();
    }
    let message = world.home.file("message", "text");
    world
        .agent
        .command("ssh-keygen")
        .args(["-Y", "sign", "-n", "file", "-f"])
        .arg(key.path())
        .arg(&message)
        .run()
        .succeeds();
    assert!(world.home.path("message.sig").exists());
    world.shows(Slot::Authentication, "ready");
    assert_eq!((world.pinentry.pins_asked(), world.card.pins_presented()), (1, 1));
}

#[test]
fn a_key_that_wants_the_pin_each_time_gets_it_and_the_person_is_asked_once() {
    if stock_cannot(CARDS) {
        return;
    }
    let world = world(&[PIN]);
    for _ in 0..3 {
        assert!(world.signs(Slot::Signature), "{}", world.home.logs());
    }
    assert!(world.signs(Slot::Authentication), "{}", world.home.logs());
    assert_eq!((world.pinentry.pins_asked(), world.card.pins_refused()), (1, 0));
    assert!(world.card.pins_presented() >= 4, "{} for three signatures and a login", world.card.pins_presented());
}

#[test]
fn the_key_for_card_authentication_wants_no_pin_and_the_others_do() {
    if stock_cannot(CARDS) {
        return;
    }
    let world = world(&[PIN, PIN]);
    let counts = || (world.pinentry.pins_asked(), world.card.pins_presented(), world.card.pins_refused());
    world.shows(Slot::CardAuthentication, "ready");
    let key = world.card.public(Slot::CardAuthentication);
    let sshd = Sshd::start(&world.home, [key]);
    for _ in 0..2 {
        sshd.login(&world.agent, key).succeeds();
    }
    assert_eq!(counts(), (0, 0, 0), "{}", world.home.logs());
    world.shows(Slot::Authentication, "needs PIN");

    assert!(world.signs(Slot::Authentication) && world.signs(Slot::CardAuthentication), "{}", world.home.logs());
    assert_eq!(counts(), (1, 1, 0));
    world.agent.command("hardkey").arg("release").run().succeeds();
    assert!(world.signs(Slot::CardAuthentication), "{}", world.home.logs());
    world.shows(Slot::CardAuthentication, "ready");
    world.shows(Slot::Authentication, "needs PIN");
    assert_eq!(counts(), (1, 1, 0));
    assert!(world.signs(Slot::Signature), "{}", world.home.logs());
    assert_eq!((world.pinentry.pins_asked(), world.card.pins_refused()), (2, 0));
}

#[test]
fn a_locked_pin_does_not_lock_the_key_for_card_authentication() {
    if stock_cannot(CARDS) {
        return;
    }
    let world = world(&[Answer::Type("111111"), Answer::Type("111111"), Answer::Ok, Answer::Type("111111")]);
    for _ in 0..3 {
        assert!(!world.signs(Slot::Authentication));
    }
    world.shows(Slot::Authentication, "PIN locked");
    world.shows(Slot::CardAuthentication, "ready");
    assert!(world.signs(Slot::CardAuthentication), "{}", world.home.logs());
    assert_eq!((world.card.pins_presented(), world.card.pins_refused()), (3, 3));
}

#[test]
fn only_keys_that_sign_are_offered() {
    if stock_cannot(CARDS) {
        return;
    }
    let world = world(&[]);
    let offered = |slot: Slot| world.agent.state(world.card.public(slot)).is_some();
    let expected = [Slot::Authentication, Slot::Signature, Slot::CardAuthentication];
    assert!(expected.into_iter().all(offered), "{}", world.home.logs());
    assert!(!offered(Slot::KeyManagement), "a key that cannot sign is offered");
}

#[test]
fn ten_logins_at_once_ask_for_one_pin() {
    if stock_cannot(CARDS) {
        return;
    }
    let world = world(&[PIN]);
    let mut waiting: Vec<Background> =
        (0..10).map(|_| world.signature_begins(world.card.public(Slot::Authentication))).collect();
    for one in &mut waiting {
        assert!(one.ends(READ).success(), "{}\n{}", one.log(), world.home.logs());
    }
    assert_eq!((world.pinentry.pins_asked(), world.card.pins_presented()), (1, 1));
}

#[test]
fn a_card_that_is_pulled_during_a_signature_ends_it_and_serves_again_when_it_is_back() {
    if stock_cannot(CARDS) {
        return;
    }
    let mut world = world(&[PIN, PIN]);
    assert!(world.signs(Slot::Authentication));
    world.card.hold();
    let mut waiting = world.signature_begins(world.card.public(Slot::Authentication));
    assert!(world.card.waits_for_touch(), "{}", world.home.logs());
    world.card.pull();
    assert!(!waiting.ends(SOON).success());
    world.agent.wait_for_log("is not there any more");
    assert_eq!((world.card.pins_presented(), world.card.pins_refused()), (1, 0), "{}", world.home.logs());
    world.shows(Slot::Authentication, "gone");
    assert!(world.agent.listed().is_empty(), "keys of a card that is gone are offered");

    world.card.touch();
    world.card.insert();
    world.shows(Slot::Authentication, "needs PIN");
    assert!(world.signs(Slot::Authentication), "{}", world.home.logs());
    assert_eq!((world.pinentry.pins_asked(), world.card.pins_presented(), world.card.pins_refused()), (2, 2, 0));
}

#[test]
fn a_signature_that_begins_before_anybody_has_noticed_that_the_card_is_pulled_ends_soon() {
    if stock_cannot(CARDS) {
        return;
    }
    let mut world = world(&[PIN, PIN]);
    assert!(world.signs(Slot::Authentication));
    world.card.pull_unnoticed();
    let mut waiting = world.signature_begins(world.card.public(Slot::Authentication));
    assert!(!waiting.ends(SOON).success());
    world.agent.wait_for_log("is not there any more");
    world.card.insert();
    world.shows(Slot::Authentication, "needs PIN");
    assert!(world.signs(Slot::Authentication), "{}", world.home.logs());
    assert_eq!((world.card.pins_presented(), world.card.pins_refused()), (2, 0));
}

#[test]
fn a_card_that_is_pulled_while_it_is_read_is_seen_soon_after_it_is_back() {
    if stock_cannot(CARDS) {
        return;
    }
    let mut world = world(&[PIN]);
    world.card.pull();
    world.shows(Slot::Authentication, "gone");
    let before = world.card.commands();
    world.card.insert();
    // Of about a hundred.
    assert!(until(READ, || world.card.commands() > before + 10));
    world.card.pull();
    world.card.insert();
    let key = world.card.public(Slot::Authentication);
    assert!(until(2 * SOON, || world.agent.state(key).as_deref() == Some("needs PIN")), "{}", world.home.logs());
    assert!(world.signs(Slot::Authentication), "{}", world.home.logs());
}

#[test]
fn another_card_in_the_reader_never_sees_the_first_one_s_pin() {
    if stock_cannot(CARDS) {
        return;
    }
    let mut world = world(&[PIN, Answer::Cancel, PIN]);
    let mut other = world.reader.piv("other-card");
    assert!(world.signs(Slot::Authentication));
    world.card.pull();
    other.insert();
    let key = other.public(Slot::Authentication).clone();
    let shows = until(READ, || world.agent.state(&key).as_deref() == Some("needs PIN"));
    assert!(shows, "{}", world.home.logs());
    world.shows(Slot::Authentication, "gone");
    world.agent.signs(&key).within(READ).run().fails();
    assert_eq!((world.pinentry.pins_asked(), other.pins_presented()), (2, 0), "{}", world.home.logs());
    world.agent.signs(&key).within(READ).run().succeeds();
    assert_eq!((other.pins_presented(), other.pins_refused()), (1, 0));
}

#[test]
fn a_restart_of_pcscd_is_survived() {
    if stock_cannot(CARDS) {
        return;
    }
    let mut world = world(&[PIN, PIN]);
    assert!(world.signs(Slot::Authentication));
    world.card.pull();
    world.reader.restart();
    world.card.insert();
    let signs = until(READ, || world.signs(Slot::Authentication));
    assert!(signs, "{}", world.home.logs());
    assert_eq!(world.card.pins_refused(), 0);
}

#[test]
fn a_key_in_a_retired_slot_is_offered_only_to_who_names_it() {
    if stock_cannot(CARDS) {
        return;
    }
    let home = Home::new();
    let reader = Reader::new(&home);
    let mut card = reader.piv("card");
    card.insert();
    let retired = card.retire_a_key();
    let module = || reader.module("libykcs11.so", "ykcs11").pin_from(home.file("pin", card.pin()));
    let offers = |agent: &Agent, key: &PublicKey| agent.state(key).is_some();
    let usual = card.public(Slot::Authentication);

    let agent = Agent::with(&home).named("usual").module(module()).start();
    assert!(until(READ, || offers(&agent, usual)), "{}", home.logs());
    agent.signs(usual).within(READ).run().succeeds();
    assert!(!offers(&agent, &retired), "after login, too, a retired key is left out");
    drop(agent);

    let agent = Agent::with(&home).named("asked").module(module().keys(&["pkcs11:id=%05"])).start();
    assert!(until(READ, || offers(&agent, &retired)), "{}", home.logs());
    agent.signs(&retired).within(READ).run().succeeds();
    assert!(!offers(&agent, usual));
}

#[test]
fn ykcs11_serves_the_same_card() {
    if stock_cannot(CARDS) {
        return;
    }
    let home = Home::new();
    let reader = Reader::new(&home);
    let mut card = reader.piv("card");
    card.insert();
    let pinentry = Pinentry::new(&home, &[PIN, PIN]);
    let module = reader.module("libykcs11.so", "ykcs11").pin_asked();
    let agent = Agent::with(&home).module(module).pinentry(&pinentry).start();
    let key = card.public(Slot::Authentication).clone();
    let shows = |state: &str| until(READ, || agent.state(&key).as_deref() == Some(state));
    assert!(shows("needs PIN"), "{}", home.logs());
    agent.signs(&key).within(READ).run().succeeds();
    card.pull();
    assert!(shows("gone"), "{}", home.logs());
    card.insert();
    assert!(shows("needs PIN"), "{}", home.logs());
    agent.signs(&key).within(READ).run().succeeds();
    assert_eq!((pinentry.pins_asked(), card.pins_refused()), (2, 0));
}
