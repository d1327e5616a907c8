//! A person who has had enough of one source: three times no, or "Deny and mute".

use std::path::{Path, PathBuf};

use hsm_tests::{Answer, Client, Hosts, login, stock_cannot};

use super::lab::Lab;

impl Lab {
    /// Tries to log in with the agent's key: whether it worked, and how many dialogs that took.
    fn tries(&self, agent: &Path, host: &str) -> (bool, usize) {
        let before = self.dialogs();
        let outcome = self.script(agent, &format!("ssh -F $CONFIG -i $PUBLIC/work.pub {host} true")).run();
        (outcome.status.success(), self.dialogs() - before)
    }
}

#[test]
fn three_denials_silence_the_hop_and_nobody_else() {
    if stock_cannot("ask about what is forwarded") {
        return;
    }
    let no = Answer::Cancel;
    let mut lab = Lab::of_somebody(&[no, no, no, Answer::Ok, Answer::Ok], "");
    let local: PathBuf = lab.agent.socket().into();
    let (first, second) = (lab.way(&local, "hosta", "-A"), lab.way(&local, "hostc", "-A"));
    for _ in 0..3 {
        assert_eq!(lab.tries(&first, "hostb"), (false, 1));
    }
    for host in ["hostb", "hostc"] {
        assert_eq!(lab.tries(&first, host), (false, 0), "{}", lab.agent.log());
    }
    assert!(lab.agent.log().contains("requests of hosta are refused without a dialog for 10 minutes"));
    assert!(lab.agent.log().contains("ask again in 59"), "how long is said\n{}", lab.agent.log());
    let shown = lab.home.command("hardkey").args(["log", "--origin", "forwarded"]).run().succeeds().stdout;
    assert_eq!(shown.matches("REFUSED to sign").count(), 5, "each refusal is recorded: {shown}");

    assert_eq!(lab.tries(&second, "hostb"), (true, 1), "another hop is asked about");
    assert_eq!(lab.tries(&local, "hosta"), (true, 0), "local logins are as ever");
    // The same host by another connection is another session, which may be somebody else's.
    let again = lab.way(&local, "hosta", "-A");
    assert_eq!(lab.tries(&again, "hostb"), (true, 1));
}

#[test]
fn a_yes_in_between_makes_up_for_two_denials() {
    if stock_cannot("ask about what is forwarded") {
        return;
    }
    let (no, yes) = (Answer::Cancel, Answer::Ok);
    let mut lab = Lab::of_somebody(&[no, no, yes, no, no, yes], "");
    let local: PathBuf = lab.agent.socket().into();
    let way = lab.way(&local, "hosta", "-A");
    let outcomes: Vec<_> = (0..6).map(|_| lab.tries(&way, "hostb")).collect();
    assert_eq!(outcomes, [(false, 1), (false, 1), (true, 1), (false, 1), (false, 1), (true, 1)]);
}

#[test]
fn one_mute_is_enough() {
    if stock_cannot("ask about what is forwarded") {
        return;
    }
    let mut lab = Lab::of_the_weary("");
    let local: PathBuf = lab.agent.socket().into();
    let way = lab.way(&local, "hosta", "-A");
    assert_eq!([lab.tries(&way, "hostb"), lab.tries(&way, "hostb")], [(false, 1), (false, 0)], "{}", lab.agent.log());
}

#[test]
fn a_hop_that_proves_nothing_cannot_change_its_name_to_be_heard_again_and_silences_no_program_of_the_person() {
    if stock_cannot("ask about what is forwarded") {
        return;
    }
    let mut lab = Lab::of_the_weary("");
    let local: PathBuf = lab.agent.socket().into();
    let relay = lab.home.path("tmp/relay.sock");
    lab.way(&local, "hosta", &format!("-R {}:{}", relay.display(), local.display()));
    let hosts = Hosts::new(&lab.home);
    let key = lab.work.public();
    let shown = ["first", "second", "third"].map(|name| {
        let (host, before, mut client) = (hosts.add(name), lab.dialogs(), Client::connect(&relay));
        assert!(client.extends(&hosts.bind(&host, name.as_bytes(), true)));
        assert!(client.sign(&key.blob(), &login(b"another", "root", key, Some(&host.key)), 0).is_none());
        lab.dialogs() - before
    });
    assert_eq!(shown, [1, 0, 0], "{}", lab.agent.log());
    let silenced = "requests of /usr/bin/ssh, or through it, are refused without a dialog for 10 minutes";
    assert!(lab.agent.log().contains(silenced), "{}", lab.agent.log());

    // The same program; but this time it is certain that it asks for itself.
    let before = lab.dialogs();
    lab.script(&local, "ssh -F $CONFIG -i $PUBLIC/careful.pub hosta true").run().fails();
    assert_eq!(lab.dialogs() - before, 1, "{}", lab.agent.log());
}
