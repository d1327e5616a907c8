//! Dialogs about programs that are not `ssh`, about hops that cannot be believed, and about sockets of their own.

use std::path::{Path, PathBuf};

use hsm_tests::{Client, stock_cannot, sudo_by_agent};

use super::lab::Lab;
use super::shows;

pub(super) const WORDS: &str = "say more than the key";
const LABELLED: &str = "[[listen.extra]]\npath = \"%t/box.sock\"\nlabel = \"dev container\"\norigin = \"forwarded\"";

/// Logs in by paramiko, which has the agent sign and tells it nothing.
const PARAMIKO: &str = "/usr/bin/python3 -W ignore -c '
import paramiko, sys
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect(\"127.0.0.1\", port=int(sys.argv[1]), look_for_keys=False)'";

impl Lab {
    pub(super) fn runs(&self, agent: &Path, script: &str) {
        self.script(agent, script).run().succeeds();
    }

    fn plink(&self, options: &str, host: &str, command: &str) -> String {
        let (key, port) = (self.host_key(host), self.port(host));
        format!("plink -batch -hostkey {key} {options} -P {port} $(id -un)@127.0.0.1 {command} </dev/null")
    }
}

#[test]
fn dialogs_about_other_programs_say_which_and_that_the_host_is_not_known() {
    if stock_cannot(WORDS) {
        return;
    }
    let lab = Lab::new();
    let local: PathBuf = lab.agent.socket().into();
    // The other keys would be tried as well.
    lab.agent.ssh_add(["-q", "-d"]).arg(lab.careful.path()).run().succeeds();
    shows(&lab, "unknown-plink", || lab.runs(&local, &lab.plink("-agent", "hosta", "true")));
    shows(&lab, "unknown-paramiko", || lab.runs(&local, &format!("{PARAMIKO} {}", lab.port("hosta"))));
    // A key in a file for plink's own login; what it forwards is the agent.
    let own = format!("puttygen {} -O private -o own.ppk && ", lab.carried.path().display());
    let there = "\"ssh -F $CONFIG -i $PUBLIC/work.pub hostb true\"";
    let forwards = format!("{own}{}", lab.plink("-A -noagent -i own.ppk", "hosta", there));
    shows(&lab, "relayed-plink", || lab.runs(&local, &forwards));
    let socat = "socat UNIX-LISTEN:relay.sock,fork UNIX-CONNECT:$SSH_AUTH_SOCK & trap \"kill $!\" EXIT; \
        until [ -S relay.sock ]; do sleep 0.02; done; \
        SSH_AUTH_SOCK=$PWD/relay.sock ssh -F $CONFIG -i $PUBLIC/work.pub hosta true";
    shows(&lab, "relayed-socat", || lab.runs(&local, socat));
}

#[test]
fn dialogs_about_a_container_say_that_its_programs_cannot_be_told() {
    if stock_cannot(WORDS) {
        return;
    }
    assert!(rustix::process::getuid().is_root(), "a container takes root");
    let lab = Lab::new();
    let local: PathBuf = lab.agent.socket().into();
    let inside = "unshare --user --map-root-user --mount --pid --fork --mount-proc";
    shows(&lab, "container-login", || {
        lab.runs(&local, &format!("{inside} ssh -F $CONFIG -i $PUBLIC/work.pub hosta true"));
    });
    shows(&lab, "container-file", || {
        let sign = "ssh-keygen -q -Y sign -n file -f $PUBLIC/work.pub text";
        lab.runs(&local, &format!("echo text >text && {inside} {sign}"));
    });
}

#[test]
fn dialogs_about_a_hop_that_proves_nothing_say_so() {
    if stock_cannot(WORDS) {
        return;
    }
    let mut lab = Lab::of_somebody(&[hsm_tests::Answer::Ok; 20], LABELLED);
    let local: PathBuf = lab.agent.socket().into();
    let way = lab.way(&local, "hosta", "-A");
    let key = lab.work.public().blob();
    shows(&lab, "forwarded-plink", || lab.runs(&way, &lab.plink("-agent", "hostb", "true")));
    shows(&lab, "forwarded-certificate", || {
        lab.runs(&way, "cp $PUBLIC/careful.pub user.pub && ssh-keygen -q -Us $PUBLIC/work.pub -I ann user.pub");
    });
    // What one connection of the hop cannot prove counts for all that come after it.
    shows(&lab, "forwarded-lie", || {
        let mut client = Client::connect(&way);
        let host = lab.careful.public().blob();
        assert!(!client.extends(&hsm_tests::bind(&host, b"session", b"no signature", false)));
        let login = hsm_tests::login(b"session", "root", lab.work.public(), Some(&host));
        assert!(client.sign(&key, &login, 0).is_some());
    });
    shows(&lab, "forwarded-after-lie", || lab.runs(&way, "ssh -F $CONFIG -i $PUBLIC/work.pub hostb true"));
    let labelled = lab.home.path("run/box.sock");
    shows(&lab, "listener-login", || lab.runs(&labelled, "ssh -F $CONFIG -i $PUBLIC/work.pub hosta true"));
    shows(&lab, "listener-file", || {
        lab.runs(&labelled, "echo text >text && ssh-keygen -q -Y sign -n file -f $PUBLIC/work.pub text");
    });
}

#[test]
fn a_dialog_with_a_longer_yes_says_what_that_means() {
    if stock_cannot("remember a yes") {
        return;
    }
    let rule = "[[rule]]\nkey = 'work'\naction = 'confirm'\ncache = { time = '5m', count = 20 }";
    let mut lab = Lab::of_the_generous(rule);
    let local: PathBuf = lab.agent.socket().into();
    let way = lab.way(&local, "hosta", "-A");
    shows(&lab, "forwarded-longer", || lab.runs(&way, "ssh -F $CONFIG -i $PUBLIC/work.pub hostb true"));
    // Whoever runs the tests may lead his terminal session from where it cannot be seen.
    shows(&lab, "local-longer", || {
        let sign = "echo text >text && ssh-keygen -q -Y sign -n file -f $PUBLIC/work.pub text; exit $?";
        lab.runs(&local, &format!("exec setsid --wait sh -c '{sign}'"));
    });
}

#[test]
fn dialogs_about_a_real_sudo_tell_command_user_and_host() {
    if stock_cannot(WORDS) {
        return;
    }
    assert!(rustix::process::getuid().is_root(), "a namespace for sudo takes root");
    let mut lab = Lab::new();
    let local: PathBuf = lab.agent.socket().into();
    let first = lab.way(&local, "hosta", "-A");
    let second = lab.way(&first, "hostb", "-A");
    let sudo = sudo_by_agent(&lab.home.path("public/work.pub"), "true");
    // The module asks for each key in turn.
    lab.agent.ssh_add(["-q", "-d"]).arg(lab.careful.path()).run().succeeds();
    shows(&lab, "forwarded-sudo-1-hop", || lab.runs(&first, &sudo));
    shows(&lab, "forwarded-sudo-2-hops", || lab.runs(&second, &sudo));
}
