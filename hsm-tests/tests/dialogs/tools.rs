//! Dialogs about further clients, about connections that several sessions share, and about keys for certain ways.

use std::path::PathBuf;

use hsm_tests::{SOON, stock_cannot, until};

use super::lab::Lab;
use super::relays::WORDS;
use super::{compare, shows};

/// Logs in by asyncssh, which has the agent sign and tells it nothing.
const ASYNCSSH: &str = "/usr/bin/python3 -W ignore -c '
import asyncio, asyncssh, sys
async def main():
    async with asyncssh.connect(\"127.0.0.1\", int(sys.argv[1]), known_hosts=None, config=None):
        pass
asyncio.run(main())'";

/// Where a master is found.
const CONTROL: &str = "-o ControlPath=$PWD/control";

fn lab_with_one_key() -> Lab {
    let lab = Lab::new();
    // The other keys would be tried as well.
    lab.agent.ssh_add(["-q", "-d"]).arg(lab.careful.path()).run().succeeds();
    lab
}

fn dbclient(lab: &Lab, options: &str, host: &str, command: &str) -> String {
    format!("dbclient -y -y {options} -p {} $(id -un)@127.0.0.1 {command} 2>/dev/null", lab.port(host))
}

#[test]
fn dialogs_about_dropbear_and_asyncssh_say_that_the_host_is_not_known() {
    if stock_cannot(WORDS) {
        return;
    }
    let mut lab = lab_with_one_key();
    let local: PathBuf = lab.agent.socket().into();
    shows(&lab, "unknown-dbclient", || lab.runs(&local, &dbclient(&lab, "", "hosta", "true")));
    shows(&lab, "unknown-asyncssh", || lab.runs(&local, &format!("{ASYNCSSH} {}", lab.port("hosta"))));
    let way = lab.way(&local, "hosta", "-A");
    shows(&lab, "forwarded-dbclient", || lab.runs(&way, &dbclient(&lab, "", "hostb", "true")));
}

#[test]
fn dialogs_about_requests_through_a_master_tell_the_hop_and_a_later_session_through_it_asks_nothing() {
    if stock_cannot(WORDS) {
        return;
    }
    let lab = Lab::new();
    let local: PathBuf = lab.agent.socket().into();
    let key = lab.carried.path().display();
    let there = "ssh -F $CONFIG -i $PUBLIC/work.pub hostb true";
    let master = format!("ssh -F $CONFIG {CONTROL} -o ControlMaster=yes -o ControlPersist=yes -A -i {key} hosta");
    shows(&lab, "master-first", || lab.runs(&local, &format!("{master} \"{there}\"")));
    shows(&lab, "master-later", || lab.runs(&local, &format!("ssh -F $CONFIG {CONTROL} -A hosta \"{there}\"")));
    let before = lab.dialogs();
    lab.runs(&local, &format!("ssh -F $CONFIG {CONTROL} hosta true"));
    assert_eq!(lab.dialogs(), before, "a session through a master needs no signature");
    lab.runs(&local, &format!("ssh -F $CONFIG {CONTROL} -O exit hosta 2>/dev/null"));
    assert!(until(SOON, || !lab.home.path("scratch/control").exists()));
}

#[test]
fn dialogs_about_keys_for_certain_ways_are_those_of_others_and_other_ways_ask_nobody() {
    if stock_cannot(WORDS) {
        return;
    }
    let mut lab = Lab::new();
    let local: PathBuf = lab.agent.socket().into();
    lab.agent.ssh_add(["-q", "-D"]).run().succeeds();
    let add = format!("ssh-add -q -c -H HOME/.ssh/known_hosts -h hosta -h 'hosta>hostb' {}", lab.work.path().display());
    let add = add.replace("HOME", &lab.home.path("home").display().to_string());
    lab.runs(&local, &add);
    shows(&lab, "constrained-login", || lab.runs(&local, "ssh -F $CONFIG -i $PUBLIC/work.pub hosta true"));
    let first = lab.way(&local, "hosta", "-A");
    shows(&lab, "constrained-forwarded", || lab.runs(&first, "ssh -F $CONFIG -i $PUBLIC/work.pub hostb true"));
    // Neither other hosts nor other uses: the key is refused, and nobody is asked.
    let before = lab.dialogs();
    for refused in [
        (&first, "ssh -F $CONFIG -i $PUBLIC/work.pub hostc true"),
        (&local, "ssh -F $CONFIG -i $PUBLIC/work.pub hostb true"),
        (&local, "echo text >text && ssh-keygen -q -Y sign -n file -f $PUBLIC/work.pub text"),
    ] {
        lab.script(refused.0, refused.1).run().fails();
    }
    assert_eq!(lab.dialogs(), before);
    let log = lab.agent.log();
    let refusals: Vec<&str> =
        log.lines().filter_map(|line| line.split_once("signature refused: ").map(|(_, why)| why)).collect();
    compare("constrained-refusals", &lab.normal(&(refusals.join("\n") + "\n")));
}

#[test]
fn dialogs_about_key_exchange_by_gssapi_do_not_take_for_local_what_is_announced_by_nobody() {
    if stock_cannot(WORDS) {
        return;
    }
    let mut lab = Lab::in_realm();
    let local: PathBuf = lab.agent.socket().into();
    let options = lab.realm.as_ref().expect("a realm").options().join(" ");
    let exchanged = |script: &str| {
        let outcome = lab.script(&local, script).run().succeeds();
        assert!(outcome.stderr.contains("kex: algorithm: gss-"), "no key exchange by GSSAPI\n{}", outcome.report());
    };
    shows(&lab, "gssapi-login", || {
        exchanged(&format!("ssh -F $CONFIG {options} -o LogLevel=DEBUG -i $PUBLIC/work.pub hosta true"));
    });
    let way = lab.way(&local, "hosta", &format!("-A {options}"));
    shows(&lab, "gssapi-forwarded", || lab.runs(&way, "ssh -F $CONFIG -i $PUBLIC/work.pub hostb true"));
    shows(&lab, "gssapi-forwarded-file", || {
        lab.runs(&way, "echo text >text && ssh-keygen -q -Y sign -n file -f $PUBLIC/work.pub text");
    });
}
