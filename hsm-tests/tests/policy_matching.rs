//! What rules look at, with real programs: the program that asks, one above it, the socket it came by, and which `ssh` is believed.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hsm_tests::{Agent, Answer, Home, KeyFile, Pinentry, Sshd, stock_cannot};

const RULES: &str = "read rules";

/// A home with a host to log in at, and an agent with one key.
struct Site {
    home: Home,
    sshd: Sshd,
    agent: Agent,
    key: KeyFile,
}

impl Site {
    fn with(lines: &str) -> Self {
        Self::asking(lines, &[])
    }

    /// With somebody who gives these answers.
    fn asking(lines: &str, answers: &[Answer<'_>]) -> Self {
        let home = Home::new();
        let key = KeyFile::new(&home, "key");
        let sshd = Sshd::start(&home, [key.public()]);
        let agent = Agent::with(&home).line(lines);
        let agent = if answers.is_empty() { agent } else { agent.pinentry(&Pinentry::new(&home, answers)) }.start();
        agent.ssh_add(["-q"]).arg(key.path()).run().succeeds();
        // Without the private key beside it, which ssh-keygen would find.
        home.file("home/public.pub", format!("{}\n", key.public().line()));
        Self { home, sshd, agent, key }
    }

    /// Runs a shell script at a socket; `$SSH` logs in with the agent's key, `$SIGN` signs a file with it.
    fn runs(&self, socket: &Path, script: &str) -> bool {
        let public = self.home.path("home/public.pub");
        let options = format!("-i {} -o IdentitiesOnly=yes -o BatchMode=yes", public.display());
        self.home
            .command("sh")
            .env("SSH_AUTH_SOCK", socket)
            .env("SSH", format!("-F {} {options} box true", self.sshd.client_configuration().display()))
            .env("SIGN", format!("-q -Y sign -n file -f {} {}", public.display(), self.home.path("message").display()))
            .directory(self.home.directory("home"))
            .args(["-c", &format!("rm -f ../message.sig; echo text >../message; {script}")])
            .run()
            .status
            .success()
    }

    fn here(&self, script: &str) -> bool {
        self.runs(self.agent.socket(), script)
    }
}

#[test]
fn a_rule_about_a_program_is_about_no_other() {
    if stock_cannot(RULES) {
        return;
    }
    let mut site = Site::with("[[rule]]\nprogram = '*/ssh'\naction = 'deny'");
    assert!(!site.here("ssh $SSH"), "{}", site.agent.log());
    site.agent.wait_for_log("agent.toml:2");
    assert!(site.here("ssh-keygen $SIGN"), "{}", site.agent.log());
}

#[test]
fn a_rule_about_a_program_above_is_about_all_that_it_starts() {
    if stock_cannot(RULES) {
        return;
    }
    let site = Site::with("[[rule]]\nparent = '*/deployer'\naction = 'deny'");
    let deployer = site.home.path("home/deployer");
    std::fs::copy("/bin/sh", &deployer).expect("a copy of the shell");
    // The shell stays above the program that it runs.
    assert!(!site.here("./deployer -c 'ssh $SSH; exit $?'"), "{}", site.agent.log());
    assert!(!site.here("./deployer -c 'sh -c \"ssh-keygen \\$SIGN; exit \\$?\"; exit $?'"), "{}", site.agent.log());
    assert!(site.here("sh -c 'ssh $SSH; exit $?'"), "{}", site.agent.log());
    // A name on the command line is no path.
    assert!(site.here("sh -c 'ssh $SSH; exit $?' /home/deployer"), "{}", site.agent.log());
}

#[test]
fn a_rule_about_a_socket_is_about_what_arrives_there() {
    if stock_cannot(RULES) {
        return;
    }
    let sockets = "[[listen.extra]]\npath = '%t/box.sock'\nlabel = 'box'\norigin = 'forwarded'\n\
                   [[listen.extra]]\npath = '%t/van.sock'\nlabel = 'van'\norigin = 'forwarded'\n";
    let rule = format!("{sockets}[[rule]]\nlistener = 'box'\naction = 'deny'");
    let mut site = Site::asking(&rule, &[Answer::Ok; 2]);
    assert!(site.runs(&site.home.path("run/van.sock"), "ssh $SSH"), "it is asked about: {}", site.agent.log());
    assert!(!site.runs(&site.home.path("run/box.sock"), "ssh $SSH"), "{}", site.agent.log());
    site.agent.wait_for_log("rule 1");
    assert!(site.here("ssh $SSH"), "{}", site.agent.log());
}

#[test]
fn the_ssh_that_is_believed_is_the_one_that_the_user_names() {
    if stock_cannot(RULES) {
        return;
    }
    let copied = |home: &Home| {
        let copy = home.path("home/own-ssh");
        std::fs::copy("/usr/bin/ssh", &copy).expect("a copy of ssh");
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).expect("its mode");
        copy
    };
    let mut site = Site::with("");
    let copy = copied(&site.home);
    assert!(site.here("ssh $SSH"), "{}", site.agent.log());
    assert!(!site.here("./own-ssh $SSH"), "a copy may be anything");
    site.agent.wait_for_log("is not one that is trusted");

    let named = Agent::with(&site.home).named("named").line(&format!("[trust]\nssh = ['{}']", copy.display())).start();
    named.ssh_add(["-q"]).arg(site.key.path()).run().succeeds();
    // Only root's programs are believed; who runs the tests owns the copy.
    let is_roots = rustix::process::getuid().is_root();
    assert_eq!(site.runs(named.socket(), "./own-ssh $SSH"), is_roots, "{}", named.log());
    assert!(!site.runs(named.socket(), "ssh $SSH"), "it is not in the list");

    // A program that others could change is nobody's ssh.
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o777)).expect("its mode");
    assert!(!site.runs(named.socket(), "./own-ssh $SSH"), "{}", named.log());
}
