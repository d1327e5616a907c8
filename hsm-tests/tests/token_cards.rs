//! `hardkey token` with a PIV card: real `pcscd`, real modules, real firmware, which counts the tries.

use std::time::Duration;

use hsm_tests::{Card, Home, Outcome, PublicKey, Reader, library, stock_cannot, until};

const CARDS: &str = "manage cards";
/// OpenSC takes two seconds to read a card, ykcs11 five; more on a busy machine.
const READ: Duration = Duration::from_secs(60);
const PIN: &str = "123456";
/// The PUK and the management key of every new PIV card.
const PUK: &str = "12345678";
const MANAGEMENT_KEY: &str = "010203040506070801020304050607080102030405060708";

struct World {
    card: Card,
    reader: Reader,
    home: Home,
}

fn world() -> World {
    let home = Home::new();
    let reader = Reader::new(&home);
    let mut card = reader.piv("card");
    card.insert();
    let world = World { card, reader, home };
    let shows = until(READ, || world.opensc(&["list"], &[]).stdout.contains("piv_II"));
    assert!(shows, "{}", world.home.logs());
    world
}

impl World {
    fn hardkey(&self, module: &str, package: &str, arguments: &[&str], answers: &[&str]) -> Outcome {
        let (name, value) = self.reader.environment();
        let input: String = answers.iter().map(|answer| format!("{answer}\n")).collect();
        let task =
            self.home.command("hardkey").arg("token").args(arguments).arg("--module").arg(library(module, package));
        task.env(name, value).input(input).within(READ).run()
    }

    fn opensc(&self, arguments: &[&str], answers: &[&str]) -> Outcome {
        self.hardkey("opensc-pkcs11.so", "opensc-pkcs11", arguments, answers)
    }

    fn ykcs11(&self, arguments: &[&str], answers: &[&str]) -> Outcome {
        self.hardkey("libykcs11.so", "ykcs11", arguments, answers)
    }

    fn pin_state(&self) -> String {
        let listed = self.opensc(&["list", "--json"], &[]).succeeds().stdout;
        let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
        listed[0]["pin"].as_str().expect("a state").to_owned()
    }
}

#[test]
fn a_pin_is_changed_and_a_wrong_one_costs_one_try() {
    if stock_cannot(CARDS) {
        return;
    }
    let world = world();
    let wrong = world.opensc(&["change-pin"], &["000000", "111111", "111111"]).fails();
    assert!(wrong.stderr.contains("refused the PIN: one try is spent"), "{}", wrong.report());
    assert_eq!((world.card.pins_presented(), world.card.pins_refused(), world.card.answers("24").len()), (1, 1, 0));
    world.opensc(&["change-pin"], &[PIN, "111111", "111111"]).succeeds();
    assert_eq!((world.card.pins_refused(), world.card.answers("24")), (1, vec!["9000".to_owned()]));
    let long = world.opensc(&["change-pin"], &["111111", "123456789", "123456789"]).fails();
    assert!(long.stderr.contains("has to have 4 to 8 characters; nothing was changed"), "{}", long.report());
    assert_eq!(world.pin_state(), "ok");
}

#[test]
fn a_locked_pin_is_set_anew_by_the_puk() {
    if stock_cannot(CARDS) {
        return;
    }
    let world = world();
    let change = |answers: &[&str]| world.opensc(&["change-pin"], answers).fails();
    let wrong = ["000000", "111111", "111111"];
    change(&wrong);
    let last = change(&wrong);
    assert!(last.stderr.contains("the next wrong one locks it"), "{}", last.report());
    assert_eq!(world.pin_state(), "final try");
    let declined = change(&["no", "000000", "111111", "111111"]);
    assert!(declined.stderr.contains("One try is left"), "{}", declined.report());
    assert_eq!(world.card.pins_refused(), 2);
    let locked = change(&["yes", "000000", "111111", "111111"]);
    assert!(locked.stderr.contains("it is locked now: `hardkey token unblock`"), "{}", locked.report());
    assert_eq!(world.pin_state(), "locked");
    let locked = change(&[PIN, "111111", "111111"]);
    assert!(locked.stderr.contains("is locked"), "{}", locked.report());
    assert_eq!(world.card.pins_refused(), 3, "nothing is presented to a card that is locked");

    let unblock = |puk: &str| world.opensc(&["unblock"], &[puk, "111111", "111111"]);
    let wrong = unblock("00000000").fails();
    assert!(wrong.stderr.contains("refused the PUK: one try is spent"), "{}", wrong.report());
    unblock(PUK).succeeds();
    let answers = world.card.answers("2c");
    assert_eq!((answers.len(), answers.last().map(String::as_str)), (2, Some("9000")), "{answers:?}");
    assert_eq!(world.pin_state(), "ok");
    world.opensc(&["change-pin"], &["111111", PIN, PIN]).succeeds();
}

#[test]
fn what_a_module_cannot_do_for_a_card_is_said_with_the_tool_that_can() {
    if stock_cannot(CARDS) {
        return;
    }
    let world = world();
    let listed = world.opensc(&["list", "--json"], &[]).succeeds().stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let label = listed[0]["token"].as_str().expect("a label");
    for (arguments, told) in [
        (&["keygen", "--label", "x"][..], "yubico-piv-tool -a generate"),
        (&["init", "--label", "x", "--token", label], "ykman piv reset"),
        (&["change-pin", "--so"], "ykman piv access"),
    ] {
        let refused = world.opensc(arguments, &[label, PIN]).fails();
        assert!(refused.stderr.contains(told), "{}", refused.report());
    }
    assert_eq!(world.card.pins_presented(), 0);
    let refused = world.ykcs11(&["unblock"], &[MANAGEMENT_KEY, PIN, PIN]).fails();
    assert!(refused.stderr.contains("C_InitPIN answered CKR_FUNCTION_NOT_SUPPORTED"), "{}", refused.report());
    let refused = world.ykcs11(&["keygen", "--label", "x"], &[PIN]).fails();
    assert!(refused.stderr.contains("with ykcs11 the management key): --so"), "{}", refused.report());
}

#[test]
fn ykcs11_makes_keys_and_takes_certificates_with_the_management_key() {
    if stock_cannot(CARDS) {
        return;
    }
    let world = world();
    let taken = world.ykcs11(&["keygen", "--label", "x", "--so", "--id", "01"], &[MANAGEMENT_KEY]).fails();
    assert!(taken.stderr.contains("has a key with this id already"), "{}", taken.report());
    let made = world.ykcs11(&["keygen", "--label", "x", "--so", "--id", "05"], &[MANAGEMENT_KEY]).succeeds();
    let key = PublicKey::read(&world.home, world.home.file("made.pub", made.stdout));
    assert_eq!(key.algorithm(), "ecdsa-sha2-nistp256");
    let certificate = world.home.path("made.pem");
    let pem =
        world.home.command("ssh-keygen").args(["-e", "-m", "PKCS8", "-f"]).arg(key.path()).run().succeeds().stdout;
    let public = world.home.file("public.pem", pem);
    let curve = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"];
    world.home.command("openssl").args(curve).arg(world.home.path("ca.key")).run().succeeds();
    let sign = ["x509", "-new", "-subj", "/CN=made", "-force_pubkey"];
    let sign = world.home.command("openssl").args(sign).arg(public).arg("-signkey").arg(world.home.path("ca.key"));
    sign.arg("-out").arg(&certificate).run().succeeds();
    let file = certificate.display().to_string();
    // The module gives a new key a certificate of its own.
    world.ykcs11(&["import-cert", &file, "--so"], &["yes", MANAGEMENT_KEY]).succeeds();
    let (name, value) = world.reader.environment();
    let tool =
        world.home.command("pkcs11-tool").arg("--module").arg(library("libykcs11.so", "ykcs11")).env(name, value);
    let shown = tool.args(["-O", "--type", "cert", "--id", "05"]).within(READ).run().succeeds().stdout;
    assert!(shown.contains("CN=made"), "{shown}");
}
