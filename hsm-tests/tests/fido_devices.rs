//! What kinds of devices there are, and what goes wrong with them: the agent and `hardkey fido` say it, say what to do, and go on.

use std::time::Duration;

use hsm_tests::{
    Agent, Answer, Askpass, FidoKey, Home, KeyFile, Outcome, Signal, UsbPorts, agent_binary, signal, stock_cannot,
    until,
};

const PIN: &str = "246810";
const SOON: Duration = Duration::from_secs(15);

/// A device of a kind, plugged in with a PIN where it can have one, an agent, and a person with these answers.
struct Desk {
    home: Home,
    ports: UsbPorts,
    device: FidoKey,
    askpass: Askpass,
    agent: Agent,
}

impl Desk {
    fn with(kind: &str, answers: &[Answer<'_>]) -> Self {
        let home = Home::new();
        let ports = UsbPorts::new(&home);
        let device = ports.kind_of_key("device", kind);
        let node = device.plug();
        if kind != "u2f-only" {
            device.set_pin(PIN, &node);
        }
        let askpass = Askpass::new(&home, answers);
        let agent = Agent::with(&home).envs(ports.environment()).envs(askpass.environment()).start();
        Self { home, ports, device, askpass, agent }
    }

    /// A key that `ssh-keygen` makes on the device, in the agent.
    fn key(&self, arguments: &[&str]) -> KeyFile {
        let key = self.ports.keygen("key", arguments, PIN);
        self.agent.ssh_add([key.path()]).run().succeeds();
        key
    }

    fn pin_questions(&self) -> Vec<String> {
        self.askpass.questions().into_iter().filter(|question| question.contains("Enter the PIN")).collect()
    }

    /// How many commands of the device's log begin so.
    fn commands(&self, start: &str) -> usize {
        self.device.log().iter().filter(|line| line.starts_with(start)).count()
    }

    /// One signature; what it cost: questions for a PIN, and touches.
    fn costs(&self, key: &KeyFile) -> (usize, usize) {
        let before = (self.pin_questions().len(), self.device.count("touched"));
        self.agent.signs(key.public()).run().succeeds();
        (self.pin_questions().len() - before.0, self.device.count("touched") - before.1)
    }

    fn fido(&self, arguments: &[&str], input: &str) -> Outcome {
        self.ports
            .command(agent_binary())
            .arg("fido")
            .args(arguments)
            .input(input)
            .within(Duration::from_secs(60))
            .run()
    }

    /// Nothing is left of any request: no worker, no notice.
    fn is_tidy(&self) {
        let tidy = until(SOON, || hsm_tests::children(self.agent.pid()).is_empty());
        assert!(tidy, "something is left\n{}", self.agent.log());
    }
}

#[test]
fn a_device_of_ctap_2_0_gets_its_pin_by_the_first_protocol() {
    let desk = Desk::with("old", &[Answer::Type(PIN), Answer::Type(PIN)]);
    let key = desk.key(&["-t", "ed25519-sk", "-O", "verify-required"]);
    assert_eq!(desk.costs(&key), (1, 1));
    assert_eq!((desk.commands("clientPIN.getTokenByPIN 00"), desk.commands("error")), (0, 0));
    let resident =
        desk.ports.keygen("resident", &["-t", "ecdsa-sk", "-O", "resident", "-O", "application=ssh:old"], PIN);
    let listed = desk.fido(&["list", "--resident"], &format!("{PIN}\n")).succeeds().stdout;
    assert!(listed.contains("ssh:old"), "{listed}");
    let deleted = desk.fido(&["delete", resident.public().fingerprint()], &format!("{PIN}\nyes\n"));
    deleted.succeeds();
    assert_eq!(desk.fido(&["list", "--resident"], &format!("{PIN}\n")).succeeds().stdout, "no resident keys of ssh\n");
    desk.is_tidy();
}

#[test]
fn old_devices_are_told_apart_by_a_touch_as_well() {
    if stock_cannot("choose by touch before it knows the PIN") {
        return;
    }
    let desk = Desk::with("old", &[Answer::Type(PIN)]);
    let key = desk.key(&["-t", "ed25519-sk", "-O", "verify-required", "-O", "resident"]);
    let other = desk.ports.kind_of_key("other", "old");
    let node = other.plug();
    other.set_pin("97531", &node);
    other.presence("never");
    desk.device.presence("after 300");
    assert_eq!(desk.costs(&key).0, 1);
    other.wait_for("cancelled");
    assert_eq!(other.log().iter().filter(|line| line.contains("getToken")).count(), 0, "{:?}", other.log());
}

#[test]
fn a_second_firmware_with_its_pin_costs_one_touch_too() {
    let desk = Desk::with("opensk", &[Answer::Type(PIN), Answer::Type(PIN)]);
    for kind in ["ed25519-sk", "ecdsa-sk"] {
        let key = desk.ports.keygen(kind, &["-t", kind, "-O", "verify-required"], PIN);
        desk.agent.ssh_add([key.path()]).run().succeeds();
        assert_eq!(desk.costs(&key), (1, 1), "{kind}");
    }
    desk.is_tidy();
}

#[test]
fn a_device_that_always_verifies_gets_its_pin_for_every_key() {
    let desk = Desk::with("opensk always-verifies", &[Answer::Type(PIN)]);
    let key = desk.key(&["-t", "ed25519-sk"]);
    assert_eq!(desk.costs(&key), (1, 1));
}

#[test]
fn a_finger_verifies_and_touches_at_once_and_no_pin_is_asked_for() {
    let desk = Desk::with("fingerprint", &[]);
    let key = desk.key(&["-t", "ed25519-sk", "-O", "verify-required"]);
    assert_eq!(desk.costs(&key), (0, 1));
    let info = desk.fido(&["info"], "").succeeds().stdout;
    assert!(info.contains("own verification  set up"), "{info}");
}

#[test]
fn a_finger_that_is_not_recognised_leads_to_the_pin_once_and_a_no_to_nothing() {
    let desk = Desk::with("fingerprint", &[Answer::Type(PIN), Answer::Type(PIN)]);
    let key = desk.key(&["-t", "ecdsa-sk", "-O", "verify-required"]);
    desk.device.finger(false);
    // The finger that was wrong, and the touch that goes with the PIN.
    assert_eq!(desk.costs(&key), (1, 2));
    desk.device.presence("denied");
    desk.agent.signs(key.public()).run().fails();
    assert!(desk.agent.log().contains("declined on the device"), "{}", desk.agent.log());
    assert_eq!(desk.pin_questions().len(), 1, "a no is no reason to ask for the PIN");
    desk.is_tidy();
}

#[test]
fn a_finger_makes_keys_where_a_pin_was_never_set() {
    if stock_cannot("enrol keys by hardkey") {
        return;
    }
    let home = Home::new();
    let ports = UsbPorts::new(&home);
    let device = ports.kind_of_key("device", "fingerprint");
    device.plug();
    let path = home.path("home/key");
    let enroll = ports.command(agent_binary()).args(["fido", "enroll", "--verify-required", "-f"]).arg(&path);
    enroll.run().succeeds();
    let agent = Agent::with(&home).envs(ports.environment()).start();
    agent.ssh_add([&path]).run().succeeds();
    agent.signs(KeyFile::at(&home, path).public()).run().succeeds();
    assert_eq!(device.count("touched"), 2, "{:?}", device.log());
}

#[test]
fn a_device_that_speaks_u2f_alone_does_what_it_can_and_says_what_it_cannot() {
    if stock_cannot("enrol keys by hardkey") {
        return;
    }
    let desk = Desk::with("u2f-only", &[]);
    let path = desk.home.path("home/key");
    let file = path.to_str().expect("text");
    for (arguments, words) in [
        (&["enroll", "-t", "ed25519-sk", "-f", file][..], "it makes ECDSA keys"),
        (&["enroll", "-t", "ecdsa-sk", "--resident", "-f", file], "speaks U2F alone"),
        (&["enroll", "-t", "ecdsa-sk", "--verify-required", "-f", file], "speaks U2F alone"),
        (&["pin"], "knows no PIN"),
        (&["list", "--resident"], "speaks U2F alone"),
    ] {
        let refused = desk.fido(arguments, &format!("{PIN}\n")).fails();
        assert!(refused.stderr.contains(words), "{}", refused.report());
        assert!(!path.exists());
    }
    assert!(desk.fido(&["list"], "").succeeds().stdout.ends_with("  U2F\n"));
    desk.fido(&["enroll", "-t", "ecdsa-sk", "-f", file], "").succeeds();
    let key = KeyFile::at(&desk.home, path);
    desk.agent.ssh_add([key.path()]).run().succeeds();
    assert_eq!(desk.costs(&key), (0, 1));
}

#[test]
fn what_a_device_refuses_is_told_with_what_to_do_and_costs_no_pin_and_no_more_than_the_request() {
    if stock_cannot("say why a device refuses") {
        return;
    }
    let desk = Desk::with("", &[]);
    let key = desk.key(&["-t", "ed25519-sk"]);
    for (status, words) in [
        ("2f", "it was not touched in time"),
        ("3a", "it was not touched in time"),
        ("27", "declined on the device"),
        ("2e", "it does not hold this key"),
        ("2b", "it cannot do that"),
        ("7f", "it answered status 0x7f"),
    ] {
        desk.device.fault(&format!("getAssertion! status {status} times 1"));
        let before = desk.agent.log().len();
        desk.agent.signs(key.public()).run().fails();
        let log = desk.agent.log();
        assert!(log[before..].contains(words), "{status}: {}", &log[before..]);
        desk.agent.signs(key.public()).run().succeeds();
    }
    assert_eq!(
        (desk.pin_questions().len(), desk.commands("clientPIN.getToken")),
        (0, desk.commands("clientPIN.getToken -"))
    );
    desk.is_tidy();
}

#[test]
fn what_a_device_says_of_a_pin_is_told_with_what_to_do_and_the_pin_is_given_once() {
    if stock_cannot("say why a PIN is refused") {
        return;
    }
    let desk = Desk::with("", &[Answer::Type(PIN); 12]);
    let key = desk.key(&["-t", "ed25519-sk", "-O", "verify-required"]);
    for (status, words) in [
        ("34", "three wrong PINs in a row; pull it out, plug it in"),
        ("32", "its PIN is locked; only a reset"),
        ("37", "`hardkey fido pin`"),
        ("33", "does not accept the PIN's session"),
    ] {
        let given = desk.commands("clientPIN.getToken");
        desk.device.fault(&format!("clientPIN.getToken status {status} times 1"));
        let before = desk.agent.log().len();
        desk.agent.signs(key.public()).run().fails();
        let log = desk.agent.log();
        assert!(log[before..].contains(words), "{status}: {}", &log[before..]);
        assert_eq!(desk.commands("clientPIN.getToken") - given, 1, "{status}: {:?}", desk.device.log());
        desk.device.no_faults();
    }
    assert_eq!(desk.pin_questions().len(), 4);
    // No try left: nobody is asked, and nothing presented.
    desk.device.fault("clientPIN.getRetries answer 00a10300");
    let given = desk.commands("clientPIN.getToken");
    desk.agent.signs(key.public()).run().fails();
    assert_eq!((desk.pin_questions().len(), desk.commands("clientPIN.getToken")), (4, given));
    desk.device.no_faults();
    assert_eq!(desk.costs(&key), (1, 1), "and the agent goes on");
}

#[test]
fn the_final_try_is_a_decision_of_its_own() {
    if stock_cannot("warn of the final try") {
        return;
    }
    let desk = Desk::with("", &[Answer::No, Answer::Ok, Answer::Type(PIN)]);
    let key = desk.key(&["-t", "ed25519-sk", "-O", "verify-required"]);
    desk.device.fault("clientPIN.getRetries answer 00a10301");
    let given = desk.commands("clientPIN.getToken");
    desk.agent.signs(key.public()).run().fails();
    let questions = desk.askpass.questions();
    assert!(questions.len() == 1 && questions[0].contains("FINAL PIN TRY"), "{questions:?}");
    assert_eq!(desk.commands("clientPIN.getToken"), given);
    desk.agent.signs(key.public()).run().succeeds();
    assert_eq!((desk.askpass.questions().len(), desk.pin_questions().len()), (3, 1));
}

#[test]
fn a_pin_that_is_demanded_and_not_set_is_not_asked_for() {
    if stock_cannot("demand a PIN by rule") {
        return;
    }
    let home = Home::new();
    let ports = UsbPorts::new(&home);
    let askpass = Askpass::new(&home, &[]);
    let agent = Agent::with(&home).envs(ports.environment()).envs(askpass.environment());
    let mut agent = agent.line("[[rule]]\naction = [\"pin\"]\n").start();
    for (kind, words) in
        [("", "it has no PIN, and the key needs one; set it with `hardkey fido pin`"), ("u2f-only", "it knows no PIN")]
    {
        let device = ports.kind_of_key(&format!("device{}", kind.len()), kind);
        device.plug();
        let key = ports.keygen(&format!("key{}", kind.len()), &["-t", "ecdsa-sk"], PIN);
        agent.ssh_add([key.path()]).run().succeeds();
        agent.signs(key.public()).run().fails();
        agent.wait_for_log(words);
        device.unplug();
    }
    assert_eq!(askpass.questions(), [""; 0]);
}

#[test]
fn a_full_device_is_told_and_a_key_that_is_excluded_too() {
    if stock_cannot("enrol keys by hardkey") {
        return;
    }
    let desk = Desk::with("residents 1", &[]);
    let input = format!("{PIN}\n");
    let enroll = |name: &str, application: &str| {
        let path = desk.home.path("home").join(name);
        desk.fido(&["enroll", "--resident", "--application", application, "-f", path.to_str().expect("text")], &input)
    };
    enroll("one", "ssh:one").succeeds();
    let full = enroll("two", "ssh:two").fails();
    assert!(full.stderr.contains("it is full; delete a key with `hardkey fido delete`"), "{}", full.report());
    desk.device.fault("makeCredential status 19 times 1");
    let path = desk.home.path("home/three");
    let excluded = desk.fido(&["enroll", "-f", path.to_str().expect("text")], "").fails();
    assert!(excluded.stderr.contains("it holds this key already") && !path.exists(), "{}", excluded.report());
}

#[test]
fn what_makes_no_sense_is_called_so() {
    if stock_cannot("say what is wrong with an answer") {
        return;
    }
    let desk = Desk::with("", &[]);
    let key = desk.key(&["-t", "ed25519-sk"]);
    desk.agent.signs(key.public()).run().succeeds();
    for fault in [
        "cut 10",
        "answer 00",
        "answer 00a1",
        "announce 60000",
        "answer 00a20258200000000000000000000000000000000000000000000000000000000000000000034100",
    ] {
        desk.device.fault(&format!("getAssertion! {fault} times 1"));
        let before = desk.agent.log().len();
        desk.agent.signs(key.public()).run().fails();
        let log = desk.agent.log();
        assert!(log[before..].contains("its answer makes no sense; pull it out"), "{fault}: {}", &log[before..]);
        desk.device.no_faults();
    }
    desk.agent.signs(key.public()).run().succeeds();
    desk.is_tidy();
}

#[test]
fn a_device_that_is_at_work_for_ever_is_said_to_hang() {
    if stock_cannot("give up") {
        return;
    }
    let desk = Desk::with("", &[]);
    desk.device.fault("getInfo stall");
    let info = desk.fido(&["info"], "").fails();
    assert!(info.stderr.contains("it does not answer; pull it out"), "{}", info.report());
}

#[test]
fn a_device_that_serves_another_application_is_waited_for_and_then_told_to_be_busy() {
    if stock_cannot("wait for a device") {
        return;
    }
    let desk = Desk::with("", &[]);
    let key = desk.key(&["-t", "ed25519-sk"]);
    desk.device.order("busy on");
    let mut waiting = desk.agent.signs(key.public()).start("waiting");
    desk.device.wait_for("busy");
    desk.device.order("busy off");
    assert!(waiting.ends(SOON).success(), "{}", desk.agent.log());
    desk.device.order("busy on");
    let mut waiting = desk.agent.signs(key.public()).start("waiting in vain");
    assert!(!waiting.ends(Duration::from_secs(40)).success());
    assert!(desk.agent.log().contains("another program keeps it busy"), "{}", desk.agent.log());
    desk.device.order("busy off");
    desk.agent.signs(key.public()).run().succeeds();
    desk.is_tidy();
}

#[test]
fn after_a_sleep_the_device_is_found_at_another_place() {
    let desk = Desk::with("", &[]);
    let key = desk.key(&["-t", "ed25519-sk"]);
    desk.agent.signs(key.public()).run().succeeds();
    desk.device.unplug();
    let other = desk.ports.key("other");
    assert_ne!(desk.device.plug(), std::path::Path::new("/dev/hidraw0"));
    desk.agent.signs(key.public()).run().succeeds();
    assert_eq!(
        other.count("getAssertion[silent] 2e"),
        0,
        "the device is known by its serial number: {:?}",
        other.log()
    );
    // Power lost between two commands.
    desk.device.fault("getAssertion! unplug times 1");
    desk.agent.signs(key.public()).run().fails();
    desk.device.order("unplug");
    desk.device.plug();
    desk.agent.signs(key.public()).run().succeeds();
    desk.is_tidy();
}

#[test]
fn a_machine_that_stood_still_while_the_device_waited_goes_on_waiting() {
    if stock_cannot("be stopped with its workers") {
        return;
    }
    let desk = Desk::with("", &[]);
    let key = desk.key(&["-t", "ed25519-sk"]);
    desk.device.presence("never");
    let mut waiting = desk.agent.signs(key.public()).start("waiting");
    desk.device.asks();
    let stopped: Vec<_> = desk.agent.workers().into_iter().chain([desk.agent.pid()]).collect();
    stopped.iter().for_each(|process| signal(*process, Signal::STOP));
    // Longer than a device may be silent.
    std::thread::sleep(Duration::from_secs(4));
    stopped.iter().for_each(|process| signal(*process, Signal::CONT));
    desk.device.press();
    assert!(waiting.ends(SOON).success(), "{}", desk.agent.log());
    desk.is_tidy();
}

#[test]
fn resident_keys_are_listed_once_a_signature_was_given_the_pin_and_found_without_a_touch_from_then_on() {
    if stock_cannot("find resident keys by itself") {
        return;
    }
    let desk = Desk::with("", &[Answer::Type(PIN); 3]);
    let hidden = ["-t", "ed25519-sk", "-O", "verify-required", "-O", "resident", "-O", "application=ssh:work"];
    let resident = desk.ports.keygen("resident", &hidden, PIN);
    let key = desk.ports.keygen("key", &["-t", "ecdsa-sk", "-O", "verify-required"], PIN);
    desk.agent.ssh_add([key.path()]).run().succeeds();
    assert_eq!(desk.agent.comments(), ["key"]);
    assert_eq!(desk.costs(&key), (1, 1));
    assert!(
        until(SOON, || desk.agent.comments() == ["key", "ssh:work"]),
        "{:?}\n{}",
        desk.agent.comments(),
        desk.agent.log()
    );
    let shown = desk.commands("credMgmt.rps");
    assert_eq!(desk.costs(&key), (1, 1));
    desk.is_tidy();
    assert_eq!(desk.commands("credMgmt.rps"), shown, "once while it is plugged in");

    // With a second device a key that hides would take a touch to be found; this one was seen.
    let other = desk.ports.key("other");
    other.set_pin("97531", "/dev/hidraw1".as_ref());
    assert_eq!(desk.costs(&resident), (1, 1), "{}", desk.agent.log());
    assert_eq!(other.count("asks"), 0, "{:?}", other.log());
    assert!(!other.log().iter().any(|line| line.contains("getToken")), "{:?}", other.log());
    let remembered = desk.home.path("state/hardkey/security-keys.json");
    let remembered = std::fs::read_to_string(remembered).expect("what is remembered");
    assert!(!remembered.contains(PIN));
}
