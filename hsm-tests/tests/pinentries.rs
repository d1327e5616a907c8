//! Real pinentry programs, of each kind that can be had: what Enter, Escape and closing the window say, and how a person says yes.

use std::path::Path;
use std::time::Duration;

use hsm_tests::{
    Agent, Answer, Background, Bus, Display, Home, Key, KeyFile, Module, Pane, Pinentry, SOON, Token, kill,
    stock_cannot, until, until_some,
};

const STRICT: &str = "judge where requests come from";

/// Long enough after a dialog appeared that an answer is meant.
fn read_it() {
    std::thread::sleep(Duration::from_millis(900));
}

/// An agent that asks by this program about every use of its one key.
struct Asking {
    home: Home,
    agent: Agent,
    key: KeyFile,
}

impl Asking {
    fn by(program: &str, lines: &str) -> Self {
        let home = Home::new();
        let agent = Agent::with(&home).line(lines).prompt(&format!("pinentry = '{program}'")).start();
        let key = KeyFile::new(&home, "careful");
        agent.ssh_add(["-q", "-c"]).arg(key.path()).run().succeeds();
        Self { home, agent, key }
    }

    fn public(&self) -> &Path {
        self.key.public().path()
    }

    /// Has the key tested by a program on a screen.
    fn test_on(&self, display: &Display, log: &str) -> Background {
        self.agent.ssh_add(["-T"]).arg(self.public()).env("DISPLAY", display.name()).start(log)
    }

    fn is_muted(&self) -> bool {
        self.agent.log().contains("are refused without a dialog for 10 minutes")
    }
}

/// The ways to make a window go away without reading it, and the one to a yes, by the keys that press "Allow".
fn only_a_chosen_allow_is_a_yes(program: &str, keys: &[&str]) {
    let asking = Asking::by(program, "");
    let display = Display::start(&asking.home);
    let answered = |log: &str, answer: &dyn Fn(&str)| {
        let mut testing = asking.test_on(&display, log);
        let window = display.window("hardkey");
        read_it();
        answer(&window);
        let allowed = testing.ends(SOON).success();
        assert!(until(SOON, || !display.has_window("hardkey")), "{log}: the window stays");
        allowed
    };
    assert!(!answered("enter", &|window| display.press(window, &["Return"])), "Enter said yes");
    assert!(!answered("escape", &|window| display.press(window, &["Escape"])), "Escape said yes");
    assert!(answered("allow", &|window| display.press(window, keys)), "{}", asking.agent.log());
    assert!(!answered("close", &|window| display.close(window)), "closing the window said yes");
    assert!(!asking.is_muted(), "{}", asking.agent.log());
}

#[test]
fn gtk_says_yes_by_its_allow_only() {
    if !stock_cannot(STRICT) {
        only_a_chosen_allow_is_a_yes("/usr/bin/pinentry-gtk-2", &["Tab", "Tab", "Return"]);
    }
}

#[test]
fn qt_says_yes_by_its_allow_only() {
    if !stock_cannot(STRICT) {
        only_a_chosen_allow_is_a_yes("/usr/bin/pinentry-qt", &["Tab", "Return"]);
    }
}

const GNOME: &str = "/usr/bin/pinentry-gnome3";

/// A person before GNOME's prompter, which the bus starts when it is wanted.
struct Prompted {
    asking: Asking,
    display: Display,
    bus: Bus,
}

impl Prompted {
    fn new() -> Self {
        let asking = Asking::by(GNOME, "");
        let display = Display::start(&asking.home);
        let bus = Bus::on_screen(&asking.home, "session", &display);
        Self { asking, display, bus }
    }

    fn test(&self, log: &str) -> Background {
        let desktop = [("DISPLAY", self.display.name()), ("DBUS_SESSION_BUS_ADDRESS", self.bus.address())];
        self.asking.agent.ssh_add(["-T"]).arg(self.asking.public()).envs(desktop).start(log)
    }

    /// The dialog that stands now, if it is another one than this.
    fn another(&self, before: &str) -> Option<String> {
        self.display.windows("hardkey").into_iter().find(|window| window != before)
    }

    /// Whether the key was used, when each dialog is treated as one of these does.
    fn allows(&self, log: &str, answers: &[&dyn Fn(&str)]) -> bool {
        let mut testing = self.test(log);
        let mut window = String::new();
        for answer in answers {
            let next = until_some(SOON, || self.another(&window));
            window = next.unwrap_or_else(|| panic!("{log}: no dialog\n{}", self.asking.home.logs()));
            read_it();
            answer(&window);
        }
        let allowed = testing.ends(SOON).success();
        assert!(until(SOON, || !self.display.has_window("hardkey")), "{log}: the window stays");
        allowed
    }
}

#[test]
fn gnome_says_yes_by_a_second_allow_and_by_no_key_that_is_pressed_again() {
    if stock_cannot(STRICT) {
        return;
    }
    let prompted = Prompted::new();
    let press = |keys: &'static [&'static str]| {
        let display = &prompted.display;
        move |window: &str| display.press(window, keys)
    };
    let (enter, escape, space) = (press(&["Return"]), press(&["Escape"]), press(&["space"]));
    let other = press(&["Tab", "Return"]);
    let close = |window: &str| prompted.display.close(window);
    assert!(!prompted.allows("enter", &[&enter]), "Enter said yes");
    assert!(!prompted.allows("space", &[&space]), "the space bar said yes");
    assert!(prompted.allows("allow", &[&other, &enter]), "{}", prompted.asking.agent.log());
    assert!(!prompted.allows("escape", &[&escape, &escape]), "Escape said yes");
    assert!(!prompted.allows("other", &[&other, &other]), "the second no said yes");
    assert!(prompted.allows("allow-again", &[&other, &enter]), "{}", prompted.asking.agent.log());
    assert!(!prompted.allows("close", &[&close, &close]), "closing the dialog said yes");

    let asking = prompted.test("killed");
    assert!(until(SOON, || prompted.display.has_window("hardkey")), "{}", prompted.asking.agent.log());
    kill(asking.pid());
    assert!(until(SOON, || !prompted.display.has_window("hardkey")), "the dialog outlives its client");
}

/// What GNOME's two buttons cannot tell apart is told by when they are pressed.
#[test]
fn escape_before_anybody_could_read_denies_in_gnome_and_brings_no_second_dialog() {
    if stock_cannot(STRICT) {
        return;
    }
    let home = Home::new();
    let pinentry = Pinentry::new(&home, &[Answer::Cancel, Answer::Ok]);
    let script = std::fs::read_to_string(pinentry.program()).expect("the program");
    home.program("pinentry/pinentry", script.replace("D scripted", "D gnome3"));
    let agent = Agent::with(&home).pinentry(&pinentry).start();
    let key = KeyFile::new(&home, "careful");
    agent.ssh_add(["-q", "-c"]).arg(key.path()).run().succeeds();
    agent.ssh_add(["-T"]).arg(key.public().path()).run().fails();
    assert_eq!(pinentry.confirms_asked(), 1, "{}", agent.log());
}

const CURSES: &str = "/usr/bin/pinentry-curses";

/// Has the key tested on a terminal, and presses these keys once the dialog shows the button.
fn answers(asking: &Asking, buttons: &str, keys: &[&str]) -> bool {
    let pane = Pane::testing(&asking.home, &asking.agent, asking.public());
    let screen = pane.shows(buttons);
    assert!(screen.contains("LOCAL REQUEST") && screen.contains("key   ED25519 in memory"), "{screen}");
    read_it();
    pane.types(keys);
    let allowed = pane.status().as_deref() == Some("0");
    pane.close();
    allowed
}

#[test]
fn curses_says_yes_by_its_allow_only() {
    if stock_cannot(STRICT) {
        return;
    }
    let asking = Asking::by(CURSES, "");
    let buttons = "<Deny>";
    assert!(!answers(&asking, buttons, &["Enter"]), "Enter said yes");
    assert!(!answers(&asking, buttons, &["Escape", "Enter"]), "Escape and Enter said yes");
    assert!(answers(&asking, buttons, &["Tab", "Enter"]), "{}", asking.agent.log());
    assert!(!asking.is_muted(), "{}", asking.agent.log());
    assert!(!answers(&asking, "<Deny and mute>", &["Tab", "Tab", "Enter"]));
    assert!(asking.is_muted(), "{}", asking.agent.log());
    asking.agent.ssh_add(["-T"]).arg(asking.public()).run().fails();
}

#[test]
fn a_graphical_pinentry_that_has_to_draw_on_a_terminal_says_no_by_enter_too() {
    if stock_cannot(STRICT) {
        return;
    }
    let asking = Asking::by("/usr/bin/pinentry-gtk-2", "");
    assert!(!answers(&asking, "<Deny>", &["Enter"]), "Enter said yes");
    assert!(answers(&asking, "<Deny>", &["Tab", "Enter"]), "{}", asking.agent.log());
}

#[test]
fn a_longer_yes_is_a_second_question_on_a_terminal() {
    if stock_cannot(STRICT) {
        return;
    }
    let rule = "[[rule]]\nkind = 'sshsig'\naction = 'confirm'\ncache = '10m'";
    let asking = Asking::by(CURSES, rule);
    // Not the key that is confirmed at each use.
    let key = KeyFile::new(&asking.home, "work");
    asking.agent.ssh_add(["-q"]).arg(key.path()).run().succeeds();
    let public = asking.home.file("work.pub", format!("{} work\n", key.public().line()));
    let sign = format!("ssh-keygen -q -Y sign -n file -f '{}' <'{0}' >/dev/null", public.display());
    for (keys, approvals) in [(["Enter"].as_slice(), 0), (&["Tab", "Enter"], 1)] {
        let pane = Pane::running(&asking.home, &asking.agent, &sign);
        let first = pane.shows("<Deny and mute>");
        assert!(first.contains("Allow 10 min: such signatures by ssh-keygen in this terminal session"), "{first}");
        read_it();
        pane.types(&["Tab", "Enter"]);
        pane.shows("<Only this once>");
        pane.shows("<Allow 10 min>");
        read_it();
        pane.types(keys);
        assert_eq!(pane.status().as_deref(), Some("0"), "{}", asking.agent.log());
        let listed = asking.agent.command("hardkey").args(["approvals", "--json"]).run().succeeds().stdout;
        assert_eq!(listed.matches("\"key\"").count(), approvals, "{listed}");
        pane.close();
    }
}

#[test]
fn a_terminal_too_small_for_the_dialog_gets_the_question_in_lines() {
    if stock_cannot(STRICT) {
        return;
    }
    let asking = Asking::by(CURSES, "");
    let pane =
        Pane::running(&asking.home, &asking.agent, &format!("sleep 1; ssh-add -T '{}'", asking.public().display()));
    pane.resize("60", "6");
    pane.shows("Enter denies:");
    pane.types(&["yes", "Enter"]);
    assert_eq!(pane.status().as_deref(), Some("0"), "{}", asking.agent.log());
}

#[test]
fn a_pin_is_typed_into_qt() {
    let home = Home::new();
    let token = Token::new(&home, "work", &[Key::P256]);
    let pinentry = "pinentry = '/usr/bin/pinentry-qt'";
    let agent = Agent::with(&home).as_stock().prompt(pinentry).module(Module::of(&token).pin_asked()).start();
    let display = Display::start(&home);
    let mut testing =
        agent.ssh_add(["-T"]).arg(token.public(Key::P256).path()).env("DISPLAY", display.name()).start("pin");
    let window = display.window("hardkey");
    display.types(&window, token.pin());
    display.press(&window, &["Return"]);
    assert!(testing.ends(SOON).success(), "{}", agent.log());
}
