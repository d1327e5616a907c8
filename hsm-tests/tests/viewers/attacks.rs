//! Viewers that are not what they should be, and clients that misuse them.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::*;
use hsm_tests::{Signal, signal};

const EXTENSION: &str = "prompts@hardkey.github.io";

fn request(content: &[u8]) -> Vec<u8> {
    Body::new(Client::EXTENSION).string(EXTENSION).raw(content).bytes()
}

fn watch() -> Vec<u8> {
    request(&Body::nothing().string("watch").raw(&[0; 8]).bytes())
}

fn yes(number: u64) -> Vec<u8> {
    request(&Body::nothing().string("answer").raw(&number.to_be_bytes()).string("allow").bytes())
}

#[test]
fn no_other_program_sees_or_answers_questions() {
    let Some((home, agent, key)) = scene() else { return };
    let mut other = agent.client();
    let refused = Some(vec![Client::EXTENSION_FAILURE]);
    for request in [watch(), request(&Body::nothing().string("list").bytes()), yes(1)] {
        assert_eq!(other.ask(&request), refused);
    }
    assert!(!asking(&agent, &key, "nobody").ends(SOON).success(), "who was turned away is nobody to be asked");

    let pane = viewer(&home, &agent, "viewer");
    let asking = asking(&agent, &key, "asking");
    pane.shows(READY);
    (0..20).for_each(|number| assert_eq!(other.ask(&yes(number)), refused));
    assert!(is_alive(asking.pid()), "somebody else's yes counted");
    assert_eq!(waiting(&agent), 1);
    // What is out of form is refused as well, and the connection goes on.
    for content in [&b""[..], b"\0\0\0\x06answer", b"\0\0\0\x05watch", b"\xff\xff\xff\xff"] {
        assert_eq!(other.ask(&request(content)), Some(vec![Client::FAILURE]));
    }
    assert_eq!(other.list().expect("a list").len(), 1);
}

#[test]
fn no_relay_and_no_forwarded_session_sees_or_answers_questions() {
    if stock_cannot(COMMAND) {
        return;
    }
    let home = Home::new();
    let agent =
        bare(&home).line("[[listen.extra]]\npath = \"%t/box.sock\"\nlabel = \"box\"\norigin = \"forwarded\"").start();
    let key = careful_key(&home, &agent);
    let carried = KeyFile::new(&home, "carried");
    let sshd = Sshd::with(&home, "sshd", [carried.public()], &environment(&home));
    let relay = home.path("run/relay.sock");
    let listen = format!("UNIX-LISTEN:{},fork", relay.display());
    let _relay =
        home.command("socat").arg(listen).arg(format!("UNIX-CONNECT:{}", agent.socket().display())).start("socat");
    assert!(until(SOON, || relay.exists()));
    let refused = |socket: &Path, name: &str| {
        let pane = Pane::with(&home, name, VIEWER, |task| task.env("SSH_AUTH_SOCK", socket));
        let screen = pane.shows("left with 1");
        assert!(screen.contains("to hardkey on its own machine only"), "{screen}");
    };
    refused(&relay, "relay");
    refused(&home.path("run/box.sock"), "listener");
    // There and back: the same user on the same machine, and yet the request comes over another one.
    let script = format!(
        "exec ssh -A -tt -F {} -i {} box '{} prompts; echo \"left with $?\"; sleep 1000'",
        sshd.client_configuration().display(),
        carried.path().display(),
        agent_binary().display()
    );
    let pane = Pane::with(&home, "forwarded", &script, |task| task.env("SSH_AUTH_SOCK", agent.socket()));
    let screen = pane.shows("left with 1");
    assert!(screen.contains("to hardkey on its own machine only"), "{screen}");
    assert!(!asking(&agent, &key, "nobody").ends(SOON).success(), "one of them counted as somebody to be asked");
}

#[test]
fn a_viewer_that_stands_still_holds_up_nobody_but_the_question() {
    if stock_cannot(COMMAND) {
        return;
    }
    let home = Home::new();
    let agent = bare(&home).prompt("timeout = \"3s\"").start();
    let key = careful_key(&home, &agent);
    let pane = viewer(&home, &agent, "stuck");
    let process = pane.process("hardkey");
    signal(process, Signal::STOP);
    let start = Instant::now();
    let mut unanswered = asking(&agent, &key, "unanswered");
    assert!(until(SOON, || waiting(&agent) == 1));
    let mut client = agent.client();
    (0..100).for_each(|_| assert_eq!(client.list().expect("a list").len(), 1));
    assert!(!unanswered.ends(SOON).success(), "silence is not a yes");
    assert!(start.elapsed() >= Duration::from_secs(3) && agent.log().contains("within 3 s"), "{}", agent.log());
    // Changes that nobody reads cost nothing, and another viewer answers beside it.
    for _ in 0..200 {
        kill(asking(&agent, &key, "flood").pid());
    }
    let other = viewer(&home, &agent, "other");
    let mut answered = asking(&agent, &key, "answered");
    other.shows(READY);
    other.types(&["yes", "Enter"]);
    assert!(answered.ends(SOON).success(), "{}", agent.log());
    // Once it goes on, it shows how things are and nothing of what it missed.
    signal(process, Signal::CONT);
    assert_eq!(waiting(&agent), 0);
    let mut last = asking(&agent, &key, "last");
    pane.shows(READY);
    pane.types(&["yes", "Enter"]);
    assert!(last.ends(SOON).success(), "{}\n{}", pane.screen(), agent.log());
}

#[test]
fn a_viewer_that_is_killed_leaves_no_consent_and_no_agent_leaves_a_viewer() {
    let Some((home, agent, key)) = scene() else { return };
    let pane = viewer(&home, &agent, "viewer");
    let mut asking_killed = asking(&agent, &key, "killed");
    pane.shows(READY);
    kill(pane.process("hardkey"));
    let killed = Instant::now();
    assert!(!asking_killed.ends(SOON).success());
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    assert_eq!(agent.client().list().expect("a list").len(), 1);

    let pane = viewer(&home, &agent, "viewer");
    let _asking = asking(&agent, &key, "asking");
    pane.shows(READY);
    kill(agent.pid());
    let screen = pane.shows("left with 1");
    eprintln!("{}", screen.trim_end());
    assert!(screen.contains("answered elsewhere or withdrawn") && screen.contains("has ended"), "{screen}");
}

#[test]
fn a_flood_is_muted_by_one_word_and_hides_nothing_else() {
    if stock_cannot(COMMAND) {
        return;
    }
    let home = Home::new();
    let agent = Agent::with(&home).env("PATH", home.path("bin")).env("SSH_ASKPASS", "/nonexistent/askpass").start();
    let key = KeyFile::new(&home, "careful");
    agent.ssh_add(["-q", "-c"]).arg(key.path()).run().succeeds();
    let pane = viewer(&home, &agent, "viewer");
    let blob = key.public().blob();
    std::thread::scope(|scope| {
        // This test program is a source of its own.
        let flood: Vec<_> = (0..40).map(|_| scope.spawn(|| agent.client().sign(&blob, b"flood", 0))).collect();
        pane.shows(READY);
        assert!(until(SOON, || waiting(&agent) == 16), "more than sixteen of one source wait");
        let mut other = asking(&agent, &key, "other");
        assert!(until(SOON, || waiting(&agent) == 17));
        pane.types(&["mute", "Enter"]);
        assert!(until(SOON, || pane.screen().matches(READY).count() == 2), "{}", pane.screen());
        let screen = pane.screen();
        eprintln!("{}", screen.trim_end());
        assert_eq!(screen.matches("from  ssh-add, called by").count(), 1, "{screen}");
        assert_eq!(waiting(&agent), 1, "a muted question still waits");
        pane.types(&["yes", "Enter"]);
        assert!(other.ends(SOON).success(), "{}", agent.log());
        assert!(flood.into_iter().all(|one| one.join().expect("a client").is_none()));
    });
}

/// What a hostile agent has to say: terminals would obey most of it.
const HOSTILE: &str =
    "\u{1b}[2J\u{1b}[31mred\r overwritten\u{7}\u{8}\u{8}\n\u{1b}]0;title\u{7}\u{202e}desrever\u{200b}\n\u{9b}6n\u{90}q";

#[test]
fn a_hostile_agent_writes_nothing_that_the_terminal_obeys() {
    let home = Home::new();
    let socket = home.path("run/hostile.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let question = serde_json::json!({
                "number": 1, "kind": "confirm", "text": HOSTILE, "offer": HOSTILE, "can_mute": true, "seconds": 0,
            });
            let showing = serde_json::json!({ "version": 1, "question": question, "more": 0, "notices": [HOSTILE] });
            let body = Body::new(Client::EXTENSION_RESPONSE).string(EXTENSION).string(showing.to_string()).bytes();
            // To the first request only: then there is nothing new.
            let _ = stream.read(&mut [0; 256]).expect("a request");
            stream.write_all(&Body::nothing().string(body).bytes()).expect("an answer");
            std::mem::forget(stream);
        }
    });
    let output = home.path("output");
    let script = format!("script -qfc 'hardkey prompts' {}", output.display());
    let pane = Pane::with(&home, "viewer", &script, |task| task.env("SSH_AUTH_SOCK", &socket));
    let screen = pane.shows("Ctrl-C leaves.");
    assert!(screen.contains("\\x1b[2J\\x1b[31mred\\x0d overwritten"), "{screen}");
    pane.shows(READY);
    let written = std::fs::read(&output).expect("what was written");
    let obeyed: Vec<u8> =
        written.iter().copied().filter(|octet| octet.is_ascii_control() && !b"\r\n".contains(octet)).collect();
    assert_eq!(obeyed, b"\x07", "one bell, and no other control character: {}", String::from_utf8_lossy(&written));
    assert!(!String::from_utf8_lossy(&written).contains(['\u{202e}', '\u{200b}', '\u{9b}', '\u{90}']));
}
