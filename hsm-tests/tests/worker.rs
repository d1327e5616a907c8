//! A module that crashes or hangs takes nothing with it.

use std::fs;
use std::time::{Duration, Instant};

use faulty_module::Outcome;
use hsm_tests::{
    Agent, Answer, FaultyToken, Home, Key, KeyFile, Module, Pid, Pinentry, SOON, Signal, Sshd, Token, is_alive, kill,
    signal, stock_cannot, until,
};

const ALONE: &str = "bring back a module that died or hangs";

#[test]
fn a_worker_killed_between_two_logins_is_replaced() {
    if stock_cannot(ALONE) {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let agent = Agent::with(&home).module(Module::of(&token)).start();
    let sshd = Sshd::start(&home, token.publics());
    sshd.login(&agent, token.public(Key::P256)).succeeds();
    let workers = agent.workers();
    assert!(!workers.is_empty(), "no worker after a login");
    workers.iter().copied().for_each(kill);
    sshd.login(&agent, token.public(Key::P256)).succeeds();
}

#[test]
fn the_pin_is_not_asked_again_for_a_new_worker() {
    if stock_cannot(ALONE) {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let pinentry = Pinentry::new(&home, &[Answer::Type(token.pin())]);
    let agent = Agent::with(&home).module(Module::of(&token).pin_asked()).pinentry(&pinentry).start();
    let sign = || agent.signs(token.public(Key::P256)).run().succeeds();
    sign();
    for _ in 0..3 {
        agent.workers().into_iter().for_each(kill);
        sign();
    }
    assert_eq!(pinentry.pins_asked(), 1);
}

#[test]
fn keys_stay_listed_while_their_worker_is_dead() {
    if stock_cannot(ALONE) {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let agent = Agent::with(&home).module(Module::of(&token)).start();
    assert_eq!(agent.comments().len(), 1);
    agent.workers().into_iter().for_each(kill);
    assert_eq!(agent.comments().len(), 1);
}

#[test]
fn a_hanging_module_is_given_up_after_its_deadline_and_started_anew() {
    if stock_cannot(ALONE) {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let agent = Agent::with(&home).module(Module::of(&token).line("timeout = '2s'").line("workers = 1")).start();
    let software = KeyFile::new(&home, "software");
    agent.ssh_add([software.path()]).run().succeeds();
    let sign = || agent.signs(token.public(Key::P256));
    sign().run().succeeds();

    let stopped = agent.workers();
    assert_eq!(stopped.len(), 1);
    signal(stopped[0], Signal::STOP);
    let start = Instant::now();
    let mut waiting = sign().start("waiting");
    assert_eq!(agent.comments().len(), 2);
    agent.signs(software.public()).run().succeeds();
    assert!(start.elapsed() < Duration::from_secs(2), "others waited {:?} for the hanging module", start.elapsed());

    // Whether the hanging request is refused or repeated in a new worker is the agent's choice; that it ends is not.
    waiting.ends(SOON);
    assert!(until(SOON, || !is_alive(stopped[0])), "the hanging worker is still there");
    sign().run().succeeds();
}

#[test]
fn workers_end_with_the_agent_even_if_it_is_killed() {
    if stock_cannot("show its workers") {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let module = Module::of(&token);
    for (name, with) in [("asked", Signal::TERM), ("killed", Signal::KILL)] {
        let agent = Agent::with(&home).named(name).module(module.clone()).start();
        agent.signs(token.public(Key::P256)).run().succeeds();
        let workers = agent.workers();
        assert!(!workers.is_empty());
        agent.end_with(with);
        assert!(
            until(SOON, || !workers.iter().any(|worker| is_alive(*worker))),
            "a worker outlives the agent that was {name}"
        );
    }
}

#[test]
fn what_a_module_forked_ends_with_its_worker() {
    if stock_cannot("show its workers") {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let agent = Agent::with(&home).module(token.module().line("workers = 1")).start();
    token.set("C_Sign leave-child times 1");
    agent.signs(token.public(Key::P256)).run().succeeds();
    let calls = token.calls.entries().expect("the calls");
    let left = calls.iter().find_map(|call| match &call.outcome {
        Outcome::Fault(fault) => Pid::from_raw(fault.strip_prefix("left:")?.parse().ok()?),
        Outcome::Returned(_) => None,
    });
    let left = left.expect("a child");
    assert!(is_alive(left));
    agent.command("hardkey").arg("release").run().succeeds();
    assert!(until(SOON, || !is_alive(left)), "it goes on with what the worker was logged in to");
}

#[test]
fn the_process_list_shows_which_module_a_worker_has() {
    if stock_cannot("show its workers") {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let agent = Agent::with(&home).module(Module::of(&token)).start();
    agent.signs(token.public(Key::P256)).run().succeeds();
    let arguments = format!("/proc/{}/cmdline", agent.workers()[0].as_raw_pid());
    let shown = fs::read_to_string(arguments).expect("the worker's arguments");
    assert!(shown.contains("softhsm2"), "{shown}");
    assert!(!shown.contains(token.pin()), "{shown}");
}

#[test]
fn a_worker_can_gain_no_rights() {
    if stock_cannot("show its workers") {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let agent = Agent::with(&home).module(Module::of(&token)).start();
    agent.signs(token.public(Key::P256)).run().succeeds();
    let worker = agent.workers()[0];
    let status = fs::read_to_string(format!("/proc/{}/status", worker.as_raw_pid())).expect("the worker's status");
    assert!(status.lines().any(|line| line.split_whitespace().eq(["NoNewPrivs:", "1"])), "{status}");
}

#[test]
fn a_module_runs_in_a_sandbox_unless_it_is_told_otherwise() {
    if stock_cannot("confine its workers") {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let filters = |process: &str| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a process's status");
        let count = status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:")).expect("a count of filters");
        count.trim().parse::<u32>().expect("a number")
    };
    // One filter is the mark of every worker, which hinders nothing; the second one is the sandbox.
    for (name, line, more) in [("confined", "", 2), ("free", "sandbox = \"off\"", 1)] {
        let agent = Agent::with(&home).named(name).module(Module::of(&token).line(line)).start();
        agent.signs(token.public(Key::P256)).run().succeeds();
        let worker = agent.workers()[0];
        assert_eq!(filters(&worker.as_raw_pid().to_string()), filters("self") + more, "{name}");
    }
}

#[test]
fn a_module_that_grows_is_replaced_between_two_signatures() {
    if stock_cannot("weigh its workers") {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let module = token.module().line("memory = 64").line("workers = 1");
    let mut agent = Agent::with(&home).as_stock().module(module).start();
    let key = token.public(Key::P256);
    agent.signs(key).run().succeeds();
    let first = agent.workers();
    token.set("memory grow 2MB");
    let replaced = until(SOON, || {
        agent.signs(key).run().succeeds();
        agent.workers() != first
    });
    assert!(replaced, "the worker is as big as it likes\n{}", home.logs());
    agent.wait_for_log("its worker has grown to");
    token.clear();
    agent.signs(key).run().succeeds();
}
