//! How long a PIN is kept.

use std::time::Duration;

use hsm_tests::{Agent, Answer, FaultyToken, Home, Key, Module, Pinentry, SOON, Token, stock_cannot, until};

const KEEP: &str = "say how long a PIN is kept";

struct World {
    agent: Agent,
    pinentry: Pinentry,
    token: Token,
    home: Home,
}

/// Signatures by a token whose module has this line; somebody types the right PIN whenever he is asked.
fn world(line: &str) -> World {
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let pinentry = Pinentry::new(&home, &[Answer::Type(token.pin()); 8]);
    let module = Module::of(&token).pin_unsaid().line(line).line("workers = 1");
    let agent = Agent::with(&home).module(module).pinentry(&pinentry).start();
    World { agent, pinentry, token, home }
}

impl World {
    /// Signs; how many PINs were typed so far.
    fn sign(&self) -> usize {
        self.agent.signs(self.token.public(Key::P256)).run().succeeds();
        self.pinentry.pins_asked()
    }

    fn is(&self, state: &str) -> bool {
        self.agent.state(self.token.public(Key::P256)).as_deref() == Some(state)
    }
}

#[test]
fn never_means_that_each_signature_asks() {
    if stock_cannot(KEEP) {
        return;
    }
    let world = world("pin = { cache = 'never' }");
    assert_eq!([world.sign(), world.sign()], [1, 2]);
    assert!(world.is("needs PIN"), "a login outlives its signature");
    let mut both = ["one", "two"].map(|name| world.agent.signs(world.token.public(Key::P256)).start(name));
    for one in &mut both {
        assert!(one.ends(SOON).success(), "{}\n{}", one.log(), world.home.logs());
    }
    assert_eq!(world.pinentry.pins_asked(), 4, "two signatures at once share a PIN");
}

#[test]
fn never_means_one_question_even_if_the_module_signs_wrongly() {
    if stock_cannot(KEEP) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let pinentry = Pinentry::new(&home, &[Answer::Type(token.token().pin()); 8]);
    let module = token.module().pin_unsaid().line("pin = { cache = 'never' }").line("workers = 1");
    let mut agent = Agent::with(&home).module(module).pinentry(&pinentry).start();
    token.set("C_Sign garbage");
    agent.signs(token.public(Key::P256)).run().fails();
    agent.wait_for_log("does not verify");
    assert_eq!(pinentry.pins_asked(), 1);
}

#[test]
fn after_its_time_the_pin_is_forgotten_without_anybody_asking() {
    if stock_cannot(KEEP) {
        return;
    }
    let world = world("pin = { cache = '4s' }");
    assert_eq!(world.sign(), 1);
    assert!(world.is("ready"));
    assert!(until(Duration::from_secs(20), || world.is("needs PIN")), "{}", world.home.logs());
    assert_eq!(world.sign(), 2);
}

#[test]
fn until_removal_is_what_nothing_said_means() {
    if stock_cannot(KEEP) {
        return;
    }
    let world = world("");
    assert_eq!([world.sign(), world.sign(), world.sign()], [1, 1, 1]);
}

#[test]
fn release_forgets_the_pin_and_ends_the_workers_and_keeps_the_keys() {
    if stock_cannot(KEEP) {
        return;
    }
    let world = world("pin = 'ask'");
    assert_eq!(world.sign(), 1);
    let workers = world.agent.workers();
    assert_eq!(workers.len(), 1);
    world.agent.command("hardkey").arg("release").run().succeeds();
    assert!(until(SOON, || !hsm_tests::is_alive(workers[0])), "the worker is still logged in");
    assert!(world.is("needs PIN"));
    assert_eq!(world.sign(), 2);
}
