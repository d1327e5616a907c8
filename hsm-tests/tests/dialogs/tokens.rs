//! Dialogs about keys on tokens: what comes after the yes, the question for the PIN, and the notice while a token waits.

use hsm_tests::{Agent, Answer, Home, Key, KeyFile, Module, Pinentry, SOON, Token, UsbPorts, stock_cannot, until};

use super::compare;

const PIN: &str = "246810";
const RULE: &str = "[[rule]]\nkind = 'sshsig'\naction = 'confirm'";

/// Signs a file with the key whose public half this is.
fn sign(home: &Home, agent: &Agent, public: &str) -> bool {
    home.file("home/public.pub", format!("{public}\n"));
    let script = "cd ~ && echo 'Dear all,' >letter && rm -f letter.sig && exec ssh-keygen -q -Y sign -n file -f public.pub letter";
    agent.command("sh").args(["-c", script]).run().status.success()
}

/// A dialog without what differs from run to run.
fn normal(home: &Home, dialog: &str, others: &[(&str, &str)]) -> String {
    let mut text = dialog.replace(&home.path("").display().to_string(), "HOME/");
    for (from, to) in others {
        text = text.replace(from, to);
    }
    let lines = text.lines().map(|line| match line.split_once("  (pid ") {
        Some((line, _)) => format!("{line}  (pid N)\n"),
        None if line.starts_with("from ") => "from  ssh-keygen, called by TEST\n".to_owned(),
        None => format!("{line}\n"),
    });
    lines.collect()
}

#[test]
fn a_key_on_a_pkcs11_token_names_the_token_and_its_pin() {
    if stock_cannot("say more than the key") {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "work", &[Key::P256]);
    let (yes, right) = (Answer::Ok, Answer::Type(token.pin()));
    let pinentry = Pinentry::new(&home, &[yes, Answer::Type("000000"), yes, right, yes]);
    let agent = Agent::with(&home).module(Module::of(&token).pin_asked()).pinentry(&pinentry).line(RULE).start();
    let public = token.public(Key::P256);
    let signed = [(); 3].map(|()| sign(&home, &agent, &public.line()));
    assert_eq!(signed, [false, true, true], "{}", agent.log());
    let serial = agent.command("hardkey").args(["list", "--json"]).run().succeeds().stdout;
    let serial =
        serial.split("\"serial\": \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a serial number");
    let others = [(serial, "SERIAL"), (public.fingerprint(), "SHA256:(key)")];
    let dialogs = pinentry.descriptions();
    for (name, dialog) in ["token-locked", "pin", "", "pin-again", "token-open"].into_iter().zip(&dialogs) {
        if !name.is_empty() {
            compare(name, &normal(&home, dialog, &others));
        }
    }
    assert_eq!(dialogs.len(), 5, "{dialogs:#?}");
}

#[test]
fn a_key_on_a_security_key_names_the_touch_and_the_pin() {
    if stock_cannot("say more than the key") {
        return;
    }
    let home = Home::new();
    let ports = UsbPorts::new(&home);
    let device = ports.key("device");
    device.set_pin(PIN, "/dev/hidraw0".as_ref());
    let touched = ports.keygen("touched", &["-t", "ed25519-sk"], PIN);
    let verified = ports.keygen("verified", &["-t", "ecdsa-sk", "-O", "verify-required"], PIN);
    let silent = ports.keygen("silent", &["-t", "ed25519-sk", "-O", "no-touch-required"], PIN);
    let yes = Answer::Ok;
    let pinentry = Pinentry::new(&home, &[yes, yes, Answer::Type(PIN), yes]);
    let agent = Agent::with(&home).envs(ports.environment()).pinentry(&pinentry).line(RULE).start();
    for key in [&touched, &verified, &silent] {
        agent.ssh_add(["-q"]).arg(key.path()).run().succeeds();
        assert!(sign(&home, &agent, &key.public().line()), "{}", agent.log());
    }
    let dialogs = pinentry.descriptions();
    let names = [
        ("fido-touch", &touched),
        ("fido-pin-and-touch", &verified),
        ("fido-pin", &verified),
        ("fido-silent", &silent),
    ];
    assert_eq!(dialogs.len(), names.len(), "{dialogs:#?}");
    for ((name, key), dialog) in names.into_iter().zip(&dialogs) {
        compare(name, &normal(&home, dialog, &[(key.public().fingerprint(), "SHA256:(key)")]));
    }
}

#[test]
fn a_demand_of_a_rule_is_told_before_it_is_made() {
    if stock_cannot("demand a touch") {
        return;
    }
    let home = Home::new();
    let ports = UsbPorts::new(&home);
    let _device = ports.key("device");
    let silent: KeyFile = ports.keygen("silent", &["-t", "ed25519-sk", "-O", "no-touch-required"], PIN);
    let pinentry = Pinentry::new(&home, &[Answer::Ok]);
    let rule = "[[rule]]\nkind = 'sshsig'\naction = ['confirm', 'touch']";
    let agent = Agent::with(&home).envs(ports.environment()).pinentry(&pinentry).line(rule).start();
    agent.ssh_add(["-q"]).arg(silent.path()).run().succeeds();
    assert!(sign(&home, &agent, &silent.public().line()), "{}", agent.log());
    assert!(until(SOON, || pinentry.descriptions().len() == 1));
    assert!(pinentry.descriptions()[0].contains("\nnext  the token wants a touch\n"), "{:?}", pinentry.descriptions());
}
