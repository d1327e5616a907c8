//! Keys on security keys that `ssh-add` names: made by stock `ssh-keygen`, used by stock `ssh`, with real firmware.

use std::time::{Duration, Instant};

use hsm_tests::{Agent, Answer, Askpass, FidoKey, Home, KeyFile, Sshd, UsbPorts, until};

const PIN: &str = "246810";

/// An agent that sees the ports and asks by this askpass. It judges as stock does: an emulated machine is too slow for the evidence of where
/// a request comes from, and what is asked then is `fido_login`'s business.
fn agent(home: &Home, ports: &UsbPorts, askpass: &Askpass) -> Agent {
    Agent::with(home).as_stock().envs(ports.environment()).envs(askpass.environment()).start()
}

/// One security key, plugged in, and an agent; a person who is asked for PINs has these answers.
fn at_work(home: &Home, answers: &[Answer<'_>]) -> (UsbPorts, FidoKey, Askpass, Agent) {
    let ports = UsbPorts::new(home);
    let device = ports.key("device");
    let askpass = Askpass::new(home, answers);
    let agent = agent(home, &ports, &askpass);
    (ports, device, askpass, agent)
}

fn added(agent: &Agent, key: &KeyFile) {
    agent.ssh_add([key.path()]).run().succeeds();
}

fn pin_questions(askpass: &Askpass) -> Vec<String> {
    askpass.questions().into_iter().filter(|question| question.starts_with("[] ")).collect()
}

/// Has stock `ssh-keygen` sign by the agent and verify.
fn signs(home: &Home, agent: &Agent, key: &KeyFile) {
    let message = home.file("home/message", "a message");
    agent
        .command("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", "test", "-f"])
        .arg(key.public().path())
        .arg(message)
        .run()
        .succeeds();
    let signature = home.path("home/message.sig");
    let verify = ["-Y", "check-novalidate", "-n", "test", "-s"];
    home.command("ssh-keygen").args(verify).arg(&signature).input("a message").run().succeeds();
    std::fs::remove_file(signature).expect("remove the signature");
}

fn no_worker_is_left(agent: &Agent) {
    assert!(until(Duration::from_secs(10), || agent.workers().is_empty()), "a worker is left\n{}", agent.log());
}

#[test]
fn both_types_log_in_with_one_touch_each_and_with_certificates() {
    let home = Home::new();
    let (ports, device, askpass, agent) = at_work(&home, &[]);
    let authority = KeyFile::new(&home, "authority");
    for kind in ["ed25519-sk", "ecdsa-sk"] {
        let key = ports.keygen(kind, &["-t", kind], PIN);
        let sshd = Sshd::with(&home, kind, [key.public()], "");
        added(&agent, &key);
        let touches = device.count("touched");
        sshd.login(&agent, key.public()).succeeds();
        sshd.accepted(key.public());
        assert_eq!(device.count("touched"), touches + 1);
        signs(&home, &agent, &key);

        let certificate = key.certified_by(&home, &authority, &["-n", "nobody"]);
        added(&agent, &key);
        assert!(agent.comments().len() >= 2, "{:?}", agent.comments());
        agent.signs(&certificate).run().succeeds();
    }
    assert_eq!(pin_questions(&askpass), [""; 0]);
    no_worker_is_left(&agent);
}

#[test]
fn a_key_that_wants_verification_costs_one_pin_and_one_touch() {
    let home = Home::new();
    let (ports, device, askpass, agent) = at_work(&home, &[Answer::Type(PIN), Answer::Type(PIN)]);
    device.set_pin(PIN, "/dev/hidraw0".as_ref());
    let key = ports.keygen("key", &["-t", "ed25519-sk", "-O", "verify-required"], PIN);
    added(&agent, &key);
    let touches = device.count("touched");
    signs(&home, &agent, &key);
    assert_eq!((pin_questions(&askpass).len(), device.count("touched") - touches), (1, 1));
    let resident = ["-t", "ecdsa-sk", "-O", "verify-required", "-O", "resident"];
    let hidden = ports.keygen("hidden", &resident, PIN);
    added(&agent, &hidden);
    let touches = device.count("touched");
    signs(&home, &agent, &hidden);
    assert_eq!((pin_questions(&askpass).len(), device.count("touched") - touches), (2, 1));
}

#[test]
fn a_wrong_pin_costs_one_try_and_the_next_question_says_how_many_are_left() {
    let home = Home::new();
    let (ports, device, askpass, mut agent) = at_work(&home, &[Answer::Type("000000")]);
    device.set_pin(PIN, "/dev/hidraw0".as_ref());
    let key = ports.keygen("key", &["-t", "ed25519-sk", "-O", "verify-required"], PIN);
    added(&agent, &key);
    agent.signs(key.public()).run().fails();
    agent.wait_for_log("wrong PIN; 7 tries are left");
    assert_eq!(pin_questions(&askpass).len(), 1, "asked once");
    askpass.answers(&[Answer::Type(PIN)]);
    signs(&home, &agent, &key);
    let questions = pin_questions(&askpass);
    assert!(questions[1].contains("7 tries are left"), "{questions:?}");
}

#[test]
fn a_key_that_wants_no_touch_gets_none() {
    let home = Home::new();
    let (ports, device, _askpass, agent) = at_work(&home, &[]);
    let key = ports.keygen("key", &["-t", "ed25519-sk", "-O", "no-touch-required"], PIN);
    added(&agent, &key);
    device.presence("never");
    signs(&home, &agent, &key);
}

#[test]
fn a_declined_touch_is_a_refusal_and_no_question() {
    let home = Home::new();
    let (ports, device, askpass, mut agent) = at_work(&home, &[Answer::Type(PIN)]);
    device.set_pin(PIN, "/dev/hidraw0".as_ref());
    let key = ports.keygen("key", &["-t", "ed25519-sk"], PIN);
    added(&agent, &key);
    device.presence("denied");
    agent.signs(key.public()).run().fails();
    agent.wait_for_log("declined on the device");
    assert_eq!(pin_questions(&askpass), [""; 0]);
}

#[test]
fn the_notice_is_there_while_the_key_waits_and_the_key_is_told_when_nobody_does() {
    let home = Home::new();
    let (ports, device, askpass, agent) = at_work(&home, &[]);
    let key = ports.keygen("key", &["-t", "ed25519-sk"], PIN);
    added(&agent, &key);
    device.presence("never");
    let waiting = agent.signs(key.public()).start("waiting");
    device.asks();
    assert!(until(Duration::from_secs(5), || askpass.notices().len() == 1), "{:?}", askpass.questions());
    assert!(!hsm_tests::children(agent.pid()).is_empty());
    drop(waiting);
    device.wait_for("cancel");
    device.wait_for("cancelled");
    no_worker_is_left(&agent);
    assert!(until(Duration::from_secs(5), || hsm_tests::children(agent.pid()).is_empty()), "the notice is gone");
    device.presence("now");
    signs(&home, &agent, &key);
}

#[test]
fn a_key_pulled_out_while_it_waits_ends_the_request_and_works_again_afterwards() {
    let home = Home::new();
    let (ports, device, _askpass, mut agent) = at_work(&home, &[]);
    let key = ports.keygen("key", &["-t", "ed25519-sk"], PIN);
    added(&agent, &key);
    device.presence("never");
    let mut waiting = agent.signs(key.public()).start("waiting");
    device.asks();
    device.unplug();
    assert!(!waiting.ends(Duration::from_secs(10)).success());
    agent.wait_for_log("it was pulled out");
    device.presence("now");
    device.plug();
    signs(&home, &agent, &key);
    no_worker_is_left(&agent);
}

#[test]
fn a_key_that_is_not_there_is_asked_for_and_used_once_it_is() {
    let home = Home::new();
    let (ports, device, askpass, agent) = at_work(&home, &[]);
    let key = ports.keygen("key", &["-t", "ecdsa-sk"], PIN);
    added(&agent, &key);
    device.unplug();
    let mut waiting = agent.signs(key.public()).start("waiting");
    let asked = || askpass.notices().iter().any(|notice| notice.contains("Plug in"));
    assert!(until(Duration::from_secs(10), asked), "{:?}", askpass.questions());
    device.plug();
    assert!(waiting.ends(Duration::from_secs(15)).success(), "{}", agent.log());
}

#[test]
fn of_two_devices_the_right_one_is_found_in_silence() {
    let home = Home::new();
    let (ports, first, _askpass, agent) = at_work(&home, &[]);
    let key = ports.keygen("key", &["-t", "ed25519-sk"], PIN);
    let second = ports.key("second");
    added(&agent, &key);
    let touches = first.count("touched");
    signs(&home, &agent, &key);
    assert_eq!((first.count("touched") - touches, second.count("asks")), (1, 0));
    assert_eq!(second.count("getAssertion[silent] 2e"), 1, "{:?}", second.log());
    signs(&home, &agent, &key);
    assert_eq!(second.count("getAssertion[silent] 2e"), 1, "the device was remembered");
}

#[test]
fn a_key_that_hides_on_one_of_two_devices_is_chosen_by_touch_once() {
    let home = Home::new();
    let pin = Answer::Type(PIN);
    let (ports, first, askpass, agent) = at_work(&home, &[pin, pin]);
    first.set_pin(PIN, "/dev/hidraw0".as_ref());
    let key = ports.keygen("key", &["-t", "ed25519-sk", "-O", "verify-required", "-O", "resident"], PIN);
    let second = ports.key("second");
    second.set_pin("13579", "/dev/hidraw1".as_ref());
    added(&agent, &key);
    second.presence("never");
    first.presence("after 500");
    signs(&home, &agent, &key);
    assert_eq!(second.count("cancelled"), 1, "{:?}", second.log());
    let touches = first.count("touched");
    signs(&home, &agent, &key);
    assert_eq!(first.count("touched") - touches, 1, "PIN first, device remembered, one touch");
    assert!(!second.log().iter().any(|line| line.contains("getToken")), "the other one's PIN was left alone");
    assert_eq!(pin_questions(&askpass).len(), 2);
}

/// Has a device say that it holds any key: an assertion in form, authenticator data and a signature of zeros.
fn claims_every_key(device: &FidoKey) {
    let (data, signature) = (format!("{}0000000001", "00".repeat(32)), "00".repeat(64));
    device.fault(&format!("getAssertion[silent] answer 00a2025825{data}035840{signature}"));
}

#[test]
fn a_device_that_claims_a_key_without_a_proof_is_not_asked_for_it() {
    let home = Home::new();
    let (ports, first, _askpass, agent) = at_work(&home, &[]);
    let key = ports.keygen("key", &["-t", "ed25519-sk"], PIN);
    let second = ports.key("second");
    claims_every_key(&second);
    added(&agent, &key);
    let touches = first.count("touched");
    signs(&home, &agent, &key);
    assert_eq!((first.count("touched") - touches, second.count("asks")), (1, 0), "{:?}", second.log());
    no_worker_is_left(&agent);
}

#[test]
fn a_device_that_claims_a_key_without_a_proof_gets_no_pin_that_the_person_did_not_mean_for_it() {
    let home = Home::new();
    let (ports, first, askpass, agent) = at_work(&home, &[Answer::Type(PIN)]);
    first.set_pin(PIN, "/dev/hidraw0".as_ref());
    let key = ports.keygen("key", &["-t", "ed25519-sk", "-O", "verify-required", "-O", "resident"], PIN);
    let second = ports.key("second");
    second.set_pin("13579", "/dev/hidraw1".as_ref());
    claims_every_key(&second);
    added(&agent, &key);
    second.presence("never");
    first.presence("after 500");
    signs(&home, &agent, &key);
    assert_eq!(second.count("cancelled"), 1, "both blinked, and the other one was touched: {:?}", second.log());
    assert!(!second.log().iter().any(|line| line.contains("getToken")), "{:?}", second.log());
    assert_eq!(pin_questions(&askpass).len(), 1);
}

#[test]
fn a_server_that_wants_verification_gets_it_and_one_that_allows_no_touch_needs_none() {
    let home = Home::new();
    let (ports, device, askpass, agent) = at_work(&home, &[Answer::Type(PIN)]);
    device.set_pin(PIN, "/dev/hidraw0".as_ref());
    let verified = ports.keygen("verified", &["-t", "ecdsa-sk", "-O", "verify-required"], PIN);
    added(&agent, &verified);
    let strict = Sshd::with(&home, "strict", [verified.public()], "PubkeyAuthOptions verify-required\n");
    strict.login(&agent, verified.public()).succeeds();
    assert_eq!(pin_questions(&askpass).len(), 1);

    let silent = ports.keygen("silent", &["-t", "ed25519-sk", "-O", "no-touch-required"], PIN);
    added(&agent, &silent);
    device.presence("never");
    let lax = Sshd::with(&home, "lax", [silent.public()], "");
    home.file("lax/authorized_keys", format!("no-touch-required {}\n", silent.public().line()));
    lax.login(&agent, silent.public()).succeeds();
}

#[test]
fn three_logins_at_once_take_turns_at_one_device() {
    let home = Home::new();
    let (ports, device, _askpass, agent) = at_work(&home, &[]);
    let key = ports.keygen("key", &["-t", "ed25519-sk"], PIN);
    added(&agent, &key);
    device.presence("after 300");
    let mut logins: Vec<_> = ["one", "two", "three"].map(|name| agent.signs(key.public()).start(name)).into();
    for login in &mut logins {
        assert!(login.ends(Duration::from_secs(20)).success(), "{}", agent.log());
    }
    no_worker_is_left(&agent);
}

#[test]
fn another_program_that_uses_the_device_is_waited_for_and_not_disturbed() {
    let home = Home::new();
    let (ports, device, _askpass, agent) = at_work(&home, &[]);
    let key = ports.keygen("key", &["-t", "ed25519-sk"], PIN);
    added(&agent, &key);
    device.presence("never");
    let message = home.file("home/elsewhere", "a message");
    let mut stock = ports
        .command("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", "test", "-f"])
        .arg(key.path())
        .arg(message)
        .start("stock");
    device.asks();
    let mut ours = agent.signs(key.public()).start("ours");
    assert!(until(Duration::from_secs(5), || !agent.workers().is_empty()), "{}", agent.log());
    device.press();
    assert!(stock.ends(Duration::from_secs(10)).success(), "{}", stock.log());
    device.press();
    assert!(ours.ends(Duration::from_secs(15)).success(), "{}", agent.log());
    assert_eq!((device.count("busy"), device.count("cancel")), (0, 0));
}

#[test]
fn a_key_that_says_nothing_costs_its_own_request_only() {
    let home = Home::new();
    let (ports, device, _askpass, mut agent) = at_work(&home, &[]);
    let key = ports.keygen("key", &["-t", "ed25519-sk"], PIN);
    let software = KeyFile::new(&home, "software");
    added(&agent, &key);
    added(&agent, &software);
    signs(&home, &agent, &key);
    device.freeze();
    let mut waiting = agent.signs(key.public()).start("waiting");
    let begin = Instant::now();
    agent.signs(software.public()).run().succeeds();
    assert!(begin.elapsed() < Duration::from_secs(3), "others wait for nothing");
    assert!(!waiting.ends(Duration::from_secs(15)).success());
    agent.wait_for_log("it does not answer");
    no_worker_is_left(&agent);
    device.thaw();
    signs(&home, &agent, &key);
}

#[test]
fn a_device_that_speaks_u2f_alone_signs_with_ecdsa_amid_the_noise_of_others() {
    let home = Home::new();
    let ports = UsbPorts::new(&home);
    let device = ports.kind_of_key("old", "u2f-only");
    device.plug();
    let askpass = Askpass::new(&home, &[]);
    let agent = agent(&home, &ports, &askpass);
    let key = ports.keygen("key", &["-t", "ecdsa-sk"], PIN);
    added(&agent, &key);
    device.order("noise on");
    device.presence("after 300");
    signs(&home, &agent, &key);
}

#[test]
fn answers_that_make_no_sense_fail_one_request_and_no_more() {
    let home = Home::new();
    let (ports, device, _askpass, agent) = at_work(&home, &[]);
    let key = ports.keygen("key", &["-t", "ed25519-sk"], PIN);
    added(&agent, &key);
    signs(&home, &agent, &key);
    device.order("noise on");
    for fault in ["cut 10", "cut 1", "announce 7000", "gap", "answer 00", "answer 00a1", "pad 40"] {
        device.fault(&format!("getAssertion {fault} times 9"));
        let outcome = agent.signs(key.public()).within(Duration::from_secs(90)).run();
        assert!(outcome.code() != Some(0) || fault.starts_with("pad"), "{fault}\n{}", agent.log());
        device.no_faults();
    }
    signs(&home, &agent, &key);
    no_worker_is_left(&agent);
}
