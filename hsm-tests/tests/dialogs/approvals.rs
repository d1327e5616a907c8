//! A yes for a while: what it covers, what it does not, and when it ends.

use std::fs;
use std::path::{Path, PathBuf};

use hsm_tests::{Answer, Askpass, agent_binary, stock_cannot};

use super::lab::Lab;

const RULES: &str =
    "[[key]]\nmatch = 'work'\nname = 'work'\n[[key.rule]]\naction = ['confirm']\ncache = { time = '10m', count = 20 }";

impl Lab {
    fn approvals(&self, arguments: &[&str]) -> String {
        self.agent.command(agent_binary()).arg("approvals").args(arguments).run().succeeds().stdout
    }

    /// Logs in with the key of the rules.
    fn log_in(&self, agent: &Path, host: &str) {
        self.script(agent, &format!("ssh -F $CONFIG -i $PUBLIC/work.pub {host} true")).run().succeeds();
    }
}

#[test]
fn a_program_that_reconnects_is_asked_about_once_and_again_for_another_host() {
    if stock_cannot("remember a yes") {
        return;
    }
    let lab = Lab::of_the_generous(RULES);
    let local: PathBuf = lab.agent.socket().into();
    let reached = lab.home.path("tmp/reached");
    // Each start is another ssh with another session; the terminal session is the same until setsid's shell ends.
    let connect = |host: &str, times: u32| {
        format!(
            "AUTOSSH_GATETIME=0 AUTOSSH_MAXSTART={times} autossh -M 0 -F $CONFIG -i $PUBLIC/work.pub {host} \
             'echo {host} >>{}; exit 255'",
            reached.display()
        )
    };
    let script =
        format!("setsid -w sh -c '{}'", [connect("hosta", 6), connect("hostb", 1)].join("; ").replace('\'', r"'\''"));
    lab.script(&local, &script).run();
    let reached = fs::read_to_string(&reached).unwrap_or_default();
    assert_eq!(reached.matches("hosta").count(), 6, "{reached}\n{}", lab.home.logs());
    assert_eq!(reached.matches("hostb").count(), 1, "{reached}");
    let dialogs = lab.pinentry.descriptions();
    assert_eq!(dialogs.len(), 2, "{dialogs:#?}");
    assert!(dialogs[0].contains("login \"root\" at hosta") && dialogs[1].contains("login \"root\" at hostb"));
    assert!(
        dialogs[0].contains("Allow 10 min: this login by ssh in this terminal session, at most 20 times"),
        "{}",
        dialogs[0]
    );
    lab.script(&local, "setsid -w ssh -F $CONFIG -i $PUBLIC/work.pub hosta true").run().succeeds();
    assert_eq!(lab.dialogs(), 3, "the terminal session is another one");
}

#[test]
fn an_approval_of_a_hop_ends_with_its_connection_the_lock_and_its_revocation() {
    if stock_cannot("remember a yes") {
        return;
    }
    let mut lab = Lab::of_the_generous(RULES);
    let local: PathBuf = lab.agent.socket().into();
    let way = lab.way(&local, "hosta", "-A");
    let asked = |lab: &Lab, way: &Path, host: &str| {
        let before = lab.dialogs();
        lab.log_in(way, host);
        lab.dialogs() - before
    };
    assert_eq!([asked(&lab, &way, "hostb"), asked(&lab, &way, "hostb"), asked(&lab, &way, "hostb")], [1, 0, 0]);
    assert_eq!(asked(&lab, &way, "hostc"), 1, "another host");
    let shown = lab.approvals(&[]);
    assert_eq!(shown.lines().count(), 3, "{shown}");
    assert!(shown.contains("log in as \"root\" at hostb") && shown.contains("connection to hosta"), "{shown}");

    lab.approvals(&["revoke", "1"]);
    assert_eq!([asked(&lab, &way, "hostb"), asked(&lab, &way, "hostc")], [1, 0], "one was revoked");

    let askpass = Askpass::new(&lab.home, &[Answer::Type("words"), Answer::Type("words"), Answer::Type("words")]);
    lab.agent.ssh_add(["-x"]).envs(askpass.environment()).run();
    lab.agent.ssh_add(["-X"]).envs(askpass.environment()).run().succeeds();
    assert_eq!(asked(&lab, &way, "hostc"), 1, "the agent was locked");

    let other = lab.way(&local, "hosta", "-A");
    assert_eq!([asked(&lab, &other, "hostc"), asked(&lab, &way, "hostc")], [1, 0], "another connection");
    let log = fs::read_to_string(lab.home.path("state/hardkey/audit.jsonl")).expect("the log");
    assert!(log.contains("\"consent\":\"earlier\"") && log.contains("\"event\":\"approval\""), "{log}");
    assert!(log.contains("\"reason\":\"the agent was locked\""), "{log}");

    // No hop is told what was approved, or may end it.
    let command = lab.home.command(agent_binary()).env("SSH_AUTH_SOCK", &way);
    command.arg("approvals").run().fails();
}

#[test]
fn an_approval_ends_with_the_signatures_that_it_was_given_for() {
    if stock_cannot("remember a yes") {
        return;
    }
    let twice = RULES.replace("count = 20", "count = 2");
    let mut lab = Lab::of_the_generous(&twice);
    let local: PathBuf = lab.agent.socket().into();
    let way = lab.way(&local, "hosta", "-A");
    let asked = [(); 4].map(|()| {
        let before = lab.dialogs();
        lab.log_in(&way, "hostb");
        lab.dialogs() - before
    });
    assert_eq!(asked, [1, 0, 1, 0]);
}
