//! One PIN for all modules (`--pin-file`): it goes to the one token that it can be meant for, and costs each token one try at most.

use std::fs;
use std::path::PathBuf;

use hsm_tests::{Agent, FaultyToken, Home, Key, Module, stock_cannot};

const SHARED: &str = "share a PIN among modules";

/// Two modules with a token each, and a file with the PIN of both tokens.
struct World {
    one: FaultyToken,
    other: FaultyToken,
    pin: PathBuf,
    home: Home,
}

fn world() -> World {
    let home = Home::new();
    let [one, other] =
        [("one", Key::P256), ("other", Key::P384)].map(|(name, key)| FaultyToken::new(&home, name, &[key]));
    let pin = home.file("shared-pin", one.token().pin());
    World { one, other, pin, home }
}

impl World {
    fn agent(&self, change: impl Fn([Module; 2]) -> [Module; 2]) -> Agent {
        let modules = [self.one.module(), self.other.second_module(&self.home)];
        let [one, other] = change(modules.map(|module| module.pin_unsaid().line("workers = 1")));
        Agent::with(&self.home).as_stock().module(one).module(other).arg("--pin-file").arg(&self.pin).start()
    }

    /// How often each token was logged in to.
    fn logins(&self) -> [usize; 2] {
        [&self.one, &self.other].map(|token| token.calls.count("C_Login"))
    }
}

fn signs(agent: &Agent, token: &FaultyToken) -> bool {
    let mut keys = token.token().publics();
    agent.client().sign(&keys.next().expect("a key").blob(), b"data", 0).is_some()
}

#[test]
fn two_tokens_of_two_modules_that_want_it_get_none() {
    if stock_cannot(SHARED) {
        return;
    }
    let world = world();
    let mut agent = world.agent(|modules| modules);
    assert!(!signs(&agent, &world.one) && !signs(&agent, &world.other));
    agent.wait_for_log("one PIN was given but 2 tokens want one");
    assert_eq!(world.logins(), [0, 0], "{}", world.home.logs());
}

#[test]
fn a_token_with_a_pin_pad_wants_none_and_the_other_gets_it() {
    if stock_cannot(SHARED) {
        return;
    }
    let world = world();
    world.other.set("token protected-path 000000\ntoken pin-count 3");
    let agent = world.agent(|modules| modules);
    assert!(signs(&agent, &world.one), "{}", world.home.logs());
    assert_eq!(world.logins(), [1, 0]);
    // Whoever stands at the pad mistypes, which is his own try.
    assert!(!signs(&agent, &world.other));
    assert_eq!(world.logins(), [1, 1]);
}

#[test]
fn one_that_is_wrong_for_the_second_token_is_tried_there_once_until_the_file_changes() {
    if stock_cannot(SHARED) {
        return;
    }
    let world = world();
    fs::write(&world.pin, "wrong\n").expect("write the wrong PIN");
    world.other.set("token pin-count 3");
    // The first has its own.
    let agent = world.agent(|[one, other]| [one.pin_from(world.one.token().pin_file()), other]);
    for _ in 0..3 {
        assert!(signs(&agent, &world.one) && !signs(&agent, &world.other), "{}", world.home.logs());
    }
    assert_eq!((world.logins(), world.other.rules.pin_failures().expect("the counts")), ([1, 1], 1));
    fs::write(&world.pin, world.other.token().pin()).expect("write the right PIN");
    assert!(signs(&agent, &world.other), "{}", world.home.logs());
    assert_eq!((world.logins(), world.other.rules.pin_failures().expect("the counts")), ([1, 2], 0));
}

#[test]
fn who_asks_before_it_is_known_whose_the_pin_is_waits_for_that() {
    if stock_cannot(SHARED) {
        return;
    }
    let world = world();
    world.other.set("token protected-path 000000\nC_Initialize delay 2s");
    let agent = world.agent(|modules| modules);
    assert!(signs(&agent, &world.one), "{}", world.home.logs());
    assert_eq!(world.logins(), [1, 0]);
}
