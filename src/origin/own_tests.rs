use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use super::*;

/// A shell that runs a script and stays; what the script printed is the number of a process.
fn shell(script: &str) -> (Child, Process) {
    let script = format!("{script}; read forever");
    let mut child =
        Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sh");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("a line");
    let process = Process::of(line.trim().parse().expect("a number")).expect("a process");
    (child, process)
}

fn end(mut child: Child, process: &Process) {
    let pid = rustix::process::Pid::from_raw(process.id.pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
    child.kill().expect("kill");
    child.wait().expect("wait");
}

/// An agent that is this process, or would be another one.
fn own(change: impl FnOnce(&mut Own)) -> Own {
    let mut own = Own::look().expect("this process");
    change(&mut own);
    own
}

#[test]
fn a_process_below_a_worker_is_the_module_s_and_one_below_another_helper_is_not() {
    let (child, process) = shell("sleep 600 >/dev/null & echo $!");
    assert!(!own(|_| {}).is_module_s(&process), "a shell is no worker");
    let is_shell = Process::of(child.id().cast_signed()).expect("the shell").executable.expect("its program");
    assert!(own(|own| own.executable = is_shell.clone()).is_module_s(&process));
    assert!(!own(|own| (own.pid, own.executable) = (1 << 30, is_shell)).is_module_s(&process), "another agent's");
    end(child, &process);
}

#[test]
fn a_process_that_lost_its_parents_in_the_agent_s_session_may_be_a_module_s() {
    let (child, process) = shell("(sleep 600 >/dev/null & echo $!)");
    let elsewhere = |session| own(|own| (own.pid, own.session) = (1 << 30, session));
    assert!(elsewhere(Some(process.stat.session)).is_module_s(&process));
    assert!(!elsewhere(Some(process.stat.session + 1)).is_module_s(&process));
    assert!(!elsewhere(None).is_module_s(&process));
    end(child, &process);
}

#[test]
fn what_is_confined_more_than_the_agent_is_not_run_by_the_user() {
    let (child, process) = shell("exec setpriv --no-new-privs sh -c 'echo $$; read forever'");
    let program = process.executable.clone().expect("a program");
    let own = |confinement: Confinement| {
        own(|own| (own.pid, own.executable, own.confinement) = (1 << 30, program.clone(), confinement))
    };
    let theirs = process.confinement().expect("a confinement");
    assert!(theirs.no_new_privileges);
    assert!(own(theirs).is_run_by_the_user(&process));
    assert!(!own(Confinement { no_new_privileges: false, ..theirs }).is_run_by_the_user(&process));
    let fewer = Confinement { filters: 0, no_new_privileges: true };
    let more = Confinement { filters: 1, ..fewer };
    assert!(more.is_tighter_than(fewer) && !fewer.is_tighter_than(more));
    end(child, &process);
}
