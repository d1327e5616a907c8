//! Sockets at which everything is forwarded: named in the configuration, or passed by a service manager.

use std::os::unix::net::UnixStream;
use std::path::Path;

use hsm_tests::{Agent, Background, Client, Home, KeyFile, SOON, stock_cannot, until};

const COMMAND: &str = "tell sockets apart";
const LABELLED: &str = "[[listen.extra]]\npath = \"%t/box.sock\"\nlabel = \"dev container\"\norigin = \"forwarded\"\n";

/// Whether what is asked for at a socket counts as forwarded: changes to the agent are made nowhere else but at its own.
fn adds(home: &Home, socket: &Path, key: &KeyFile) -> bool {
    home.command("ssh-add").env("SSH_AUTH_SOCK", socket).arg(key.path()).run().code() == Some(0)
}

fn explained(home: &Home, socket: &Path) -> String {
    home.command("hardkey").arg("explain").env("SSH_AUTH_SOCK", socket).run().succeeds().stdout
}

#[test]
fn a_socket_s_label_is_named_in_what_is_explained() {
    if stock_cannot(COMMAND) {
        return;
    }
    let home = Home::new();
    let agent = Agent::with(&home).line(LABELLED).start();
    let (labelled, key) = (home.path("run/box.sock"), KeyFile::new(&home, "key"));
    assert!(!adds(&home, &labelled, &key) && adds(&home, agent.socket(), &key));
    let told = explained(&home, agent.socket());
    assert!(told.contains("    socket   dev container\n") && told.contains("(socket \"dev container\")"), "{told}");
    assert!(agent.log().contains("run/box.sock for forwarded requests"), "{}", agent.log());
}

#[test]
fn sockets_that_are_passed_are_told_apart_by_their_names() {
    if stock_cannot(COMMAND) {
        return;
    }
    let home = Home::new();
    let key = KeyFile::new(&home, "key");
    let (own, forward, labelled) = (home.path("run/own"), home.path("run/forward"), home.path("run/passed"));
    let more = format!("discover = false\n[listen]\nforward = {:?}\n{LABELLED}", home.path("run/not-opened"));
    let config = home.file("activated.toml", more);
    let activate = |name: &str, names: &str, sockets: &[&Path]| -> Background {
        sockets.iter().for_each(|socket| drop(std::fs::remove_file(socket)));
        let mut task = home.command("systemd-socket-activate").arg(format!("--fdname={names}"));
        for variable in ["XDG_RUNTIME_DIR", "HARDKEY_CONFIG"] {
            task = task.arg(format!("--setenv={variable}"));
        }
        for socket in sockets {
            task = task.arg("--listen").arg(socket);
        }
        let task = task.env("HARDKEY_CONFIG", &config).arg(hsm_tests::agent_binary()).args(["agent", "-D"]);
        let mut process = task.start(name);
        process.wait_for_log("Listening on", SOON);
        let first = sockets.last().expect("a socket");
        assert!(until(SOON, || UnixStream::connect(first).is_ok()), "{}", process.log());
        process
    };

    let process = activate("named", "forward:agent:dev container", &[&forward, &own, &labelled]);
    assert_eq!(Client::connect(&own).list().expect("a list"), []);
    assert_eq!([&forward, &labelled, &own].map(|socket| adds(&home, socket, &key)), [false, false, true]);
    assert!(explained(&home, &own).contains("(socket \"dev container\")"), "{}", process.log());
    let opened = [home.path("run/not-opened"), home.path("run/box.sock")].map(|path| path.exists());
    assert_eq!(opened, [false; 2], "what is passed is not opened a second time");
    drop(process);

    for (names, complaint) in
        [("one:two", "could be the agent's own"), ("forward:forward", "pass the agent's own, too")]
    {
        let mut process = activate(names.split(':').next().unwrap_or_default(), names, &[&own, &forward]);
        process.wait_for_log(complaint, SOON);
    }
}
