//! The software security key is one to stock programs.

use std::time::Duration;

use hsm_tests::{FidoKey, Home, KeyFile, Outcome, SOON, Sshd, UsbPorts};

const PIN: &str = "246810";

/// Signs with stock `ssh-keygen`, which knows the key by its file and asks for a PIN where one is needed.
fn sign(home: &Home, ports: &UsbPorts, key: &KeyFile) -> Outcome {
    let message = home.file("home/message", "a message");
    ports
        .command("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", "test", "-f"])
        .arg(key.path())
        .arg(message)
        .envs(ports.pin_in_dialogs(PIN))
        .run()
}

/// Signs, and has stock `ssh-keygen` verify it.
fn signs(home: &Home, ports: &UsbPorts, key: &KeyFile) {
    sign(home, ports, key).succeeds();
    let signature = home.path("home/message.sig");
    home.command("ssh-keygen")
        .args(["-Y", "check-novalidate", "-n", "test", "-s"])
        .arg(&signature)
        .input("a message")
        .run()
        .succeeds();
    std::fs::remove_file(signature).expect("remove the signature");
}

fn plugged_in(home: &Home) -> (UsbPorts, FidoKey) {
    let ports = UsbPorts::new(home);
    let key = ports.key("key");
    (ports, key)
}

#[test]
fn fido2_token_lists_it_and_reads_what_it_can() {
    let home = Home::new();
    let (ports, _key) = plugged_in(&home);
    let list = ports.command("fido2-token").arg("-L").run().succeeds().stdout;
    assert!(list.starts_with("/dev/hidraw0: vendor=0x1209, product=0x0001"), "{list}");
    let info = ports.command("fido2-token").args(["-I", "/dev/hidraw0"]).run().succeeds().stdout;
    for line in ["version strings: U2F_V2, FIDO_2_0, FIDO_2_1", "pin protocols: 2, 1", "pin retries: 8"] {
        assert!(info.contains(line), "{info}");
    }
}

#[test]
fn ssh_keygen_enrols_and_signs_with_both_algorithms_and_with_no_touch() {
    let home = Home::new();
    let (ports, key) = plugged_in(&home);
    for kind in ["ed25519-sk", "ecdsa-sk"] {
        let file = ports.keygen(kind, &["-t", kind], PIN);
        let touched = key.count("touched");
        signs(&home, &ports, &file);
        assert_eq!(key.count("touched"), touched + 1);
    }
    let silent = ports.keygen("silent", &["-t", "ed25519-sk", "-O", "no-touch-required"], PIN);
    let touched = key.count("touched");
    signs(&home, &ports, &silent);
    assert_eq!(key.count("touched"), touched);
}

#[test]
fn sshd_lets_in_who_touches_and_who_gives_the_pin() {
    let home = Home::new();
    let (ports, key) = plugged_in(&home);
    key.set_pin(PIN, "/dev/hidraw0".as_ref());
    let touched = ports.keygen("touched", &["-t", "ecdsa-sk"], PIN);
    let verified = ports.keygen("verified", &["-t", "ed25519-sk", "-O", "verify-required"], PIN);
    let sshd = Sshd::start(&home, [touched.public(), verified.public()]);
    for file in [&touched, &verified] {
        let ssh = ports.command("ssh").arg("-F").arg(sshd.client_configuration());
        let ssh = ssh.args(["-o", "IdentitiesOnly=yes", "-i"]).arg(file.path()).envs(ports.pin_in_dialogs(PIN));
        assert_eq!(ssh.args(["box", "echo logged in"]).run().succeeds().stdout, "logged in\n");
        sshd.accepted(file.public());
    }
}

#[test]
fn resident_keys_with_and_without_verification_outlive_the_unplugging() {
    let home = Home::new();
    let (ports, key) = plugged_in(&home);
    key.set_pin(PIN, "/dev/hidraw0".as_ref());
    let plain = ports.keygen("plain", &["-t", "ed25519-sk", "-O", "resident"], PIN);
    let options = ["-t", "ed25519-sk", "-O", "resident", "-O", "verify-required", "-O", "application=ssh:verified"];
    let verified = ports.keygen("verified", &options, PIN);
    key.unplug();
    key.plug();
    signs(&home, &ports, &plain);
    signs(&home, &ports, &verified);
    let fetched = home.directory("home/fetched");
    let fetch = ports.command("ssh-keygen").args(["-q", "-K", "-N", ""]).directory(&fetched);
    fetch.envs(ports.pin_in_dialogs(PIN)).run().succeeds();
    for (file, key) in [("id_ed25519_sk_rk.pub", &plain), ("id_ed25519_sk_rk_verified.pub", &verified)] {
        let line = std::fs::read_to_string(fetched.join(file)).expect("a public key");
        assert_eq!(line.split(' ').nth(1), key.public().line().split(' ').nth(1), "{file}");
    }
}

#[test]
fn a_touch_comes_when_it_is_asked_for_or_not_at_all() {
    let home = Home::new();
    let (ports, key) = plugged_in(&home);
    let file = ports.keygen("touched", &["-t", "ed25519-sk"], PIN);
    key.presence("after 250");
    assert!(sign(&home, &ports, &file).succeeds().took >= Duration::from_millis(250));

    key.presence("denied");
    sign(&home, &ports, &file).fails();
    assert_eq!(key.log().last().map(String::as_str), Some("getAssertion 27"));

    key.presence("never");
    key.patience(Duration::from_millis(200));
    sign(&home, &ports, &file).fails();
    assert_eq!(key.log().last().map(String::as_str), Some("getAssertion 2f"));

    key.patience(SOON);
    std::thread::scope(|scope| {
        let signing = scope.spawn(|| signs(&home, &ports, &file));
        key.press();
        signing.join().expect("a signature");
    });
}

#[test]
fn three_wrong_pins_in_a_row_block_it_until_it_is_unplugged_and_eight_for_ever() {
    let home = Home::new();
    let (ports, key) = plugged_in(&home);
    key.set_pin(PIN, "/dev/hidraw0".as_ref());
    let list = |pin: &str| {
        let pin = format!("{pin}\n");
        ports.command("setsid").args(["--wait", "fido2-token", "-L", "-r", "/dev/hidraw0"]).input(pin).run()
    };
    let mut expected = vec!["31", "31", "34", "34"];
    for _ in 0..4 {
        list("1357").fails();
    }
    key.unplug();
    key.plug();
    list(PIN).succeeds();
    for _ in 0..3 {
        for _ in 0..3 {
            list("1357").fails();
        }
        key.unplug();
        key.plug();
    }
    list(PIN).fails();
    expected.extend(["00", "31", "31", "34", "31", "31", "34", "31", "32", "32", "32"]);
    let tokens: Vec<String> =
        key.log().iter().filter_map(|line| line.strip_prefix("clientPIN.getTokenByPIN ").map(str::to_owned)).collect();
    assert_eq!(tokens, expected);
}

#[test]
fn one_pulled_out_while_it_asks_is_gone_at_once() {
    let home = Home::new();
    let (ports, key) = plugged_in(&home);
    let file = ports.keygen("pulled", &["-t", "ed25519-sk"], PIN);
    key.presence("never");
    std::thread::scope(|scope| {
        let signing = scope.spawn(|| sign(&home, &ports, &file));
        key.asks();
        key.unplug();
        let outcome = signing.join().expect("ssh-keygen ends").fails();
        assert!(outcome.took < SOON, "{}", outcome.report());
    });
    assert_eq!(ports.command("fido2-token").arg("-L").run().succeeds().stdout, "");
    assert!(!ports.command("test").args(["-e", "/dev/hidraw0"]).run().status.success());
    key.presence("now");
    key.plug();
    signs(&home, &ports, &file);
}

#[test]
fn the_right_one_of_two_signs() {
    let home = Home::new();
    let ports = UsbPorts::new(&home);
    let one = ports.key("one");
    let file = ports.keygen("of-one", &["-t", "ed25519-sk"], PIN);
    // The node of the wrong one comes first.
    one.unplug();
    let other = ports.key("other");
    one.plug();
    signs(&home, &ports, &file);
    assert_eq!(one.count("getAssertion 00"), 1);
    assert_eq!(other.count("getAssertion[silent] 2e"), 1);
}

#[test]
fn one_with_u2f_only_signs_by_it() {
    let home = Home::new();
    let ports = UsbPorts::new(&home);
    let key = ports.kind_of_key("old", "u2f-only");
    key.plug();
    let file = ports.keygen("old", &["-t", "ecdsa-sk"], PIN);
    key.presence("after 400");
    signs(&home, &ports, &file);
    assert!(key.count("u2f.authenticate 6985") >= 1, "{:?}", key.log());
    assert_eq!(key.log().last().map(String::as_str), Some("u2f.authenticate 9000"));
}

#[test]
fn a_full_one_takes_no_more_resident_keys() {
    let home = Home::new();
    let ports = UsbPorts::new(&home);
    let key = ports.kind_of_key("small", "residents 1");
    let node = key.plug();
    key.set_pin(PIN, &node);
    let enrol = |application: &str| {
        let path = home.path("home").join(application);
        let application = format!("application=ssh:{application}");
        ports
            .command("ssh-keygen")
            .args(["-q", "-t", "ed25519-sk", "-O", "resident", "-N", "", "-O", &application, "-f"])
            .arg(path)
            .envs(ports.pin_in_dialogs(PIN))
            .run()
    };
    enrol("first").succeeds();
    enrol("second").fails();
    assert_eq!(key.log().last().map(String::as_str), Some("makeCredential[resident] 28"));
}

#[test]
fn faults_are_what_the_client_gets() {
    let home = Home::new();
    let (ports, key) = plugged_in(&home);
    let file = ports.keygen("faulty", &["-t", "ed25519-sk"], PIN);
    for fault in ["status 2e", "cut 20", "announce 9000", "answer 00a0"] {
        key.fault(&format!("getAssertion {fault} times 2"));
        sign(&home, &ports, &file).fails();
        key.no_faults();
        signs(&home, &ports, &file);
    }
}

#[test]
fn a_fingerprint_verifies_instead_of_the_pin_and_an_unknown_finger_does_not() {
    let home = Home::new();
    let ports = UsbPorts::new(&home);
    let key = ports.kind_of_key("key", "fingerprint");
    key.plug();
    key.set_pin(PIN, "/dev/hidraw0".as_ref());
    let info = ports.command("fido2-token").args(["-I", "/dev/hidraw0"]).run().succeeds().stdout;
    assert!(info.contains(", uv,") && info.contains("uv retries: 8"), "{info}");
    let file = ports.keygen("key", &["-t", "ed25519-sk", "-O", "verify-required"], PIN);
    signs(&home, &ports, &file);
    key.finger(false);
    let tokens = |log: &[String]| log.iter().filter(|line| line.starts_with("clientPIN.getTokenByUV")).count();
    let before = tokens(&key.log());
    let message = home.file("home/message", "a message");
    // Without a way to ask for the PIN.
    let refused =
        ports.command("ssh-keygen").args(["-q", "-Y", "sign", "-n", "test", "-f"]).arg(file.path()).arg(message);
    refused.env("SSH_ASKPASS_REQUIRE", "never").input("").run().fails();
    assert!(tokens(&key.log()) > before, "{:?}", key.log());
    let info = ports.command("fido2-token").args(["-I", "/dev/hidraw0"]).run().succeeds().stdout;
    assert!(!info.contains("uv retries: 8"), "{info}");
}

#[test]
fn a_copy_of_a_key_signs_as_the_original_does() {
    let home = Home::new();
    let ports = UsbPorts::new(&home);
    let original = ports.kind_of_key("original", "opensk");
    original.plug();
    let file = ports.keygen("key", &["-t", "ecdsa-sk"], PIN);
    let copy = ports.copy_of_key("copy", &original);
    original.unplug();
    copy.plug();
    signs(&home, &ports, &file);
    assert_eq!(copy.count("touched"), 1);
}

#[test]
fn an_old_key_knows_the_first_pin_protocol_alone_and_manages_its_keys_as_the_drafts_had_it() {
    let home = Home::new();
    let ports = UsbPorts::new(&home);
    let key = ports.kind_of_key("key", "old");
    key.plug();
    key.set_pin(PIN, "/dev/hidraw0".as_ref());
    let info = ports.command("fido2-token").args(["-I", "/dev/hidraw0"]).run().succeeds().stdout;
    assert!(info.contains("version strings: U2F_V2, FIDO_2_0\n") && info.contains("pin protocols: 1\n"), "{info}");
    let arguments = ["-t", "ed25519-sk", "-O", "verify-required", "-O", "resident"];
    let file = ports.keygen("key", &arguments, PIN);
    signs(&home, &ports, &file);
    assert_eq!(key.count("clientPIN.getTokenByPIN 00"), 0, "{:?}", key.log());
    let fetched = home.directory("home/fetched");
    let fetch = ports.command("ssh-keygen").args(["-q", "-K", "-N", ""]).directory(&fetched);
    fetch.envs(ports.pin_in_dialogs(PIN)).run().succeeds();
    assert!(fetched.join("id_ed25519_sk_rk").exists());
}
