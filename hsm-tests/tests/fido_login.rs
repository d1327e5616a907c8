//! Logins with security keys from end to end: real firmware, a real `sshd`, a person who touches, declines, pulls the plug or walks away.

use std::time::Duration;

use hsm_tests::{Agent, Answer, Askpass, Background, FidoKey, Home, KeyFile, Sshd, UsbPorts, stock_cannot, until};

const PIN: &str = "246810";

/// How long anything may take that a person waits for.
const SOON: Duration = Duration::from_secs(15);

struct Desk {
    home: Home,
    ports: UsbPorts,
    device: FidoKey,
    askpass: Askpass,
    agent: Agent,
}

impl Desk {
    /// A security key of a kind, plugged in, and an agent; a person who is asked has these answers.
    fn with(kind: &str, answers: &[Answer<'_>]) -> Self {
        let home = Home::new();
        let ports = UsbPorts::new(&home);
        let device = ports.kind_of_key("device", kind);
        device.plug();
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

    fn server(&self, name: &str, keys: &[&KeyFile]) -> Sshd {
        Sshd::with(&self.home, name, keys.iter().map(|key| key.public()), "")
    }

    /// A login in the background.
    fn begins_login(&self, name: &str, sshd: &Sshd, key: &KeyFile) -> Background {
        let identity = ["-o", "IdentitiesOnly=yes", "-i"];
        self.agent.ssh(sshd).args(identity).arg(key.public().path()).args(["box", "true"]).start(name)
    }

    fn waits_for_touch(&self) {
        self.device.asks();
        assert!(until(SOON, || self.notices_are_open()), "there is a notice: {:?}", self.askpass.notices());
    }

    /// Beside the workers only notices are children of the agent.
    fn notices_are_open(&self) -> bool {
        let children = hsm_tests::children(self.agent.pid());
        children.len() > self.agent.workers().len()
    }

    /// Nothing is left of any request: no worker, no notice.
    fn is_tidy(&self) {
        let tidy = until(SOON, || hsm_tests::children(self.agent.pid()).is_empty());
        assert!(tidy, "something is left\n{}", self.agent.log());
    }
}

#[test]
fn signatures_verify_as_those_of_the_person_that_the_key_belongs_to() {
    let desk = Desk::with("", &[]);
    for kind in ["ed25519-sk", "ecdsa-sk"] {
        let key = desk.ports.keygen(kind, &["-t", kind], PIN);
        desk.agent.ssh_add([key.path()]).run().succeeds();
        let message = desk.home.file("home/message", "a message");
        let sign = desk.agent.command("ssh-keygen").args(["-q", "-Y", "sign", "-n", "test", "-f"]);
        sign.arg(key.public().path()).arg(message).run().succeeds();
        let signers = desk.home.file("home/signers", format!("ada@example.org {}\n", key.public().line()));
        let verify = |text: &str| {
            let verify =
                desk.home.command("ssh-keygen").args(["-Y", "verify", "-n", "test", "-I", "ada@example.org", "-f"]);
            verify.arg(&signers).arg("-s").arg(desk.home.path("home/message.sig")).input(text).run()
        };
        verify("a message").succeeds();
        verify("another message").fails();
        std::fs::remove_file(desk.home.path("home/message.sig")).expect("remove the signature");
    }
}

#[test]
fn keys_that_are_enrolled_here_log_in_by_stock_ssh_agent() {
    if stock_cannot("enrol keys by hardkey") {
        return;
    }
    let desk = Desk::with("", &[]);
    desk.device.set_pin(PIN, "/dev/hidraw0".as_ref());
    // The one of the package is setgid, and would not see the ports.
    let stock = desk.home.path("bin/stock-agent");
    std::fs::create_dir_all(desk.home.path("bin"))
        .and_then(|()| std::fs::copy("/usr/bin/ssh-agent", &stock).map(drop))
        .expect("a copy");
    let socket = desk.home.path("run/stock.sock");
    let askpass = desk.ports.pin_in_dialogs(PIN);
    let _stock = desk.ports.command(stock).args(["-D", "-a"]).arg(&socket).envs(askpass).start("stock-agent");
    assert!(until(SOON, || socket.exists()), "{}", desk.home.logs());
    for (name, arguments) in [
        ("plain", &["-t", "ed25519-sk"][..]),
        ("verified", &["-t", "ecdsa-sk", "--verify-required"]),
        ("resident", &["--resident"]),
    ] {
        let path = desk.home.path("home").join(name);
        let enroll = desk.ports.command(hsm_tests::agent_binary()).args(["fido", "enroll", "-f"]).arg(&path);
        enroll.args(arguments).input(format!("{PIN}\n")).run().succeeds();
        let key = KeyFile::at(&desk.home, path);
        let sshd = desk.server(&format!("server-{name}"), &[&key]);
        let add = desk.home.command("ssh-add").env("SSH_AUTH_SOCK", &socket);
        add.arg(key.path()).run().succeeds();
        let login = desk.home.command("ssh").env("SSH_AUTH_SOCK", &socket).arg("-F").arg(sshd.client_configuration());
        login.args(["-o", "IdentitiesOnly=yes", "-i"]).arg(key.public().path()).args(["box", "true"]).run().succeeds();
        sshd.accepted(key.public());
    }
}

#[test]
fn three_logins_at_once_take_turns_and_each_costs_one_touch() {
    let desk = Desk::with("", &[]);
    let key = desk.key(&["-t", "ed25519-sk"]);
    let sshd = desk.server("server", &[&key]);
    let touches = desk.device.count("touched");
    desk.device.presence("after 300");
    let mut logins = ["one", "two", "three"].map(|name| desk.begins_login(name, &sshd, &key));
    for login in &mut logins {
        assert!(login.ends(Duration::from_secs(30)).success(), "{}\n{}", login.log(), desk.agent.log());
    }
    assert_eq!(desk.device.count("touched") - touches, 3);
    assert_eq!(desk.device.count("cancel"), 0, "{:?}", desk.device.log());
    desk.is_tidy();
}

#[test]
fn a_login_that_is_interrupted_takes_its_notice_with_it_and_the_device_stops_blinking() {
    let desk = Desk::with("", &[]);
    let key = desk.key(&["-t", "ed25519-sk"]);
    let sshd = desk.server("server", &[&key]);
    desk.device.presence("never");
    let login = desk.begins_login("login", &sshd, &key);
    desk.waits_for_touch();
    hsm_tests::signal(login.pid(), hsm_tests::Signal::INT);
    desk.device.wait_for("getAssertion 2d");
    desk.is_tidy();
    assert!(!desk.device.is_asking());
    desk.device.presence("now");
    sshd.login(&desk.agent, key.public()).succeeds();
}

#[test]
fn a_device_that_is_pulled_out_while_it_blinks_ends_the_login_and_the_notice() {
    let desk = Desk::with("", &[]);
    let key = desk.key(&["-t", "ecdsa-sk"]);
    let sshd = desk.server("server", &[&key]);
    desk.device.presence("never");
    let mut login = desk.begins_login("login", &sshd, &key);
    desk.waits_for_touch();
    desk.device.unplug();
    assert!(!login.ends(SOON).success());
    desk.is_tidy();
    desk.device.plug();
    desk.device.presence("now");
    sshd.login(&desk.agent, key.public()).succeeds();
}

#[test]
fn of_two_devices_with_one_key_both_blink_the_touched_one_signs_and_the_other_is_cancelled() {
    let desk = Desk::with("opensk", &[]);
    let key = desk.key(&["-t", "ed25519-sk"]);
    let other = desk.ports.copy_of_key("other", &desk.device);
    other.plug();
    other.presence("never");
    desk.device.presence("never");
    let sshd = desk.server("server", &[&key]);
    let mut login = desk.begins_login("login", &sshd, &key);
    desk.device.asks();
    other.asks();
    other.press();
    assert!(login.ends(SOON).success(), "{}", desk.agent.log());
    assert_eq!((other.count("touched"), other.count("getAssertion 00")), (1, 1));
    desk.device.wait_for("getAssertion 2d");
    let end: Vec<_> = desk.device.log().into_iter().rev().take(3).collect();
    assert_eq!(end, ["getAssertion 2d", "cancelled", "cancel"], "told to stop, it stopped");
    desk.is_tidy();
    // From now on the one that signed is asked alone.
    let asked = desk.device.count("asks");
    other.presence("now");
    sshd.login(&desk.agent, key.public()).succeeds();
    assert_eq!(desk.device.count("asks"), asked);
}

#[test]
fn of_two_devices_that_blink_a_no_on_one_is_a_no() {
    let desk = Desk::with("opensk", &[]);
    let key = desk.key(&["-t", "ed25519-sk"]);
    let other = desk.ports.copy_of_key("other", &desk.device);
    other.plug();
    other.presence("never");
    desk.device.presence("never");
    let mut signs = desk.agent.signs(key.public()).start("signs");
    desk.device.asks();
    other.asks();
    desk.device.presence("denied");
    assert!(!signs.ends(SOON).success());
    other.wait_for("getAssertion 2d");
    assert!(desk.agent.log().contains("declined on the device"), "{}", desk.agent.log());
    desk.is_tidy();
}

#[test]
fn a_forwarded_login_is_asked_about_before_the_device_blinks() {
    if stock_cannot("tell forwarded requests") {
        return;
    }
    let desk = Desk::with("", &[Answer::No, Answer::Ok]);
    let key = desk.key(&["-t", "ed25519-sk"]);
    let way = Way::new(&desk, &key);
    let asked = desk.device.count("asks");
    assert!(!way.goes_on(&desk, &key).ends(SOON).success());
    assert_eq!(desk.device.count("asks"), asked, "after a no nobody has to touch anything");
    assert_eq!(desk.askpass.notices(), [""; 0]);

    desk.device.presence("never");
    let mut login = way.goes_on(&desk, &key);
    desk.waits_for_touch();
    assert!(until(SOON, || desk.askpass.notices().len() == 1), "what the notice says is written down");
    desk.device.press();
    assert!(login.ends(SOON).success(), "{}\n{}", login.log(), desk.agent.log());
    way.target.accepted(key.public());
    let questions = desk.askpass.questions();
    assert_eq!(questions.len(), 2, "{questions:?}");
    for question in &questions {
        for words in
            ["FORWARDED REQUEST", "via   box (verified)", "at hostb (host key checked)", "Allow use of key key?"]
        {
            assert!(question.contains(words), "{words} is not in {question}");
        }
    }
    assert_eq!(desk.askpass.notices().len(), 1);
    desk.is_tidy();
}

#[test]
fn a_forwarded_login_with_verification_asks_for_consent_and_then_for_the_pin() {
    if stock_cannot("tell forwarded requests") {
        return;
    }
    let desk = Desk::with("", &[Answer::Ok, Answer::Type(PIN)]);
    desk.device.set_pin(PIN, "/dev/hidraw0".as_ref());
    let key = desk.key(&["-t", "ecdsa-sk", "-O", "verify-required"]);
    let way = Way::new(&desk, &key);
    let touches = desk.device.count("touched");
    assert!(way.goes_on(&desk, &key).ends(SOON).success(), "{}", desk.agent.log());
    let questions = desk.askpass.questions();
    assert!(questions[0].contains("FORWARDED REQUEST") && questions[1].contains("Enter the PIN"), "{questions:?}");
    assert_eq!((questions.len(), desk.device.count("touched") - touches), (2, 1));
    desk.is_tidy();
}

#[test]
fn a_hop_that_is_gone_takes_its_question_and_its_touch_with_it() {
    if stock_cannot("tell forwarded requests") {
        return;
    }
    let desk = Desk::with("", &[Answer::Ok]);
    let key = desk.key(&["-t", "ed25519-sk"]);
    let way = Way::new(&desk, &key);
    desk.device.presence("never");
    let login = way.goes_on(&desk, &key);
    desk.waits_for_touch();
    hsm_tests::kill(login.pid());
    desk.device.wait_for("getAssertion 2d");
    desk.is_tidy();
}

/// From here to `hosta` with the agent forwarded, and from there to `hostb` with the security key.
struct Way {
    first: Sshd,
    target: Sshd,
    /// Opens the first door, so that the security key is asked for the second alone.
    carried: KeyFile,
}

impl Way {
    fn new(desk: &Desk, key: &KeyFile) -> Self {
        let carried = KeyFile::new(&desk.home, "carried");
        let (first, target) = (desk.server("hosta", &[&carried]), desk.server("hostb", &[key]));
        // Where the person's own ssh knows hosts from.
        let known = [("hosta", &first), ("hostb", &target)];
        let known = known.map(|(name, host)| format!("{name} {}\n", host.host_key().public().line()));
        desk.home.file("hosta/known_hosts", known.concat());
        Self { first, target, carried }
    }

    fn goes_on(&self, desk: &Desk, key: &KeyFile) -> Background {
        let onward = format!(
            "ssh -F {} -o IdentitiesOnly=yes -i {} box true",
            self.target.client_configuration().display(),
            key.public().path().display()
        );
        let first = desk.agent.ssh(&self.first).args(["-A", "-o", "IdentitiesOnly=yes", "-i"]);
        first.arg(self.carried.path()).args(["box", &onward]).start("way")
    }
}
