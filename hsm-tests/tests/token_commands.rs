//! `hardkey token`: tokens in files, with OpenSC's and OpenSSH's tools as the judges of what was made.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use hsm_tests::{
    Agent, FaultyToken, Home, Key, Module, Outcome, PublicKey, SOON, Signal, Sshd, Task, library, signal, stock_cannot,
    until,
};

const MANAGE: &str = "manage tokens";
const SO_PIN: &str = "Ostrich-8%3";
const PIN: &str = "Quagga-4%7";

/// SoftHSM with tokens of the test's own; none at first.
struct Tokens {
    home: Home,
    configuration: PathBuf,
}

impl Tokens {
    fn new(home: &Home) -> Self {
        let folder = home.directory("softhsm/tokens");
        let text = format!("directories.tokendir = {}\nobjectstore.backend = file\n", folder.display());
        Self { home: home.clone(), configuration: home.file("softhsm/softhsm2.conf", text) }
    }

    /// With one token, whose PINs are known.
    fn with_one(home: &Home) -> Self {
        let tokens = Self::new(home);
        tokens.init("work").succeeds();
        tokens
    }

    fn library() -> PathBuf {
        library("softhsm/libsofthsm2.so", "softhsm2")
    }

    fn hardkey(&self, command: &str) -> Task {
        let task = self.home.command("hardkey").args(["token", command, "--module"]).arg(Self::library());
        task.env("SOFTHSM2_CONF", &self.configuration)
    }

    fn init(&self, label: &str) -> Outcome {
        self.hardkey("init").args(["--label", label]).input(lines(&[SO_PIN, SO_PIN, PIN, PIN])).run()
    }

    fn list(&self) -> String {
        self.hardkey("list").run().succeeds().stdout
    }

    fn keygen(&self, arguments: &[&str]) -> Outcome {
        self.hardkey("keygen").args(arguments).input(lines(&[PIN])).run()
    }

    /// Makes a key, whose public half is in a file then.
    fn key(&self, label: &str, arguments: &[&str]) -> PublicKey {
        let made = self.keygen(&[&["--label", label], arguments].concat()).succeeds();
        PublicKey::read(&self.home, self.home.file(format!("{label}.pub"), made.stdout))
    }

    fn agent(&self) -> Agent {
        let pin = self.home.file("pin", PIN);
        let module = Module::at(Self::library()).pin_from(pin).env("SOFTHSM2_CONF", &self.configuration);
        Agent::with(&self.home).module(module).start()
    }
}

fn lines(words: &[&str]) -> String {
    words.iter().map(|word| format!("{word}\n")).collect()
}

fn faulty(home: &Home, token: &FaultyToken, command: &str, arguments: &[&str]) -> Task {
    let task = home.command("hardkey").args(["token", command, "--module"]).arg(token.module_path());
    task.args(arguments).envs(token.environment())
}

#[test]
fn a_new_token_gets_a_key_that_logs_in() {
    if stock_cannot(MANAGE) {
        return;
    }
    let home = Home::new();
    let tokens = Tokens::new(&home);
    let before = tokens.list();
    assert!(before.contains("not initialised"), "{before}");
    let made = tokens.init("work").succeeds();
    assert!(made.stdout.starts_with("pkcs11:token=work;serial="), "{}", made.report());
    let key = tokens.key("laptop", &[]);
    assert!(key.line().starts_with("ssh-ed25519 "), "the best that the token makes: {}", key.line());
    let agent = tokens.agent();
    assert_eq!(agent.comments(), ["laptop"]);
    let sshd = Sshd::start(&home, [&key]);
    sshd.login(&agent, &key).succeeds();
    sshd.accepted(&key);
}

#[test]
fn every_kind_of_key_is_made_and_signs() {
    if stock_cannot(MANAGE) {
        return;
    }
    let home = Home::new();
    let tokens = Tokens::with_one(&home);
    let kinds = ["ed25519", "ecdsa-p256", "ecdsa-p384", "rsa2048", "rsa3072"];
    let keys = kinds.map(|kind| tokens.key(kind, &["-t", kind]));
    let agent = tokens.agent();
    for (kind, key) in kinds.iter().zip(&keys) {
        agent.signs(key).run().succeeds();
        let shown = home.command("ssh-keygen").args(["-l", "-f"]).arg(key.path()).run().succeeds().stdout;
        assert!(shown.contains(&format!(" {kind} (")), "{shown}");
    }
    // Ids are given one after the other, and nothing leaves the token.
    let objects =
        home.command("pkcs11-tool").arg("--module").arg(Tokens::library()).args(["-O", "--login", "--pin", PIN]);
    let objects = objects.env("SOFTHSM2_CONF", &tokens.configuration).run().succeeds().stdout;
    assert_eq!(objects.matches("never extractable").count(), kinds.len(), "{objects}");
    for id in ["01", "02", "03", "04", "05"] {
        assert!(objects.contains(&format!("ID:         {id}\n")), "{id} in {objects}");
    }
}

#[test]
fn a_list_tells_what_there_is_and_how_the_pins_are() {
    if stock_cannot(MANAGE) {
        return;
    }
    let home = Home::new();
    let tokens = Tokens::with_one(&home);
    tokens.key("laptop", &[]);
    let listed = tokens.hardkey("list").arg("--json").run().succeeds().stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let work = listed.as_array().expect("a list").iter().find(|token| token["token"] == "work").expect("the token");
    assert_eq!((&work["keys"], &work["pin"], &work["so_pin"]), (&1.into(), &"ok".into(), &"ok".into()));
    assert!(work["makes"].as_array().expect("kinds").contains(&"ed25519".into()), "{work}");
    let refused = tokens.hardkey("keygen").args(["--label", "x"]).input("wrong\n").run().fails();
    assert!(refused.stderr.contains("refused the PIN: one try is spent; few are left"), "{}", refused.report());
    let line = tokens.list().lines().find(|line| line.starts_with("work ")).expect("the token").to_owned();
    assert!(line.contains("  low "), "{line}");
}

#[test]
fn a_token_with_keys_is_erased_only_after_its_label_was_typed() {
    if stock_cannot(MANAGE) {
        return;
    }
    let home = Home::new();
    let tokens = Tokens::with_one(&home);
    let key = tokens.key("laptop", &[]);
    let init = |input: String| tokens.hardkey("init").args(["--token", "work", "--label", "new"]).input(input).run();
    let refused = init(lines(&["yes", SO_PIN, PIN, PIN])).fails();
    assert!(refused.stderr.contains("laptop") && refused.stderr.contains(key.fingerprint()), "{}", refused.report());
    let wrong = init(lines(&["work", "wrong so pin", PIN, PIN])).fails();
    assert!(wrong.stderr.contains("refused the SO PIN: one try is spent"), "{}", wrong.report());
    assert_eq!(tokens.agent().comments(), ["laptop"], "nothing was lost");
    init(lines(&["work", SO_PIN, PIN, PIN])).succeeds();
    let listed = tokens.list();
    assert!(listed.starts_with("TOKEN") && !listed.contains("work "), "{listed}");
    let line = listed.lines().find(|line| line.starts_with("new ")).expect("the token");
    assert!(line.contains(" 0 "), "{line}");
}

#[test]
fn an_id_is_never_used_twice() {
    if stock_cannot(MANAGE) {
        return;
    }
    let home = Home::new();
    let tokens = Tokens::with_one(&home);
    tokens.key("first", &["--id", "a1ff"]);
    let refused = tokens.keygen(&["--label", "second", "--id", "a1ff"]).fails();
    assert!(refused.stderr.contains("has a key with this id already: first  SHA256:"), "{}", refused.report());
    // Whatever has the id counts, also what shows only after the login.
    let tool =
        home.command("pkcs11-tool").arg("--module").arg(Tokens::library()).env("SOFTHSM2_CONF", &tokens.configuration);
    let data = home.file("data", "text");
    let secret =
        ["--login", "--pin", PIN, "--private", "--type", "secrkey", "--key-type", "AES:16", "--id", "b2", "--keygen"];
    tool.args(secret).arg("--application-label").arg(data).run().succeeds();
    let refused = tokens.keygen(&["--label", "third", "--id", "b2"]).fails();
    assert!(refused.stderr.contains("something on it has the id b2 already"), "{}", refused.report());
    for id in ["", "1", "xyz"] {
        let refused = tokens.keygen(&["--label", "third", "--id", id]).fails();
        assert!(refused.stderr.contains("is not an id"), "{}", refused.report());
    }
    assert_eq!(tokens.agent().comments(), ["first"]);
}

#[test]
fn pins_are_changed_and_set_anew() {
    if stock_cannot(MANAGE) {
        return;
    }
    let home = Home::new();
    let tokens = Tokens::with_one(&home);
    let change =
        |arguments: &[&str], input: &[&str]| tokens.hardkey("change-pin").args(arguments).input(lines(input)).run();
    let wrong = change(&[], &["wrong", "another", "another"]).fails();
    assert!(wrong.stderr.contains("refused the PIN: one try is spent"), "{}", wrong.report());
    change(&[], &[PIN, "another", "other"]).fails();
    let short = change(&[], &[PIN, "123", "123"]).fails();
    assert!(short.stderr.contains("has to have 4 to 255 characters; nothing was changed"), "{}", short.report());
    change(&[], &[PIN, "another", "another"]).succeeds();
    change(&[], &["another", PIN, PIN]).succeeds();
    change(&["--so"], &[SO_PIN, "new so pin", "new so pin"]).succeeds();
    let unblock = |so_pin: &str| tokens.hardkey("unblock").input(lines(&[so_pin, "another", "another"])).run();
    unblock(SO_PIN).fails();
    unblock("new so pin").succeeds();
    change(&[], &["another", PIN, PIN]).succeeds();
}

#[test]
fn pins_come_from_files_that_nobody_else_reads() {
    if stock_cannot(MANAGE) {
        return;
    }
    let home = Home::new();
    let tokens = Tokens::new(&home);
    let (so_pin, pin) = (home.file("so-pin", lines(&[SO_PIN])), home.file("pin", lines(&[PIN])));
    let files = |task: Task| task.arg("--so-pin-file").arg(&so_pin).arg("--new-pin-file").arg(&pin);
    files(tokens.hardkey("init").args(["--label", "work"])).run().succeeds();
    tokens.hardkey("keygen").args(["--label", "laptop", "--pin-file"]).arg(&pin).run().succeeds();
    files(tokens.hardkey("unblock")).run().succeeds();
    let open = home.file("open", lines(&[PIN]));
    fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("chmod");
    let refused = tokens.hardkey("keygen").args(["--label", "x", "--pin-file"]).arg(open).run().fails();
    assert!(refused.stderr.contains("others may read it; chmod 600 it"), "{}", refused.report());
}

#[test]
fn a_running_agent_forgets_the_old_pin_and_shows_the_new_key() {
    if stock_cannot(MANAGE) {
        return;
    }
    let home = Home::new();
    let tokens = Tokens::with_one(&home);
    let key = tokens.key("first", &[]);
    let agent = tokens.agent();
    agent.signs(&key).run().succeeds();
    let socket = agent.socket().to_owned();
    let hardkey = |command: &str| tokens.hardkey(command).env("SSH_AUTH_SOCK", &socket);
    hardkey("keygen").args(["--label", "second"]).input(lines(&[PIN])).run().succeeds();
    let both = |shown: Vec<String>| shown.len() == 2 && shown.contains(&"second".to_owned());
    assert!(until(SOON, || both(agent.comments())), "{:?}", agent.comments());
    let changed = hardkey("change-pin").input(lines(&[PIN, "another", "another"])).run().succeeds();
    assert!(changed.stderr.contains("agent has forgotten the PINs"), "{}", changed.report());
    home.file("pin", "another");
    agent.signs(&key).run().succeeds();
}

#[test]
fn what_cannot_be_meant_is_told_and_changes_nothing() {
    if stock_cannot(MANAGE) {
        return;
    }
    let home = Home::new();
    let tokens = Tokens::new(&home);
    let says = |outcome: Outcome, text: &str| {
        let outcome = outcome.fails();
        assert!(outcome.stderr.contains(text), "no {text:?}: {}", outcome.report());
    };
    says(tokens.keygen(&["--label", "x"]), "no token is there; insert it, or make one with `hardkey token init`");
    says(tokens.init(&"x".repeat(33)), "--label has 1 to 32 octets");
    says(tokens.hardkey("init").args(["--label", "x"]).run(), "standard input is not a terminal");
    tokens.init("one").succeeds();
    tokens.init("two").succeeds();
    says(tokens.keygen(&["--label", "x"]), "several tokens could be meant; name one with --token:\n  \"");
    says(tokens.keygen(&["--label", "x", "--token", "three"]), "no token matches \"three\"");
    says(tokens.keygen(&["--label", "x", "--token", "pkcs11:tokn=one"]), "attribute \"tokn\" is not known");
    says(tokens.keygen(&["--label", "x", "--token", "one", "-t", "dsa"]), "invalid value 'dsa'");
    says(tokens.keygen(&["--label", "", "--token", "one"]), "--label has 1 to 64 octets");
    says(tokens.hardkey("keygen").args(["--label", "x", "--token", "one"]).run(), "no PIN was given");
    let missing = home.command("hardkey").args(["token", "list", "--module", "/nonexistent.so"]).run();
    says(missing, "/nonexistent.so: No such file");
    let no_module = home.command("hardkey").args(["token", "list", "--module"]).arg(&tokens.configuration).run();
    says(no_module, "it is not a library for this machine");
    says(home.command("hardkey").args(["token", "list"]).run(), "no PKCS#11 module is known");
    tokens.keygen(&["--label", "x", "--token", "pkcs11:token=two"]).succeeds();
}

#[test]
fn a_pin_is_presented_once_and_the_final_try_only_after_a_yes() {
    if stock_cannot(MANAGE) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    token.set("token pin-count 3");
    let change = |input: &[&str]| faulty(&home, &token, "change-pin", &[]).input(lines(input)).run();
    for (answers, told) in [
        (&["wrong", "another", "another"][..], "one try is spent"),
        (&["wrong", "another", "another"], "one try is spent; the next wrong one locks it"),
    ] {
        token.forget_calls();
        let refused = change(answers).fails();
        assert!(refused.stderr.contains(told), "{}", refused.report());
        assert_eq!((token.calls.count("C_Login"), token.calls.count("C_SetPIN")), (1, 0));
    }
    token.forget_calls();
    let unattended = faulty(&home, &token, "change-pin", &["--pin-file"]).arg(token.token().pin_file());
    let refused = unattended.input(lines(&["another", "another"])).run().fails();
    assert!(refused.stderr.contains("so one from a file is not tried"), "{}", refused.report());
    let declined = change(&["no", PIN, "another", "another"]).fails();
    assert!(declined.stderr.contains("One try is left"), "{}", declined.report());
    assert_eq!(token.calls.count("C_Login"), 0);
    let locked = change(&["yes", "wrong", "another", "another"]).fails();
    assert!(
        locked.stderr.contains("refused the PIN, and it is locked now: `hardkey token unblock`"),
        "{}",
        locked.report()
    );
    token.forget_calls();
    let locked = change(&[PIN, "another", "another"]).fails();
    assert!(locked.stderr.contains("the PIN of token \"hardkey-test\" is locked"), "{}", locked.report());
    assert_eq!(token.calls.count("C_Login"), 0);
}

#[test]
fn a_read_only_token_is_left_alone() {
    if stock_cannot(MANAGE) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    token.set("token write-protected");
    for (command, arguments) in
        [("keygen", &["--label", "x"][..]), ("init", &["--token", "hardkey-test", "--label", "x"])]
    {
        let refused = faulty(&home, &token, command, arguments).input(lines(&[PIN])).run().fails();
        assert!(refused.stderr.contains("read-only"), "{}", refused.report());
    }
    assert_eq!((token.calls.count("C_Login"), token.calls.count("C_InitToken")), (0, 0));
}

#[test]
fn a_key_that_is_being_made_is_waited_for_unless_one_insists() {
    if stock_cannot(MANAGE) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    for insists in [false, true] {
        token.set("C_GenerateKeyPair hold");
        token.forget_calls();
        let keygen = faulty(&home, &token, "keygen", &["--label", "made", "--pin-file"]).arg(token.token().pin_file());
        let mut keygen = keygen.start(if insists { "insisting" } else { "waiting" });
        assert!(until(SOON, || token.calls.count("C_GenerateKeyPair") == 1), "{}", home.logs());
        signal(keygen.pid(), Signal::INT);
        keygen.wait_for_log("Interrupt once more", SOON);
        if insists {
            signal(keygen.pid(), Signal::INT);
            assert_eq!(keygen.ends(SOON).code(), Some(1));
            assert!(keygen.log().contains("what the token made of it is not known"), "{}", keygen.log());
        } else {
            token.clear();
            assert!(keygen.ends(Duration::from_secs(10)).success(), "{}", keygen.log());
        }
    }
    token.clear();
    let listed = faulty(&home, &token, "list", &[]).run().succeeds().stdout;
    assert!(listed.lines().any(|line| line.starts_with("hardkey-test") && line.contains(" 2 ")), "{listed}");
}

#[test]
fn a_module_that_crashes_over_a_pin_leaves_no_doubt_about_the_doubt() {
    if stock_cannot(MANAGE) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    token.set("C_SetPIN crash");
    let crashed = faulty(&home, &token, "change-pin", &[]).input(lines(&[PIN, "another", "another"])).run().fails();
    assert!(crashed.stderr.contains("Whether it was done"), "{}", crashed.report());
    assert!(!crashed.stderr.contains(PIN), "{}", crashed.report());
}

/// A certificate of a key on a token, from an authority of the test's own.
fn certificate(home: &Home, key: &PublicKey, name: &str) -> PathBuf {
    let pem = home.command("ssh-keygen").args(["-e", "-m", "PKCS8", "-f"]).arg(key.path()).run().succeeds().stdout;
    let public = home.file("public.pem", pem);
    let ca = home.path("ca.pem");
    let authority =
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=ca"];
    home.command("openssl")
        .args(authority)
        .arg("-keyout")
        .arg(home.path("ca.key"))
        .arg("-out")
        .arg(&ca)
        .run()
        .succeeds();
    let file = home.path(format!("{name}.pem"));
    let sign = home.command("openssl").args(["x509", "-new", "-subj", &format!("/CN={name}"), "-force_pubkey"]);
    sign.arg(public).arg("-CA").arg(&ca).arg("-CAkey").arg(home.path("ca.key")).arg("-out").arg(&file).run().succeeds();
    file
}

#[test]
fn a_certificate_goes_beside_its_key_and_replaces_another_only_after_a_yes() {
    if stock_cannot(MANAGE) {
        return;
    }
    let home = Home::new();
    let tokens = Tokens::with_one(&home);
    let key = tokens.key("laptop", &["-t", "ecdsa-p256"]);
    let import = |file: &PathBuf, input: &[&str]| tokens.hardkey("import-cert").arg(file).input(lines(input)).run();
    let (first, second) = (certificate(&home, &key, "first"), certificate(&home, &key, "second"));
    import(&first, &[PIN]).succeeds();
    let again = import(&first, &[]).succeeds();
    assert!(again.stderr.contains("is on token \"work\" already"), "{}", again.report());
    let declined = import(&second, &["no", PIN]).fails();
    assert!(declined.stderr.contains("The certificate CN=first of the key laptop"), "{}", declined.report());
    import(&second, &["yes", PIN]).succeeds();
    let objects = || {
        let tool = home.command("pkcs11-tool").arg("--module").arg(Tokens::library());
        tool.args(["-O", "--type", "cert"]).env("SOFTHSM2_CONF", &tokens.configuration).run().succeeds().stdout
    };
    let shown = objects();
    assert!(shown.contains("CN=second") && !shown.contains("CN=first"), "{shown}");
    assert_eq!(tokens.agent().comments(), ["laptop"], "one key, not two");

    let other = tokens.key("other", &["-t", "ecdsa-p256"]);
    let authority = home.path("ca.pem");
    let openssh = home.file("openssh-cert.pub", format!("{}\n", other.line()));
    let garbage = home.file("garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    for (file, told) in [
        (authority, "that of an authority"),
        (openssh, "it is OpenSSH's, which tokens do not store"),
        (garbage, "it is not an X.509 certificate"),
    ] {
        let refused = import(&file, &[PIN]).fails();
        assert!(refused.stderr.contains(told), "{}", refused.report());
    }
    assert_eq!(objects(), shown);
}
