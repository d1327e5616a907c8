//! `hardkey fido`: keys and PINs on real firmware, with OpenSSH's tools as the judges of what was made.

use std::fs;
use std::time::Duration;

use hsm_tests::{
    Agent, Askpass, FidoKey, Home, KeyFile, Outcome, Signal, Sshd, Task, UsbPorts, agent_binary, signal, stock_cannot,
};

const PIN: &str = "246810";

fn plugged_in(home: &Home) -> (UsbPorts, FidoKey) {
    let ports = UsbPorts::new(home);
    let device = ports.key("device");
    (ports, device)
}

fn with_pin(home: &Home) -> (UsbPorts, FidoKey) {
    let (ports, device) = plugged_in(home);
    device.set_pin(PIN, "/dev/hidraw0".as_ref());
    (ports, device)
}

fn fido(ports: &UsbPorts, arguments: &[&str]) -> Task {
    ports.command(agent_binary()).arg("fido").args(arguments)
}

/// Makes a key in the home directory; `answers` are what is typed.
fn enrolled(home: &Home, ports: &UsbPorts, name: &str, arguments: &[&str], answers: &str) -> KeyFile {
    let path = home.path("home").join(name);
    fido(ports, &["enroll", "-f"]).arg(&path).args(arguments).input(answers).run().succeeds();
    KeyFile::at(home, path)
}

/// Has stock `ssh-keygen` sign without any agent, and verify.
fn stock_signs(home: &Home, ports: &UsbPorts, key: &KeyFile) {
    let message = home.file("home/message", "a message");
    ports
        .command("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", "test", "-f"])
        .arg(key.path())
        .arg(message)
        .envs(ports.pin_in_dialogs(PIN))
        .run()
        .succeeds();
    let signature = home.path("home/message.sig");
    let verify = ["-Y", "check-novalidate", "-n", "test", "-s"];
    home.command("ssh-keygen").args(verify).arg(&signature).input("a message").run().succeeds();
    fs::remove_file(signature).expect("remove the signature");
}

fn list_of_residents(ports: &UsbPorts) -> Outcome {
    fido(ports, &["list", "--resident"]).input(format!("{PIN}\n")).run()
}

#[test]
fn keys_that_are_enrolled_here_work_in_stock_tools() {
    if stock_cannot("enrol keys by hardkey") {
        return;
    }
    let home = Home::new();
    let (ports, device) = with_pin(&home);
    for (name, arguments) in [
        ("plain", &["-t", "ed25519-sk"][..]),
        ("ecdsa", &["-t", "ecdsa-sk", "-C", "a comment"]),
        ("verified", &["--verify-required"]),
        ("silent", &["--no-touch-required"]),
        ("resident", &["--resident", "--verify-required", "--application", "ssh:work", "--user", "ada"]),
    ] {
        let key = enrolled(&home, &ports, name, arguments, &format!("{PIN}\n"));
        stock_signs(&home, &ports, &key);
    }
    assert!(device.count("touched") >= 5);
    let folder = home.directory("home/fetched");
    ports
        .command("ssh-keygen")
        .args(["-q", "-K", "-N", ""])
        .directory(&folder)
        .envs(ports.pin_in_dialogs(PIN))
        .run()
        .succeeds();
    assert!(folder.join("id_ed25519_sk_rk_work_ada").exists());
}

#[test]
fn the_line_that_says_when_to_touch_comes_when_the_device_waits() {
    if stock_cannot("enrol keys by hardkey") {
        return;
    }
    let home = Home::new();
    let (ports, device) = plugged_in(&home);
    device.presence("after 400");
    let path = home.path("home/key");
    let made = fido(&ports, &["enroll", "-f"]).arg(&path).run().succeeds();
    assert!(made.stderr.contains("Touch hardkey software key now."), "{}", made.report());
    assert!(made.stdout.starts_with("SHA256:"), "{}", made.report());
}

#[test]
fn nothing_is_overwritten_replaced_or_deleted_without_a_yes() {
    if stock_cannot("manage security keys") {
        return;
    }
    let home = Home::new();
    let (ports, _device) = with_pin(&home);
    let key = enrolled(&home, &ports, "key", &["--resident"], &format!("{PIN}\n"));
    let before = fs::read(key.path()).expect("the key");
    fido(&ports, &["enroll", "-f"]).arg(key.path()).input("no\n").run().fails();
    fido(&ports, &["enroll", "--resident", "-f"])
        .arg(home.path("home/other"))
        .input(format!("{PIN}\nno\n"))
        .run()
        .fails();
    assert_eq!(fs::read(key.path()).expect("the key"), before);

    let listed = list_of_residents(&ports).succeeds().stdout;
    let fingerprint = listed.split_whitespace().last().expect("a fingerprint").to_owned();
    fido(&ports, &["delete", &fingerprint]).input(format!("{PIN}\n\n")).run().fails();
    assert!(list_of_residents(&ports).succeeds().stdout.contains(&fingerprint));
    fido(&ports, &["delete", &fingerprint]).input(format!("{PIN}\nyes\n")).run().succeeds();
    assert_eq!(list_of_residents(&ports).succeeds().stdout, "no resident keys of ssh\n");
}

#[test]
fn the_pin_is_set_changed_and_a_wrong_one_costs_one_try() {
    if stock_cannot("set PINs") {
        return;
    }
    let home = Home::new();
    let (ports, device) = plugged_in(&home);
    fido(&ports, &["pin"]).input("1234\n4321\n").run().fails();
    fido(&ports, &["pin"]).input("1234\n1234\n").run().succeeds();
    fido(&ports, &["pin"]).input("1234\n246810\n246810\n").run().succeeds();
    list_of_residents(&ports).succeeds();
    let wrong = fido(&ports, &["list", "--resident"]).input("0000\n").run().fails();
    assert!(wrong.stderr.contains("wrong PIN; 7 tries are left"), "{}", wrong.report());
    let info = fido(&ports, &["info"]).run().succeeds().stdout;
    assert!(info.contains("PIN tries left    7"), "{info}");
    let again = list_of_residents(&ports).succeeds();
    assert!(again.stderr.contains("(7 tries are left)"), "{}", again.report());
    // The device is asked for nothing where the PIN cannot be one.
    let tokens = device.log().iter().filter(|line| line.contains("getToken")).count();
    fido(&ports, &["list", "--resident"]).input("1".repeat(64)).run().fails();
    assert_eq!(device.log().iter().filter(|line| line.contains("getToken")).count(), tokens);
}

#[test]
fn an_interrupted_command_leaves_no_device_blinking() {
    if stock_cannot("enrol keys by hardkey") {
        return;
    }
    let home = Home::new();
    let (ports, device) = plugged_in(&home);
    device.presence("never");
    let mut waiting = fido(&ports, &["enroll", "-f"]).arg(home.path("home/key")).start("waiting");
    device.asks();
    signal(waiting.pid(), Signal::INT);
    assert_eq!(waiting.ends(Duration::from_secs(10)).code(), Some(1));
    assert_eq!(device.count("cancelled"), 1, "{:?}", device.log());
}

#[test]
fn a_full_device_an_unknown_algorithm_and_a_missing_pin_are_told_with_what_to_do() {
    if stock_cannot("enrol keys by hardkey") {
        return;
    }
    let home = Home::new();
    let (ports, device) = plugged_in(&home);
    let path = home.path("home/key");
    let missing = fido(&ports, &["enroll", "--resident", "-f"]).arg(&path).run().fails();
    assert!(missing.stderr.contains("hardkey fido pin"), "{}", missing.report());
    for (status, remedy) in [("28", "hardkey fido delete"), ("26", "ecdsa-sk"), ("27", "declined on the device")] {
        device.fault(&format!("makeCredential status {status} times 1"));
        let refused = fido(&ports, &["enroll", "-f"]).arg(&path).run().fails();
        assert!(refused.stderr.contains(remedy), "{}", refused.report());
        assert!(!path.exists());
    }
}

#[test]
fn of_two_devices_the_one_that_is_touched_is_meant() {
    if stock_cannot("manage security keys") {
        return;
    }
    let home = Home::new();
    let (ports, first) = plugged_in(&home);
    let second = ports.key("second");
    first.presence("never");
    second.presence("after 300");
    let info = fido(&ports, &["info"]).run().succeeds();
    assert!(info.stdout.contains("second"), "{}", info.report());
    assert_eq!(first.count("cancelled"), 1, "{:?}", first.log());
    let named = fido(&ports, &["info", "--device", "/dev/hidraw0"]).run().succeeds();
    assert!(named.stdout.contains("device"), "{}", named.report());
}

#[test]
fn a_resident_key_that_was_shown_once_is_found_by_the_agent_and_logs_in() {
    if stock_cannot("find resident keys by itself") {
        return;
    }
    let home = Home::new();
    let (ports, device) = with_pin(&home);
    let key = ports.keygen("key", &["-t", "ed25519-sk", "-O", "resident", "-O", "application=ssh:work"], PIN);
    let askpass = Askpass::new(&home, &[]);
    let agent = Agent::with(&home).envs(ports.environment()).envs(askpass.environment()).start();
    assert_eq!(agent.comments(), [""; 0], "nothing is asked when a device is plugged in");
    list_of_residents(&ports).succeeds();
    assert_eq!(agent.comments(), ["ssh:work"]);
    fs::remove_file(key.path()).expect("the handle is on the device");
    let sshd = Sshd::start(&home, [key.public()]);
    sshd.login(&agent, key.public()).succeeds();
    sshd.accepted(key.public());
    device.unplug();
    assert_eq!(agent.comments(), [""; 0]);
    device.plug();
    assert_eq!(agent.comments(), ["ssh:work"]);
    assert_eq!(askpass.questions(), [""; 0], "no PIN was asked for");
}

#[test]
fn keys_that_the_configuration_names_are_there_from_the_start_with_their_certificates() {
    if stock_cannot("have keys in its configuration") {
        return;
    }
    let home = Home::new();
    let (ports, _device) = plugged_in(&home);
    let key = ports.keygen("key", &["-t", "ecdsa-sk"], PIN);
    let authority = KeyFile::new(&home, "authority");
    let certificate = key.certified_by(&home, &authority, &["-n", "root"]);
    let line = format!("[fido]\nkeys = [{:?}, \"/nonexistent/key.pub\"]", key.public().path());
    let agent = Agent::with(&home).envs(ports.environment()).line(&line).start();
    assert_eq!(agent.comments(), ["key", "key"]);
    agent.signs(key.public()).run().succeeds();
    agent.signs(&certificate).run().succeeds();
    assert!(agent.log().contains("/nonexistent/key: "), "{}", agent.log());
    let ca = authority.public().path().display().to_string();
    let sshd = Sshd::with(&home, "sshd", [], &format!("TrustedUserCAKeys {ca}\n"));
    let login = agent.ssh(&sshd).args(["-o", "IdentitiesOnly=no", "box", "echo logged in"]).run();
    assert_eq!(login.succeeds().stdout, "logged in\n");
}
