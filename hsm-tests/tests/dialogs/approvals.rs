//! A yes for a while: what it covers, what it does not, and when it ends.

use std::fs;
use std::path::{Path, PathBuf};

use hsm_tests::{Answer, Askpass, SOON, agent_binary, stock_cannot, until};

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

#[test]
fn an_approval_ends_with_its_key_and_is_not_given_by_a_question_that_stood_when_all_were_ended() {
    if stock_cannot("remember a yes") {
        return;
    }
    let mut lab = Lab::of_the_generous(RULES);
    let local: PathBuf = lab.agent.socket().into();
    let way = lab.way(&local, "hosta", "-A");
    let asked = |lab: &Lab| {
        let before = lab.dialogs();
        lab.log_in(&way, "hostb");
        lab.dialogs() - before
    };
    assert_eq!([asked(&lab), asked(&lab)], [1, 0]);
    lab.agent.ssh_add(["-q", "-d"]).arg(lab.work.path()).run().succeeds();
    lab.agent.ssh_add(["-q"]).arg(lab.work.path()).run().succeeds();
    assert_eq!(asked(&lab), 1, "the key was removed");

    // A person who thinks about it until told to go on.
    let thinks = ": >\"$here/thinks\"; until [ -e \"$here/go\" ]; do sleep 0.05; done; sleep 0.8";
    lab.home.program("pinentry/pinentry", include_str!("generous.sh").replace("sleep 0.8", thinks));
    lab.approvals(&["revoke", "--all"]);
    let script = "ssh -F $CONFIG -i $PUBLIC/work.pub hostb true";
    let mut late = lab.script(&way, script).start("late");
    assert!(until(SOON, || lab.home.path("pinentry/thinks").exists()), "{}", lab.home.logs());
    lab.approvals(&["revoke", "--all"]);
    lab.home.file("pinentry/go", "");
    assert!(late.ends(SOON).success(), "the yes to the one request counts\n{}", lab.agent.log());
    let shown = lab.home.command("hardkey").args(["log", "--json"]).run().succeeds().stdout;
    let last = shown.lines().rfind(|line| line.contains("\"event\":\"sign\"")).expect("a record");
    assert!(last.contains("\"consent\":\"once\""), "{last}");
    assert_eq!([asked(&lab), asked(&lab)], [1, 0], "{}", lab.agent.log());
}

#[test]
fn an_approval_of_a_program_is_none_of_what_has_its_path_in_a_container() {
    if stock_cannot("remember a yes") {
        return;
    }
    assert!(rustix::process::getuid().is_root(), "a container takes root");
    let lab = Lab::of_the_generous(&RULES.replace("action =", "origin = 'unknown'\naction ="));
    let local: PathBuf = lab.agent.socket().into();
    let login = "./ssh -F $CONFIG -i $PUBLIC/work.pub hosta true";
    let inside = format!("unshare --user --map-root-user --mount --pid --fork --mount-proc {login}");
    let script = format!("cp /usr/bin/ssh ssh && {login} && {login} && {inside} && {inside}");
    lab.script(&local, &format!("exec setsid --wait sh -c '{script}'")).run().succeeds();
    let dialogs = lab.pinentry.descriptions();
    let offers: Vec<bool> = dialogs.iter().map(|dialog| dialog.contains("Allow 10 min: this login")).collect();
    assert_eq!(offers, [true, false, false], "{dialogs:#?}");
}

#[test]
fn no_longer_yes_is_offered_to_what_others_may_share_in_unless_a_rule_says_so() {
    if stock_cannot("remember a yes") {
        return;
    }
    let lab = Lab::of_the_generous(RULES);
    let local: PathBuf = lab.agent.socket().into();
    let relay = lab.home.path("tmp/relay.sock");
    let there = format!("SSH_AUTH_SOCK={} ssh -F $CONFIG -i $PUBLIC/work.pub hostb true", relay.display());
    let carry =
        format!("ssh -F $CONFIG -i {} -R {}:$SSH_AUTH_SOCK hosta", lab.carried.path().display(), relay.display());
    // The person's own session and what is relayed through it are of one terminal session and one program.
    lab.script(&local, &format!("exec setsid --wait sh -c '{carry} \"{there} && {there}\"'")).run().succeeds();
    let dialogs = lab.pinentry.descriptions();
    assert!(dialogs.iter().all(|dialog| dialog.starts_with("UNVERIFIED REQUEST")), "{dialogs:#?}");
    assert!(dialogs.len() == 2 && dialogs.iter().all(|dialog| !dialog.contains("10 min")), "{dialogs:#?}");
}
