//! `hardkey prompts`: questions that are answered in any terminal of the user.

mod attacks;
mod modules;

use std::time::{Duration, Instant};

use hsm_tests::{
    Agent, AgentBuilder, Answer, Background, Body, Client, Home, Key, KeyFile, Module, Pane, Pinentry, SOON, Sshd,
    Token, agent_binary, is_alive, kill, stock_cannot, until,
};

const COMMAND: &str = "be asked in another terminal";
/// What a shell runs around a viewer, which tells how it ended.
const VIEWER: &str = "trap : INT; hardkey prompts; echo \"left with $?\"; exec sleep 1000";
/// The line at which an answer is awaited.
const READY: &str = "Enter denies:";

/// An agent that finds no screen and no dialog program.
fn bare(home: &Home) -> AgentBuilder {
    Agent::with(home).as_stock().env("PATH", home.path("bin")).env("SSH_ASKPASS", "/nonexistent/askpass")
}

/// A key in the agent that is used with consent only.
fn careful_key(home: &Home, agent: &Agent) -> KeyFile {
    let key = KeyFile::new(home, "careful");
    let request = Body::new(Client::ADD_CONSTRAINED).raw(&key.as_added()).raw(&[2]).bytes();
    assert!(agent.client().succeeds(&request));
    key
}

/// An agent without any place to ask, and a key that is to be asked about.
fn scene() -> Option<(Home, Agent, KeyFile)> {
    if stock_cannot(COMMAND) {
        return None;
    }
    let home = Home::new();
    let agent = bare(&home).start();
    let key = careful_key(&home, &agent);
    Some((home, agent, key))
}

/// A terminal of the same user in which `hardkey prompts` waits for questions.
fn viewer(home: &Home, agent: &Agent, name: &str) -> Pane {
    let pane = Pane::with(home, name, VIEWER, |task| task.env("SSH_AUTH_SOCK", agent.socket()));
    pane.shows("Ctrl-C leaves.");
    pane
}

/// A program without a terminal that asks for a signature.
fn asking(agent: &Agent, key: &KeyFile, log: &str) -> Background {
    agent.ssh_add(["-T"]).arg(key.public().path()).start(log)
}

#[test]
fn a_question_is_answered_in_another_terminal() {
    let Some((home, agent, key)) = scene() else { return };
    assert!(!asking(&agent, &key, "before").ends(SOON).success(), "nobody is there to be asked");
    assert!(agent.log().contains("run hardkey prompts"), "{}", agent.log());

    let pane = viewer(&home, &agent, "viewer");
    let mut first = asking(&agent, &key, "first");
    let screen = pane.shows(READY);
    eprintln!("{}", screen.trim_end());
    assert!(screen.contains("Allow use of key careful?\nKey fingerprint "), "{screen}");
    let mut second = asking(&agent, &key, "second");
    assert!(until(SOON, || waiting(&agent) == 2));
    pane.types(&["yes", "Enter"]);
    assert!(first.ends(SOON).success(), "{}", agent.log());
    pane.shows("hardkey: allowed");

    assert!(until(SOON, || pane.screen().matches(READY).count() == 2));
    pane.types(&["Enter"]);
    assert!(!second.ends(SOON).success(), "Enter is not a yes");
    pane.shows("hardkey: denied");

    let mut third = asking(&agent, &key, "third");
    assert!(until(SOON, || pane.screen().matches(READY).count() == 3));
    pane.types(&["C-c"]);
    pane.shows("left with 0");
    assert!(!third.ends(SOON).success(), "nobody is left to be asked");
    assert!(agent.log().contains("nobody runs hardkey prompts any more"), "{}", agent.log());
}

/// How many questions wait, by `hardkey prompts --json`.
fn waiting(agent: &Agent) -> usize {
    listed(agent).len()
}

fn listed(agent: &Agent) -> Vec<serde_json::Value> {
    let listed = agent.command("hardkey").args(["prompts", "--json"]).run().succeeds().stdout;
    serde_json::from_str(&listed).expect("a list in JSON")
}

#[test]
fn a_question_that_stands_tells_how_many_wait_and_leaves_what_is_typed_alone() {
    let Some((home, agent, key)) = scene() else { return };
    let pane = viewer(&home, &agent, "viewer");
    let mut first = asking(&agent, &key, "first");
    pane.shows("  1 waiting; Enter denies:");
    pane.types(&["ye"]);
    pane.shows("  1 waiting; Enter denies: ye");
    let second = asking(&agent, &key, "second");
    pane.shows("  2 waiting; Enter denies: ye");
    kill(second.pid());
    let screen = pane.shows("  1 waiting; Enter denies: ye");
    assert_eq!(screen.matches("Allow use of key").count(), 1, "it was asked anew: {screen}");
    pane.types(&["s", "Enter"]);
    assert!(first.ends(SOON).success(), "{}\n{}", pane.screen(), agent.log());
}

#[test]
fn questions_are_listed_without_being_answered() {
    let Some((home, agent, key)) = scene() else { return };
    let list = || agent.command("hardkey").args(["prompts", "--list"]).run().succeeds().stdout;
    assert_eq!(list(), "no questions\n");
    let pane = viewer(&home, &agent, "viewer");
    let mut asking = asking(&agent, &key, "asking");
    pane.shows(READY);
    let listed = list();
    assert!(
        listed.starts_with("-- question, waits for ") && listed.contains("\nAllow use of key careful?\n"),
        "{listed}"
    );
    pane.types(&["yes", "Enter"]);
    assert!(asking.ends(SOON).success());
    assert_eq!(list(), "no questions\n");
    // Without a terminal there is nobody to answer.
    let blind = agent.command("setsid").args(["-w", "hardkey", "prompts"]).run().fails();
    assert!(blind.stderr.contains("in the foreground of one"), "{}", blind.report());
}

#[test]
fn what_is_typed_before_anybody_could_have_read_the_question_is_no_answer() {
    let Some((home, agent, key)) = scene() else { return };
    let pane = viewer(&home, &agent, "viewer");
    // On a busy machine the words may come too late to come too early.
    let came_early = (0..20).any(|_| {
        pane.types(&["yes", "Enter"]);
        let start = Instant::now();
        let asking = asking(&agent, &key, "asking");
        pane.shows("Allow use of key careful?");
        pane.types(&["yes", "Enter"]);
        let typed = start.elapsed();
        if typed >= Duration::from_millis(700) {
            kill(asking.pid());
            pane.types(&["C-l"]);
            return false;
        }
        pane.shows(READY);
        assert!(start.elapsed() >= Duration::from_millis(700), "armed after {:?}", start.elapsed());
        // Nothing else is awaited that could tell that the words were thrown away.
        std::thread::sleep(Duration::from_millis(300));
        assert!(is_alive(asking.pid()) && waiting(&agent) == 1, "{}", pane.screen());
        true
    });
    assert!(came_early);
}

#[test]
fn the_first_answer_counts_and_takes_the_question_from_everywhere_else() {
    if stock_cannot(COMMAND) {
        return;
    }
    let home = Home::new();
    let pinentry = Pinentry::new(&home, &[Answer::Hang; 4]);
    let agent = Agent::with(&home).as_stock().pinentry(&pinentry).start();
    let key = careful_key(&home, &agent);
    let (one, other) = (viewer(&home, &agent, "one"), viewer(&home, &agent, "other"));
    // Everybody sees the question before it is answered.
    let shown_everywhere = |count: usize| {
        for pane in [&one, &other] {
            assert!(until(SOON, || pane.screen().matches(READY).count() == count), "{}", pane.screen());
        }
        assert!(until(SOON, || pinentry.confirms_asked() == count && pinentry.is_open()));
    };
    let withdrawn = |pane: &Pane, count: usize| {
        let words = || pane.screen().matches("answered elsewhere or withdrawn").count();
        assert!(until(SOON, || words() == count), "{}", pane.screen());
    };
    for (count, (words, allowed)) in (1..).zip([("yes", true), ("no", false)]) {
        let mut asking = asking(&agent, &key, words);
        shown_everywhere(count);
        one.types(&[words, "Enter"]);
        assert_eq!(asking.ends(SOON).success(), allowed, "{words}\n{}", agent.log());
        assert!(until(SOON, || !pinentry.is_open()), "the dialog outlives the answer");
        withdrawn(&other, count);
    }
    for (count, (answer, allowed)) in (1..).zip([(Answer::Ok, true), (Answer::No, false)]) {
        let mut asking = asking(&agent, &key, "by-pinentry");
        shown_everywhere(2 + count);
        pinentry.decides(answer);
        assert_eq!(asking.ends(SOON).success(), allowed);
        withdrawn(&one, count);
        withdrawn(&other, 2 + count);
    }
}

#[test]
fn a_question_goes_at_once_with_the_program_that_asks() {
    let Some((home, agent, key)) = scene() else { return };
    let pane = viewer(&home, &agent, "viewer");
    let asking = asking(&agent, &key, "asking");
    pane.shows(READY);
    kill(asking.pid());
    let killed = Instant::now();
    pane.shows("answered elsewhere or withdrawn");
    eprintln!("the question was gone {:?} after its client", killed.elapsed());
    assert!(killed.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_pin_is_typed_unseen_and_never_reaches_the_shell() {
    if stock_cannot(COMMAND) {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "work", &[Key::P256]);
    let agent = bare(&home).module(Module::of(&token).pin_asked()).start();
    let test = |log: &str| agent.ssh_add(["-T"]).arg(token.public(Key::P256).path()).start(log);
    // A shell with jobs, as people have it.
    let script = "exec bash --norc --noprofile";
    let pane =
        Pane::with(&home, "viewer", script, |task| task.env("SSH_AUTH_SOCK", agent.socket()).env("PS1", "shell> "));
    // Only what is new is to be found on the screen.
    let on_a_clear_screen = |command: &str| {
        pane.types(&["clear", "Enter"]);
        assert!(until(SOON, || pane.screen().trim() == "shell>"), "{}", pane.screen());
        pane.types(&[command, "Enter"]);
    };
    let prompts = || {
        on_a_clear_screen("hardkey prompts");
        pane.shows("Ctrl-C leaves.");
    };
    pane.shows("shell>");
    prompts();
    // The client goes while the PIN is being typed, and the person types on and then leaves.
    let gone = test("gone");
    pane.shows("PIN:");
    pane.types(&["echo 12"]);
    kill(gone.pid());
    pane.shows("withdrawn");
    pane.types(&["345", "Enter"]);
    pane.types(&["C-c"]);
    pane.shows("shell>");
    pane.types(&["echo here", "Enter"]);
    let screen = pane.shows("here\n");
    assert!(!screen.contains("345") && !screen.contains("echo 12"), "{screen}");

    // Ctrl-Z gives the terminal back as it was, and the question is there again afterwards.
    prompts();
    let mut asking = test("asking");
    pane.shows("PIN:");
    pane.types(&["C-z"]);
    pane.shows("Stopped");
    pane.types(&["echo visible", "Enter"]);
    pane.shows("\nvisible\n");
    on_a_clear_screen("fg");
    pane.shows("PIN:");
    pane.types(&[token.pin(), "Enter"]);
    assert!(asking.ends(SOON).success(), "{}\n{}", pane.screen(), agent.log());
    let screen = pane.shows("the PIN was passed on");
    eprintln!("{}", screen.trim_end());
    assert!(!screen.contains(token.pin()) && !agent.log().contains(token.pin()));
}

/// A home with the place where an agent is found without `SSH_AUTH_SOCK`: that of the one named `hardkey/agent`.
fn with_usual_place() -> Home {
    let home = Home::new();
    for folder in ["run/hardkey", "hardkey", "log/hardkey"] {
        home.directory(folder);
    }
    home
}

/// What a login has in its environment.
fn environment(home: &Home) -> String {
    format!("SetEnv XDG_RUNTIME_DIR={} HOME={}", home.path("run").display(), home.path("home").display())
}

#[test]
fn whoever_logs_in_from_elsewhere_finds_the_agent_of_this_machine() {
    if stock_cannot(COMMAND) {
        return;
    }
    let home = with_usual_place();
    let agent = bare(&home).named("hardkey/agent").start();
    let away = bare(&home).named("away").start();
    let carried = KeyFile::new(&home, "carried");
    let sshd = Sshd::with(&home, "sshd", [carried.public()], &environment(&home));
    let key = careful_key(&home, &agent);
    let log_in = |options: &str| {
        format!(
            "exec ssh -tt {options} -F {} -i {} box 'stty sane; {} prompts; echo \"left with $?\"; sleep 1000'",
            sshd.client_configuration().display(),
            carried.path().display(),
            agent_binary().display()
        )
    };
    // With and without another machine's agent at hand: its own refuses what comes from here.
    for (name, options) in [("plain", ""), ("forwarding", "-A")] {
        let pane = Pane::with(&home, name, &log_in(options), |task| task.env("SSH_AUTH_SOCK", away.socket()));
        let screen = pane.shows("Ctrl-C leaves.");
        assert!(screen.contains("run/hardkey/agent.sock"), "{screen}");
        let mut asking = asking(&agent, &key, name);
        pane.shows(READY);
        pane.types(&["yes", "Enter"]);
        assert!(asking.ends(SOON).success(), "{}\n{}", pane.screen(), agent.log());
        pane.close();
    }
}

#[test]
fn whatever_is_asked_of_the_agent_finds_it_at_its_usual_place() {
    if stock_cannot(COMMAND) {
        return;
    }
    let home = with_usual_place();
    let commands: [&[&str]; 4] = [&["approvals"], &["explain"], &["release"], &["prompts", "--list"]];
    let run =
        |arguments: &[&str], named: &str| home.command("hardkey").args(arguments).env("SSH_AUTH_SOCK", named).run();
    for arguments in commands {
        let nobody = run(arguments, "").fails();
        assert!(nobody.stderr.contains("none listens at the usual place"), "{}", nobody.report());
    }
    let _agent = bare(&home).named("hardkey/agent").start();
    for arguments in commands {
        for named in ["", "/nonexistent/agent.sock"] {
            run(arguments, named).succeeds();
        }
    }
}
