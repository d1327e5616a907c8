//! What ends when the person leaves: with a screen that is locked, or a machine that sleeps.

use std::io::Write as _;
use std::time::Duration;

use hsm_tests::{
    Agent, AgentBuilder, Answer, Background, Bus, Home, Key, KeyFile, Logind, Module, Pinentry, SOON, Said, Token,
    stock_cannot, until, until_some,
};

const COMMAND: &str = "notice a locked screen";
const RULES: &str =
    "[[key]]\nmatch = 'work'\nname = 'work'\n[[key.rule]]\naction = ['confirm']\ncache = { time = '10m', count = 20 }";

/// A person who gives longer approvals and PINs, and the agent that remembers them.
struct Desk {
    home: Home,
    agent: Agent,
    pinentry: Pinentry,
    token: Token,
    _shell: Background,
}

/// Leads the terminal session in which the person works. Whoever runs the tests may lead his own from where it cannot be seen.
const SHELL: &str = r#"while read -r file <commands; do
    echo text | ssh-keygen -q -Y sign -n file -f "$file" >signature
    echo $? >status.new && mv status.new status
done"#;

impl Desk {
    fn new(prepare: impl FnOnce(AgentBuilder) -> AgentBuilder) -> Self {
        let home = Home::new();
        let token = Token::new(&home, "token", &[Key::P256]);
        let pinentry = Pinentry::new(&home, &[Answer::Type(token.pin()); 20]);
        // Its third button, which offers the longer yes, is the one that is pressed.
        let script = std::fs::read_to_string(pinentry.program()).expect("the pinentry");
        let generous =
            script.replace("CONFIRM*) dialog confirm ;;", "CONFIRM*) sleep 0.8; say 'ERR 83886194 Not confirmed' ;;");
        home.program("pinentry/pinentry", generous.replace("D scripted", "D gtk2"));
        let agent = Agent::with(&home).pinentry(&pinentry).line(RULES).module(Module::of(&token).pin_asked());
        let agent = prepare(agent.env("DBUS_SYSTEM_BUS_ADDRESS", Bus::address_of(&home, "system"))).start();
        let key = KeyFile::new(&home, "work");
        agent.ssh_add(["-q"]).arg(key.path()).run().succeeds();
        home.file("work.pub", format!("{} work\n", key.public().line()));
        home.command("mkfifo").arg("commands").directory(home.path("")).run().succeeds();
        let shell = agent.command("setsid").args(["--wait", "sh", "-c", SHELL]).directory(home.path("")).start("shell");
        Self { home, agent, pinentry, token, _shell: shell }
    }

    /// Signs with the key that is asked about, and with the token.
    fn works(&self) {
        let commands = std::fs::OpenOptions::new().write(true).open(self.home.path("commands"));
        writeln!(commands.expect("the shell"), "{}", self.home.path("work.pub").display()).expect("the shell reads");
        let status = self.home.path("status");
        let told = until_some(SOON, || std::fs::read_to_string(&status).ok());
        assert_eq!(told.as_deref(), Some("0\n"), "{}", self.home.logs());
        std::fs::remove_file(status).expect("forget how it went");
        self.agent.signs(self.token.public(Key::P256)).run().succeeds();
    }

    /// How many dialogs for a yes, and for a PIN, have been shown.
    fn asked(&self) -> (usize, usize) {
        (self.pinentry.confirms_asked(), self.pinentry.pins_asked())
    }

    fn noticed(&self, text: &str) -> usize {
        self.agent.log().matches(text).count()
    }
}

const LOCKED: &str = "the screen was locked; PINs and approvals are forgotten";
const SLEEPS: &str = "the machine is about to sleep; PINs and approvals are forgotten";

#[test]
fn approvals_and_pins_end_with_a_locked_screen_and_before_sleep() {
    if stock_cannot(COMMAND) {
        return;
    }
    let desk = Desk::new(|agent| agent);
    desk.works();
    desk.works();
    assert_eq!(desk.asked(), (1, 1), "{}", desk.home.logs());
    let bus = Bus::start(&desk.home, "system");
    let logind = Logind::start(&bus);
    assert!(until(SOON, || logind.delays() == 1), "the agent has not found the bus\n{}", desk.agent.log());
    let ends =
        [(Said::Lock(1), LOCKED, 1), (Said::LockedHint(1, true), LOCKED, 2), (Said::PrepareForSleep(true), SLEEPS, 1)];
    for (at, (said, notice, times)) in ends.into_iter().enumerate() {
        logind.says(said);
        assert!(until(SOON, || desk.noticed(notice) == times), "{said:?}\n{}", desk.agent.log());
        desk.works();
        desk.works();
        assert_eq!(desk.asked(), (2 + at, 2 + at), "{said:?}\n{}", desk.agent.log());
    }
    let audit = std::fs::read_to_string(desk.home.path("state/hardkey/audit.jsonl")).expect("the log");
    assert!(audit.contains("\"reason\":\"the screen was locked\""), "{audit}");
    assert!(audit.contains("\"reason\":\"the machine is about to sleep\""), "{audit}");
}

/// An agent that listens to the stand-in of logind.
struct Scene {
    home: Home,
    bus: Bus,
    logind: Logind,
    agent: Agent,
}

fn scene() -> Option<Scene> {
    if stock_cannot(COMMAND) {
        return None;
    }
    let home = Home::new();
    let bus = Bus::start(&home, "system");
    let logind = Logind::start(&bus);
    let agent = Agent::with(&home).env("DBUS_SYSTEM_BUS_ADDRESS", Bus::address_of(&home, "system")).start();
    assert!(until(SOON, || logind.delays() == 1), "{}", agent.log());
    Some(Scene { home, bus, logind, agent })
}

#[test]
fn sleep_waits_until_the_pins_are_forgotten() {
    let Some(Scene { home: _home, bus: _bus, logind, agent }) = scene() else { return };
    for sleep in 1..=2 {
        assert!(until(SOON, || logind.delays() == 1), "{}", agent.log());
        logind.says(Said::PrepareForSleep(true));
        assert!(until(SOON, || logind.delays() == 0), "it keeps the machine awake");
        assert_eq!(agent.log().matches(SLEEPS).count(), sleep, "the machine may sleep before the PINs are forgotten");
        logind.says(Said::PrepareForSleep(false));
    }
}

#[test]
fn other_users_screens_and_other_programs_words_end_nothing() {
    let Some(Scene { home, bus, logind, agent }) = scene() else { return };
    let address = Bus::address_of(&home, "system");
    logind.says(Said::Lock(2));
    logind.says(Said::LockedHint(2, true));
    logind.says(Said::LockedHint(1, false));
    // To everybody, and to the agent itself.
    let to_agent = format!("--dest={}", logind.clients()[0]);
    let signals = [
        &["/org/freedesktop/login1/session/_31", "org.freedesktop.login1.Session.Lock"][..],
        &["/org/freedesktop/login1", "org.freedesktop.login1.Manager.PrepareForSleep", "boolean:true"],
        &[
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus.NameOwnerChanged",
            "string:org.freedesktop.login1",
            "string:",
            "string:",
        ],
    ];
    for destination in [None, Some(&to_agent)] {
        for signal in signals {
            let spoofed = home.command("dbus-send").arg(format!("--bus={address}")).arg("--type=signal");
            spoofed.args(destination).args(signal).run().succeeds();
        }
    }
    // What was said before has been heard when the agent has found another logind.
    drop(logind);
    let logind = Logind::start(&bus);
    assert!(until(SOON, || logind.delays() == 1), "{}", agent.log());
    assert!(!agent.log().contains(LOCKED) && !agent.log().contains(SLEEPS), "{}", agent.log());
    logind.says(Said::Lock(1));
    assert!(until(SOON, || agent.log().contains(LOCKED)), "{}", agent.log());
}

#[test]
fn a_bus_or_logind_that_goes_and_comes_back_is_found_again() {
    if stock_cannot(COMMAND) {
        return;
    }
    let home = Home::new();
    let address = Bus::address_of(&home, "system");
    let agent = Agent::with(&home).env("DBUS_SYSTEM_BUS_ADDRESS", &address).start();
    let mut locks = 0;
    for _ in 0..2 {
        assert_eq!(agent.client().list().expect("a list").len(), 0);
        let bus = Bus::start(&home, "system");
        for _ in 0..2 {
            let logind = Logind::start(&bus);
            // The pause between two looks grows while there is no bus.
            assert!(until(Duration::from_secs(20), || logind.delays() == 1), "{}", agent.log());
            logind.says(Said::Lock(1));
            locks += 1;
            assert!(until(SOON, || agent.log().matches(LOCKED).count() == locks), "{}", agent.log());
        }
    }
}

#[test]
fn a_bus_that_never_answers_disturbs_nobody() {
    if stock_cannot(COMMAND) {
        return;
    }
    let home = Home::new();
    let silent = std::os::unix::net::UnixListener::bind(home.path("run/system")).expect("a socket");
    let addresses = [Bus::address_of(&home, "system"), "unixexec:path=/bin/false".into(), "nonsense".into()];
    for (name, address) in ["silent", "program", "nonsense"].into_iter().zip(addresses) {
        let agent = Agent::with(&home).named(name).env("DBUS_SYSTEM_BUS_ADDRESS", &address).start();
        (0..100).for_each(|_| assert_eq!(agent.client().list().expect("a list").len(), 0));
    }
    drop(silent);
}

/// The real one, which is root and has its files in `/run/systemd`: here with a folder there of its own, in which one session is written down.
fn real_logind(home: &Home, address: &str) -> Background {
    let own = if rustix::process::getuid().is_root() { "--fork" } else { "--map-root-user" };
    let script = "set -e
mount -t tmpfs none /run/systemd
mkdir /run/systemd/system /run/systemd/sessions /run/systemd/users /run/systemd/seats /run/systemd/inhibit
printf 'NAME=tester\\nSTATE=active\\n' >/run/systemd/users/$1
printf 'UID=%s\\nUSER=tester\\nACTIVE=1\\nSTATE=active\\nTYPE=x11\\nCLASS=user\\nSCOPE=session-1.scope\\nLEADER=%s\\n' $1 $2 >/run/systemd/sessions/1
exec /lib/systemd/systemd-logind";
    let user = rustix::process::getuid().as_raw().to_string();
    let task = home.command("unshare").args(["--mount", own, "--kill-child", "sh", "-c", script, "sh", &user]);
    task.arg(std::process::id().to_string())
        .env("DBUS_SYSTEM_BUS_ADDRESS", address)
        .env("SYSTEMD_LOG_TARGET", "console")
        .start("logind")
}

#[test]
fn a_real_logind_tells_of_its_locks_and_waits_for_the_agent_before_sleep() {
    if stock_cannot(COMMAND) {
        return;
    }
    let home = Home::new();
    let _bus = Bus::start(&home, "system");
    let address = Bus::address_of(&home, "system");
    let agent = Agent::with(&home).env("DBUS_SYSTEM_BUS_ADDRESS", &address).start();
    let _logind = real_logind(&home, &address);
    let ask = |program: &str, arguments: &[&str]| {
        home.command(program).args(arguments).env("DBUS_SYSTEM_BUS_ADDRESS", &address).run()
    };
    let inhibitors = || ask("systemd-inhibit", &["--list", "--no-pager", "--no-legend"]).stdout;
    let waits =
        |list: String| list.lines().any(|line| ["hardkey", "sleep", "delay"].iter().all(|word| line.contains(word)));
    assert!(until(SOON, || waits(inhibitors())), "{}\n{}", inhibitors(), home.logs());
    let call = |path: &str, call: [&str; 2]| {
        let to = ["--system", "--print-reply", "--dest=org.freedesktop.login1", path];
        ask("dbus-send", &[&to[..], &call].concat()).succeeds();
    };
    call("/org/freedesktop/login1", ["org.freedesktop.login1.Manager.LockSession", "string:1"]);
    assert!(until(SOON, || agent.log().matches(LOCKED).count() == 1), "{}", agent.log());
    let session = "/org/freedesktop/login1/session/_31";
    call(session, ["org.freedesktop.login1.Session.SetLockedHint", "boolean:true"]);
    assert!(until(SOON, || agent.log().matches(LOCKED).count() == 2), "{}", agent.log());
}
