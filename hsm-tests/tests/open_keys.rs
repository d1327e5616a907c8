//! Keys that sign without a PIN, though their token has one.

use faulty_module::Entry;
use hsm_tests::{Agent, AgentBuilder, Answer, FaultyToken, Home, Key, KnownKey, Objects, Pinentry, SOON, stock_cannot};

const OPEN: &str = "sign without a login";

/// A token with a key that wants the PIN, and two that show and sign without it.
struct World {
    agent: Agent,
    pinentry: Pinentry,
    open: [KnownKey; 2],
    token: FaultyToken,
    home: Home,
}

fn world(pin: &str, more: impl FnOnce(AgentBuilder) -> AgentBuilder) -> World {
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let keys = KnownKey::several(2).try_into();
    let open: [KnownKey; 2] = keys.unwrap_or_else(|_| panic!("two keys"));
    let mut objects = Objects::on(&home, token.token());
    objects.write_open_pair(&open[0], &[0xe0], b"open");
    objects.write_open_pair(&open[1], &[0xe1], b"another");
    drop(objects);
    let pinentry = Pinentry::new(&home, &[Answer::Type(token.token().pin()); 4]);
    let module = token.module().pin_unsaid().line("workers = 1").line(pin);
    let agent = more(Agent::with(&home).as_stock()).module(module).pinentry(&pinentry).start();
    assert_eq!(agent.comments().len(), 3, "{}", home.logs());
    token.forget_calls();
    World { agent, pinentry, open, token, home }
}

impl World {
    fn signs_openly(&self) -> bool {
        self.agent.client().sign(&self.open[0].blob(), b"data", 0).is_some()
    }

    fn signs_with_the_pin(&self) -> bool {
        self.agent.client().sign(&self.token.public(Key::P256).blob(), b"data", 0).is_some()
    }

    /// How many PINs were asked for, and how often each of these was called.
    fn counts(&self) -> (usize, [usize; 3]) {
        let calls = ["C_Login", "C_SignInit", "C_Sign"].map(|function| self.token.calls.count(function));
        (self.pinentry.pins_asked(), calls)
    }

    /// How `hardkey list` says that the keys are, by their labels.
    fn states(&self) -> [String; 3] {
        ["p256", "open", "another"].map(|label| self.agent.state_of(label).unwrap_or_else(|| panic!("no {label}")))
    }
}

#[test]
fn it_is_not_logged_in_for_them_and_the_others_still_want_the_pin() {
    if stock_cannot(OPEN) {
        return;
    }
    let world = world("", |agent| agent);
    assert_eq!(world.states(), ["needs PIN", "ready", "ready"]);
    assert!(world.signs_openly() && world.signs_openly(), "{}", world.home.logs());
    assert_eq!(world.counts(), (0, [0, 2, 2]), "{}", world.home.logs());
    assert_eq!(world.states(), ["needs PIN", "ready", "ready"]);

    assert!(world.signs_with_the_pin() && world.signs_openly(), "{}", world.home.logs());
    assert_eq!(world.counts(), (1, [1, 4, 4]), "{}", world.home.logs());
    world.agent.command("hardkey").arg("release").run().succeeds();
    assert!(world.signs_openly());
    assert_eq!(world.counts().0, 1, "{}", world.home.logs());
    assert_eq!(world.states(), ["needs PIN", "ready", "ready"]);
}

#[test]
fn one_that_wants_the_login_after_all_costs_one_call_once() {
    if stock_cannot(OPEN) {
        return;
    }
    for (function, value) in [
        ("C_SignInit", "CKR_USER_NOT_LOGGED_IN"),
        ("C_Sign", "CKR_USER_NOT_LOGGED_IN"),
        ("C_Sign", "CKR_GENERAL_ERROR"),
        ("C_SignInit", "CKR_KEY_HANDLE_INVALID"),
        ("C_Sign", "CKR_PIN_EXPIRED"),
    ] {
        let world = world("", |agent| agent);
        world.token.set(&format!("{function} return {value} times 1"));
        assert!(world.signs_openly(), "{function} {value}\n{}", world.home.logs());
        let (pins, [logins, begun, _]) = world.counts();
        assert_eq!((pins, logins), (1, 1), "{function} {value}\n{}", world.home.logs());
        assert!(begun <= 2, "{begun} signatures begun after {function} {value}");

        world.agent.command("hardkey").arg("release").run().succeeds();
        assert_eq!(world.states(), ["needs PIN", "needs PIN", "ready"], "{function} {value}");
        world.token.forget_calls();
        assert!(world.signs_openly(), "{}", world.home.logs());
        assert_eq!(world.counts(), (2, [1, 1, 1]), "{function} {value}: it is tried again without the PIN");
    }
}

#[test]
fn a_pin_for_each_signature_is_for_those_that_want_one() {
    if stock_cannot(OPEN) {
        return;
    }
    let world = world("pin = { cache = 'never' }", |agent| agent);
    assert!(world.signs_openly() && world.signs_openly(), "{}", world.home.logs());
    assert_eq!(world.counts(), (0, [0, 2, 2]), "{}", world.home.logs());
    assert_eq!(world.token.calls.processes().len(), 1, "a worker ends for nothing");
    assert!(world.signs_with_the_pin() && world.signs_with_the_pin() && world.signs_openly());
    assert_eq!(world.counts().0, 2, "{}", world.home.logs());
}

#[test]
fn a_key_that_wants_the_login_does_not_profit_from_another_s_pin() {
    if stock_cannot(OPEN) {
        return;
    }
    let world = world("pin = { cache = 'never' }", |agent| agent);
    // The moment in which somebody else has logged the worker in and has not signed yet.
    world.token.set("C_Login hold");
    let mut other = world.agent.signs(world.token.public(Key::P256)).start("other");
    let held = |entry: &Entry| entry.outcome.met("hold");
    assert!(world.token.calls.wait_for(SOON, held).is_some(), "{}", world.home.logs());
    std::thread::scope(|scope| {
        let open = scope.spawn(|| world.signs_openly());
        // By the time of this answer the agent has seen the request.
        assert_eq!(world.agent.comments().len(), 3);
        world.token.clear();
        assert!(open.join().expect("an answer"), "{}", world.home.logs());
    });
    assert!(other.ends(SOON).success(), "{}", other.log());
    let calls = world.token.calls.entries().expect("the calls");
    let signed = calls.iter().filter(|call| call.function == "C_Sign" && call.outcome.returned("CKR_OK"));
    let workers: Vec<u32> = signed.map(|call| call.process).collect();
    assert!(workers.len() == 2 && workers[0] != workers[1], "it was tried by a worker that is logged in: {workers:?}");
}

#[test]
fn a_pin_pad_is_left_alone() {
    if stock_cannot(OPEN) {
        return;
    }
    let world = world("", |agent| agent);
    world.token.set(&format!("token protected-path {}", world.token.token().pin()));
    world.agent.command("hardkey").arg("release").run().succeeds();
    assert!(world.signs_openly());
    assert_eq!(world.counts(), (0, [0, 1, 1]), "{}", world.home.logs());
    assert!(world.signs_with_the_pin());
    assert_eq!(world.counts(), (0, [1, 2, 2]), "{}", world.home.logs());
}

#[test]
fn a_rule_that_wants_the_pin_gets_it() {
    if stock_cannot(OPEN) {
        return;
    }
    let world = world("", |agent| agent.line("[[rule]]\nkey = \"open\"\naction = 'pin'"));
    assert!(world.signs_openly(), "{}", world.home.logs());
    assert_eq!(world.counts().0, 1, "{}", world.home.logs());
    assert!(world.signs_openly(), "{}", world.home.logs());
    assert_eq!(world.counts().0, 2, "{}", world.home.logs());
}
