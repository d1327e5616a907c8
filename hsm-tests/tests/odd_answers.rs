//! Modules that answer what the standard does not foresee, and serve all the same.

use std::time::Duration;

use hsm_tests::{Agent, Answer, FaultyToken, Home, Key, Pinentry, kill, stock_cannot, until};

const ODD: &str = "make do with such answers";
/// Several looks at a module in use.
const LOOKS: Duration = Duration::from_secs(20);

/// A token whose module obeys these rules from the beginning, and somebody who types the right PIN once.
struct World {
    agent: Agent,
    pinentry: Pinentry,
    token: FaultyToken,
    home: Home,
}

fn world(rules: &str) -> World {
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    token.set(rules);
    let pinentry = Pinentry::new(&home, &[Answer::Type(token.token().pin())]);
    let module = token.module().pin_asked().line("workers = 1");
    let agent = Agent::with(&home).as_stock().module(module).pinentry(&pinentry).start();
    World { agent, pinentry, token, home }
}

impl World {
    fn signs(&self) -> bool {
        self.agent.client().sign(&self.token.public(Key::P256).blob(), b"data", 0).is_some()
    }

    fn looks_go_on(&self) {
        let before = self.token.calls.count("C_GetSlotList");
        assert!(until(LOOKS, || self.token.calls.count("C_GetSlotList") > before + 4), "{}", self.home.logs());
    }
}

#[test]
fn a_name_ends_with_the_zero_that_ends_texts_in_c() {
    if stock_cannot(ODD) {
        return;
    }
    let world = world("token label odd\0x1");
    assert_eq!(world.agent.state(world.token.public(Key::P256)).as_deref(), Some("needs PIN"));
    assert!(world.signs(), "{}", world.home.logs());
    // What a buffer held before is another text each time.
    world.token.set("token label odd\0y2");
    world.agent.workers().into_iter().for_each(kill);
    assert!(world.signs(), "{}", world.home.logs());
    assert_eq!(world.pinentry.pins_asked(), 1, "{}", world.home.logs());
    assert!(world.pinentry.descriptions()[0].contains("\"odd\""), "{:?}", world.pinentry.descriptions());
}

#[test]
fn a_session_that_cannot_tell_how_it_is_is_not_lost() {
    if stock_cannot(ODD) {
        return;
    }
    let world = world("C_GetSessionInfo return CKR_FUNCTION_NOT_SUPPORTED");
    assert!(world.signs(), "{}", world.home.logs());
    world.looks_go_on();
    assert!(world.signs(), "{}", world.home.logs());
    assert_eq!(
        (world.token.calls.count("C_Login"), world.token.calls.count("C_OpenSession")),
        (1, 1),
        "{}",
        world.home.logs()
    );
}

#[test]
fn a_token_that_does_not_say_that_it_has_a_pin_is_given_it() {
    if stock_cannot(ODD) {
        return;
    }
    let world = world("token no-pin");
    assert!(world.signs(), "{}", world.home.logs());
    assert_eq!(world.token.calls.count("C_Login"), 1);
}
