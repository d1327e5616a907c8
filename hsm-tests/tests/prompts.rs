//! Where and how people are asked: the real programs on real screens and terminals, and what happens when they are broken.

use std::time::{Duration, Instant};

use hsm_tests::{
    Agent, AgentBuilder, Answer, Askpass, Body, Bus, Client, Display, FaultyToken, Home, Key, KeyFile, Module, Pane,
    Pinentry, SOON, Token, is_alive, kill, until,
};

/// A key in the agent that is used with consent only.
fn careful_key(home: &Home, agent: &Agent) -> KeyFile {
    let key = KeyFile::new(home, "careful");
    let request = Body::new(Client::ADD_CONSTRAINED).raw(&key.as_added()).raw(&[2]).bytes();
    assert!(agent.client().succeeds(&request));
    key
}

/// An agent that finds no dialog program by itself, and knows no screen.
fn bare(home: &Home) -> AgentBuilder {
    Agent::with(home).as_stock().env("PATH", home.path("bin")).env("SSH_ASKPASS", "/nonexistent/askpass")
}

#[test]
fn a_yes_that_comes_before_anybody_could_read_is_asked_again() {
    let home = Home::new();
    let pinentry = Pinentry::new(&home, &[Answer::Slip, Answer::Ok]);
    let agent = Agent::with(&home).as_stock().pinentry(&pinentry).start();
    let key = careful_key(&home, &agent).public().blob();
    assert!(agent.client().sign(&key, b"data", 0).is_some(), "{}", agent.log());
    assert_eq!(pinentry.confirms_asked(), 2);
    let texts = pinentry.descriptions();
    assert!(!texts[0].contains("Shown again") && texts[1].contains("Shown again"), "{texts:?}");

    pinentry.answers(&[Answer::Slip, Answer::Slip, Answer::Slip, Answer::Ok]);
    assert!(agent.client().sign(&key, b"data", 0).is_none());
    assert_eq!(pinentry.confirms_asked(), 5, "somebody who never reads is not asked for ever");
}

#[test]
fn a_broken_pinentry_is_named_and_gives_way_to_what_works() {
    let home = Home::new();
    let askpass = home.program("works", "#!/bin/sh\n/bin/sleep 0.8\n");
    let broken = [
        ("missing", None, "No such file"),
        ("crashes", Some("#!/bin/sh\nkill -9 $$\n"), "ended without an answer"),
        ("talks", Some("#!/bin/sh\necho '<html>'\n"), "not Assuan"),
        ("hangs", Some("#!/bin/sh\nexec /bin/sleep 100\n"), "did not answer within"),
        (
            "refuses",
            Some("#!/bin/sh\necho OK\nwhile read -r line; do echo 'ERR 83918950 Inappropriate ioctl'; done\n"),
            "Inappropriate",
        ),
        (
            "dies",
            Some("#!/bin/sh\necho OK\nwhile read -r w; do case $w in CONFIRM*) exit;; esac; echo OK; done\n"),
            "ended",
        ),
    ];
    for (name, script, complaint) in broken {
        let program = script.map_or_else(|| home.path(name), |script| home.program(name, script));
        let line = format!("pinentry = \"{}\"", program.display());
        let agent = bare(&home).named(name).prompt(&line).start();
        let key = KeyFile::new(&home, &format!("key-{name}"));
        let request = Body::new(Client::ADD_CONSTRAINED).raw(&key.as_added()).raw(&[2]).bytes();
        assert!(agent.client().succeeds(&request));
        assert!(agent.client().sign(&key.public().blob(), b"data", 0).is_none(), "{name}: consent was assumed");
        assert!(agent.log().contains(complaint), "{name}\n{}", agent.log());
        drop(agent);

        let agent = bare(&home)
            .named(&format!("{name}-2"))
            .prompt(&line)
            .env("DISPLAY", ":77")
            .env("SSH_ASKPASS", &askpass)
            .start();
        assert!(agent.client().succeeds(&request));
        assert!(agent.client().sign(&key.public().blob(), b"data", 0).is_some(), "{name}\n{}", agent.log());
    }
}

#[test]
fn a_container_names_neither_the_screen_nor_the_terminal_on_which_the_person_is_asked() {
    assert!(rustix::process::getuid().is_root(), "a container takes root");
    let home = Home::new();
    let pinentry = Pinentry::new(&home, &[Answer::Ok; 3]);
    let script = std::fs::read_to_string(pinentry.program()).expect("the program");
    let notes = script.replace("next_answer() {", "next_answer() {\n    note \"# on ${DISPLAY-none}\"");
    home.program("pinentry/pinentry", notes);
    let agent = Agent::with(&home).as_stock().pinentry(&pinentry).env("DISPLAY", ":71").start();
    let key = careful_key(&home, &agent);
    let inside = ["--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc"];
    for (options, screen) in [(None, ":72"), (Some(&inside[..]), ":71"), (Some(&["--pid", "--fork"]), ":71")] {
        let task = match options {
            Some(options) => agent.command("unshare").args(options).args(["ssh-add", "-T"]),
            None => agent.ssh_add(["-T"]),
        };
        let asked = || std::fs::read_to_string(home.path("pinentry/log")).unwrap_or_default();
        let before = asked().len();
        task.arg(key.public().path()).env("DISPLAY", ":72").run().succeeds();
        assert!(asked()[before..].contains(&format!("# on {screen}\n")), "{options:?}: {}", &asked()[before..]);
    }

    let agent = bare(&home).named("bare").start();
    assert!(agent.client().succeeds(&Body::new(Client::ADD_CONSTRAINED).raw(&key.as_added()).raw(&[2]).bytes()));
    let test = format!("unshare --pid --fork ssh-add -T '{}'", key.public().path().display());
    let pane = Pane::running(&home, &agent, &test);
    assert_ne!(pane.status().as_deref(), Some("0"), "{}", pane.screen());
    assert!(agent.log().contains("no dialog can be shown"), "{}", agent.log());
}

/// Long enough after a question appeared that an answer is meant.
fn read_it() {
    std::thread::sleep(Duration::from_millis(900));
}

#[test]
fn a_question_stands_on_the_terminal_of_the_program_that_asks() {
    let home = Home::new();
    let agent = bare(&home).start();
    let key = careful_key(&home, &agent);
    let pane = Pane::testing(&home, &agent, key.public().path());
    let screen = pane.shows("Enter denies:");
    eprintln!("{}", screen.trim_end());
    assert!(screen.contains("Allow use of key careful?"));
    pane.types(&["yes", "Enter"]);
    assert_eq!(pane.status().as_deref(), Some("0"), "{}", agent.log());

    for (typed, why) in [("Enter", "nothing"), ("C-d", "the end of input"), ("C-c", "an interrupt")] {
        let pane = Pane::testing(&home, &agent, key.public().path());
        pane.shows("Enter denies:");
        pane.types(&[typed]);
        assert_ne!(pane.status().as_deref(), Some("0"), "{why} is not a yes");
    }
}

#[test]
fn a_terminal_that_vanishes_takes_its_question_along() {
    let home = Home::new();
    let mut agent = bare(&home).start();
    let key = careful_key(&home, &agent);
    let pane = Pane::testing(&home, &agent, key.public().path());
    pane.shows("Enter denies:");
    pane.close();
    assert!(!agent.has_ended());
    assert_eq!(agent.client().list().expect("a list").len(), 1);
    assert!(pane.status().is_none_or(|status| status != "0"));
}

#[test]
fn a_pin_typed_on_a_terminal_is_not_shown() {
    let home = Home::new();
    let token = Token::new(&home, "work", &[Key::P256]);
    let agent = bare(&home).module(Module::of(&token).pin_asked()).start();
    let pane = Pane::testing(&home, &agent, token.public(Key::P256).path());
    pane.shows("PIN:");
    pane.types(&[token.pin(), "Enter"]);
    assert_eq!(pane.status().as_deref(), Some("0"), "{}", agent.log());
    assert!(!pane.shows("PIN:").contains(token.pin()));
    assert!(!agent.log().contains(token.pin()));
}

#[test]
fn the_real_pinentry_curses_draws_where_the_person_is() {
    let home = Home::new();
    let token = Token::new(&home, "work", &[Key::P256]);
    let agent = Agent::with(&home)
        .as_stock()
        .prompt("pinentry = \"/usr/bin/pinentry-curses\"")
        .module(Module::of(&token).pin_asked())
        .start();
    let key = careful_key(&home, &agent);
    let pane = Pane::testing(&home, &agent, key.public().path());
    let screen = pane.shows("<Allow>");
    eprintln!("{}", screen.trim_end());
    assert!(screen.contains("Allow use of key careful?") && screen.contains("<Deny>"), "{screen}");
    read_it();
    pane.types(&["Tab", "Enter"]);
    assert_eq!(pane.status().as_deref(), Some("0"), "{}", agent.log());

    let pane = Pane::testing(&home, &agent, token.public(Key::P256).path());
    eprintln!("{}", pane.shows("<OK>").trim_end());
    pane.types(&[token.pin(), "Enter"]);
    assert_eq!(pane.status().as_deref(), Some("0"), "{}", agent.log());
}

const GTK: &str = "pinentry = \"/usr/bin/pinentry-gtk-2\"";

#[test]
fn the_real_pinentry_gtk_opens_on_the_askers_screen_and_goes_with_its_client() {
    let home = Home::new();
    let token = Token::new(&home, "work", &[Key::P256]);
    // The agent itself was started where there is no screen.
    let agent = Agent::with(&home).as_stock().prompt(GTK).module(Module::of(&token).pin_asked()).start();
    let key = careful_key(&home, &agent);
    let display = Display::start(&home);
    let test =
        |key: &std::path::Path, log: &str| agent.ssh_add(["-T"]).arg(key).env("DISPLAY", display.name()).start(log);

    let mut asking = test(key.public().path(), "confirm");
    let window = display.window("hardkey");
    read_it();
    display.press(&window, &["Tab", "Return"]);
    assert!(asking.ends(SOON).success(), "{}", agent.log());

    for no in ["Return", "Escape"] {
        let mut asking = test(key.public().path(), no);
        let window = display.window("hardkey");
        read_it();
        display.press(&window, &[no]);
        assert!(!asking.ends(SOON).success(), "{no} is not a yes");
    }

    let asking = test(key.public().path(), "killed");
    let _window = display.window("hardkey");
    let list = |client: &mut Client| assert_eq!(client.list().expect("a list").len(), 2);
    let mut other = agent.client();
    let start = Instant::now();
    (0..50).for_each(|_| list(&mut other));
    let with = start.elapsed();
    let killed = Instant::now();
    kill(asking.pid());
    assert!(until(Duration::from_secs(1), || !display.has_window("hardkey")), "the dialog outlives its client");
    eprintln!("the dialog was gone {:?} after its client", killed.elapsed());
    let start = Instant::now();
    (0..50).for_each(|_| list(&mut other));
    let without = start.elapsed();
    eprintln!(
        "50 lists with a dialog open: {with:?}, without: {without:?}, ratio {:.2}",
        with.as_secs_f64() / without.as_secs_f64()
    );

    let mut asking = test(token.public(Key::P256).path(), "pin");
    let window = display.window("hardkey");
    display.picture("pin.png");
    display.types(&window, token.pin());
    display.press(&window, &["Return"]);
    assert!(asking.ends(SOON).success(), "{}", agent.log());
}

#[test]
fn a_real_notification_daemon_asks_by_buttons_and_tells_what_is_waited_for() {
    let home = Home::new();
    let display = Display::start(&home);
    let bus = Bus::start(&home, "bus");
    // dunst shows buttons by a menu program: this one presses the button that a file names.
    let menu = home.program("menu", format!("#!/bin/sh\ngrep \"^#$(cat '{}') \"\n", home.path("press").display()));
    let settings = home.file("dunstrc", format!("[global]\ndmenu = {}\n", menu.display()));
    let desktop = [("DISPLAY", display.name()), ("DBUS_SESSION_BUS_ADDRESS", bus.address())];
    let mut dunst =
        home.command("dunst").arg("-config").arg(settings).args(["-verbosity", "info"]).envs(desktop).start("dunst");
    let agent = bare(&home).env("SSH_ASKPASS_REQUIRE", "never").env("XDG_RUNTIME_DIR", home.path("elsewhere")).start();
    let key = careful_key(&home, &agent);
    let waiting = || {
        let count = home.command("dunstctl").args(["count", "displayed"]).envs(desktop).run();
        count.stdout.trim().parse::<u32>().unwrap_or(0)
    };
    assert!(until(SOON, || home.command("dunstctl").args(["count", "displayed"]).envs(desktop).run().code() == Some(0)));
    for (button, allowed) in [("Allow", true), ("Deny", false)] {
        home.file("press", button);
        let mut asking = agent.ssh_add(["-T"]).arg(key.public().path()).envs(desktop).start(button);
        assert!(until(SOON, || waiting() == 1), "{}", agent.log());
        read_it();
        if allowed {
            display.picture("notification.png");
        }
        home.command("dunstctl").arg("context").envs(desktop).run().succeeds();
        assert_eq!(asking.ends(SOON).success(), allowed, "{button}\n{}", agent.log());
        assert!(until(SOON, || waiting() == 0), "the notification outlives its answer");
    }
    let asking = agent.ssh_add(["-T"]).arg(key.public().path()).envs(desktop).start("killed");
    assert!(until(SOON, || waiting() == 1), "{}", agent.log());
    kill(asking.pid());
    assert!(until(SOON, || waiting() == 0), "the notification outlives its client");

    // One that is there and never answers is given up, and no consent.
    hsm_tests::signal(dunst.pid(), hsm_tests::Signal::STOP);
    agent.ssh_add(["-T"]).arg(key.public().path()).envs(desktop).run().fails();
    assert!(agent.log().contains("notification daemon"), "{}", agent.log());
    kill(dunst.pid());
    let _ = dunst.ends(SOON);
    assert!(is_alive(agent.pid()));
}

#[test]
fn a_token_that_is_silent_is_named_until_it_answers_or_its_client_goes() {
    let home = Home::new();
    let token = FaultyToken::new(&home, "work", &[Key::P256]);
    let askpass = Askpass::new(&home, &[]);
    let agent = Agent::with(&home).module(token.module()).envs(askpass.environment()).start();
    agent.signs(token.public(Key::P256)).run().succeeds();
    let is_shown = || {
        let folder = std::fs::read_dir(home.path("askpass")).expect("the askpass");
        let pipes: Vec<_> = folder.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        let pids = pipes
            .iter()
            .filter_map(|name| name.strip_prefix("notice.")?.parse().ok())
            .filter_map(hsm_tests::Pid::from_raw);
        pids.into_iter().any(is_alive)
    };
    token.set("C_Sign hold");
    let mut waiting = agent.signs(token.public(Key::P256)).start("waiting");
    assert!(until(SOON, is_shown), "{}", agent.log());
    let text = askpass.notices().pop().expect("a notice");
    assert!(text.starts_with("Waiting for token \"hardkey-test\", key \"p256\", to sign data"), "{text}");
    token.clear();
    assert!(waiting.ends(SOON).success());
    assert!(until(SOON, || !is_shown()), "the notice outlives the signature");

    token.set("C_Sign hold");
    let waiting = agent.signs(token.public(Key::P256)).start("killed");
    assert!(until(SOON, is_shown), "{}", agent.log());
    kill(waiting.pid());
    assert!(until(SOON, || !is_shown()), "the notice outlives its client");
    token.clear();
}
