//! Rules that demand a touch or the PIN of a key on a device, with the firmware of real security keys.

use hsm_tests::{
    Agent, Answer, FaultyToken, FidoKey, Home, Key, KeyFile, Pinentry, SOON, UsbPorts, stock_cannot, until,
};

const DEMANDS: &str = "demand a touch or a PIN";
const PIN: &str = "246810";

struct Desk {
    device: FidoKey,
    pinentry: Pinentry,
    agent: Agent,
    key: KeyFile,
    _ports: UsbPorts,
    _home: Home,
}

impl Desk {
    /// With a key that was made with these options, and a rule with this action for all its uses.
    fn with(options: &[&str], action: &str, answers: &[Answer<'_>]) -> Self {
        let home = Home::new();
        let ports = UsbPorts::new(&home);
        let device = ports.key("device");
        device.set_pin(PIN, "/dev/hidraw0".as_ref());
        let key = ports.keygen("key", &[&["-t", "ed25519-sk"], options].concat(), PIN);
        let pinentry = Pinentry::new(&home, answers);
        let agent = Agent::with(&home)
            .envs(ports.environment())
            .pinentry(&pinentry)
            .line(&format!("[[rule]]\nkey = 'key'\naction = {action}"))
            .start();
        agent.ssh_add(["-q"]).arg(key.path()).run().succeeds();
        Self { device, pinentry, agent, key, _ports: ports, _home: home }
    }

    fn signs(&self) -> bool {
        self.agent.signs(self.key.public()).run().status.success()
    }
}

const NO_TOUCH: &[&str] = &["-O", "no-touch-required"];

#[test]
fn a_rule_has_a_key_touched_that_was_made_to_need_no_touch() {
    if stock_cannot(DEMANDS) {
        return;
    }
    let desk = Desk::with(NO_TOUCH, "'touch'", &[]);
    let touched = desk.device.count("touched");
    assert!(desk.signs(), "{}", desk.agent.log());
    assert_eq!(desk.device.count("touched") - touched, 1);
    desk.device.presence("denied");
    assert!(!desk.signs(), "a touch that is declined is a refusal");
    assert_eq!(desk.pinentry.commands(), [""; 0], "a dialog is no substitute");
}

#[test]
fn a_rule_has_the_pin_typed_for_each_signature_of_a_key_that_was_made_without() {
    if stock_cannot(DEMANDS) {
        return;
    }
    let (right, wrong) = (Answer::Type(PIN), Answer::Type("135790"));
    let mut desk = Desk::with(NO_TOUCH, "'pin'", &[right, right, Answer::Cancel, wrong]);
    assert_eq!([desk.signs(), desk.signs()], [true, true], "{}", desk.agent.log());
    assert_eq!([desk.signs(), desk.signs()], [false, false], "{}", desk.agent.log());
    desk.agent.wait_for_log("wrong PIN; 7 tries are left");
    assert_eq!(desk.pinentry.pins_asked(), 4);
}

#[test]
fn a_rule_may_want_dialog_touch_and_pin_for_one_signature() {
    if stock_cannot(DEMANDS) {
        return;
    }
    let desk = Desk::with(NO_TOUCH, "['confirm', 'touch', 'pin']", &[Answer::Ok, Answer::Type(PIN), Answer::Cancel]);
    let touched = desk.device.count("touched");
    assert!(desk.signs(), "{}", desk.agent.log());
    let counts = (desk.pinentry.confirms_asked(), desk.pinentry.pins_asked(), desk.device.count("touched") - touched);
    assert_eq!(counts, (1, 1, 1));
    assert!(desk.pinentry.descriptions()[0].contains("\nnext  the token wants its PIN, and a touch\n"));
    assert!(!desk.signs(), "and nothing of it after a no");
    assert_eq!((desk.pinentry.pins_asked(), desk.device.count("touched") - touched), (1, 1));
}

#[test]
fn a_device_that_signs_without_the_touch_is_named_and_its_signature_kept_back() {
    if stock_cannot(DEMANDS) {
        return;
    }
    let mut desk = Desk::with(NO_TOUCH, "'touch'", &[]);
    assert!(desk.signs(), "{}", desk.agent.log());
    // An assertion in form, without any flag: authenticator data and the octets of a signature.
    desk.device.fault(&format!("getAssertion answer 00a2025825{}035840{} times 9", "00".repeat(37), "00".repeat(64)));
    assert!(!desk.signs());
    desk.agent.wait_for_log("it signed without a touch, though it was told to wait for that");
    desk.agent.wait_for_log("the device is at fault");
    assert!(!desk.agent.log().contains("bug"), "{}", desk.agent.log());
    desk.device.no_faults();
    assert!(desk.signs(), "{}", desk.agent.log());
}

#[test]
fn a_check_beside_the_agent_says_which_keys_cannot_meet_a_demand() {
    if stock_cannot(DEMANDS) {
        return;
    }
    let desk = Desk::with(NO_TOUCH, "'confirm'", &[]);
    let home = &desk._home;
    let check = |rules: &str, key: &str| {
        let file = home.file("p.toml", format!("\n[[rule]]\nkey = '{key}'\naction = {rules}\n"));
        desk.agent.command("hardkey").args(["policy", "check"]).arg(file).run()
    };
    assert_eq!(check("['touch', 'pin']", "key").code(), Some(0), "the device can");
    let soft = KeyFile::new(home, "soft");
    desk.agent.ssh_add(["-q"]).arg(soft.path()).run().succeeds();
    let outcome = check("['touch', 'pin']", "*");
    assert_eq!(outcome.code(), Some(3), "{}", outcome.report());
    for text in [
        "p.toml:2: rule 1: demands touch, so requests for soft are refused: the key is not on a device",
        "p.toml:2: rule 1: demands pin, so requests for soft are refused: the key has no PIN",
    ] {
        assert!(outcome.stdout.contains(text), "{}", outcome.report());
    }
    let outcome = check("'deny'", "lost");
    assert!(
        outcome.stdout.contains("p.toml:2: rule 1: no key that the agent has matches its key"),
        "{}",
        outcome.report()
    );
    let alone = home.command("hardkey").args(["policy", "check"]).arg(home.path("p.toml")).run();
    assert_eq!(alone.code(), Some(0), "without an agent nobody knows which keys there are: {}", alone.report());
}

/// The lines that ask for a touch, on the screen of somebody who works at a terminal.
#[test]
fn the_notice_of_a_touch_says_key_and_purpose_and_goes_with_its_cause() {
    if stock_cannot("say what a touch is for") {
        return;
    }
    let desk = Desk::with(&[], "'allow'", &[]);
    let (home, key) = (&desk._home, desk.key.public().path().to_owned());
    let words = "Confirm user presence for key key, to sign data of unknown meaning: touch the security key";
    desk.device.presence("never");
    let begun = |pane: &hsm_tests::Pane| {
        desk.device.asks();
        pane.shows(words);
    };
    let gone = |pane: &hsm_tests::Pane| {
        let capture = || pane.screen();
        assert!(until(SOON, || !capture().contains("Confirm")), "the notice stays:\n{}", capture());
    };

    let pane = hsm_tests::Pane::testing(home, &desk.agent, &key);
    begun(&pane);
    desk.device.press();
    assert_eq!(pane.status().as_deref(), Some("0"), "{}", desk.agent.log());
    gone(&pane);
    pane.close();

    // A key that has waited long enough fails.
    desk.device.patience(std::time::Duration::from_secs(3));
    let pane = hsm_tests::Pane::testing(home, &desk.agent, &key);
    begun(&pane);
    assert_eq!(pane.status().as_deref(), Some("1"), "{}", desk.agent.log());
    gone(&pane);
    pane.close();
    desk.device.patience(SOON);

    // The client is interrupted.
    let pane = hsm_tests::Pane::testing(home, &desk.agent, &key);
    begun(&pane);
    pane.types(&["C-c"]);
    desk.device.wait_for("cancelled");
    pane.close();
    desk.device.presence("now");
    assert!(desk.signs(), "{}", desk.agent.log());
}

#[test]
fn the_notice_of_a_silent_token_goes_when_it_fails() {
    if stock_cannot("say what is waited for") {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "work", &[Key::P256]);
    let agent = Agent::with(&home).module(token.module()).start();
    agent.signs(token.public(Key::P256)).run().succeeds();
    token.set("C_Sign delay 2s\nC_Sign return CKR_FUNCTION_FAILED");
    let pane = hsm_tests::Pane::testing(&home, &agent, token.public(Key::P256).path());
    pane.shows("Waiting for token \"hardkey-test\", key \"p256\", to sign data of unknown meaning: touch it");
    assert!(pane.status().is_some_and(|status| status != "0"), "{}", agent.log());
    let capture = || pane.screen();
    assert!(until(SOON, || !capture().contains("Waiting")), "the notice stays:\n{}", capture());
}
