//! A long time of everything at once: does the agent stay as small and as willing as it was?
//!
//! `cargo run --release -p hsm-tests --bin soak -- [--minutes N]` (an hour by default; fractions are minutes, too)
//!
//! Clients log in with real `ssh`, sign with software keys and with two tokens, list, add and remove keys, wait for dialogs and leave them
//! open, and talk nonsense; meanwhile one of the tokens fails in every way a module can, and the configuration changes. Only what that
//! token is asked for while it fails, and what nobody answered, may be refused.
//!
//! Prints memory, descriptors and what was done as it goes on. Ends with status 1 at the first refusal that nothing explains, or when memory
//! or descriptors have grown.

#![allow(clippy::print_stdout, reason = "the table is the program's output")]

mod load;
mod size;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use hsm_tests::{Agent, FaultyToken, Home, Key, KeyFile, Module, SOON, Sshd, Token, agent_binary, until};

use load::{Load, Place};
use size::Size;

/// What the table is printed this many times for.
const LINES: u32 = 30;
/// After this share of the time nothing grows any more.
const WARM_UP: u32 = 6;
/// What an agent may be larger at the end: octets. Allocators do not give everything back at once.
const TOLERANCE: u64 = 4 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let minutes = match &arguments[..] {
        [] => Some(60.0),
        [option, value] if option == "--minutes" => value.parse().ok().filter(|minutes: &f64| *minutes > 0.0),
        _ => None,
    };
    let Some(minutes) = minutes else {
        eprintln!("usage: soak [--minutes N]");
        return ExitCode::from(2);
    };
    match soak(Duration::from_secs_f64(minutes * 60.0)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

fn soak(time: Duration) -> Result<(), String> {
    let home = Home::new();
    let failing = FaultyToken::new(&home, "failing", &[Key::P256]);
    // Other keys, and so another token: copies of one count as one.
    let sound = Token::new(&home, "sound", &[Key::Ed25519]);
    let login = KeyFile::new(&home, "login");
    let confirmed = KeyFile::new(&home, "confirmed");
    let sshd = Sshd::start(&home, [login.public()]);
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    // A person who takes as long as it takes to read, and then agrees.
    let askpass = home.program("agrees", "#!/bin/sh\nexec sleep 1\n");
    let agent = Agent::with(&home)
        // Longer than a sound call takes on a busy machine, or its refusal would be nobody's fault but the machine's.
        .module(failing.module().line("timeout = '5s'").line("workers = 2"))
        .module(Module::of(&sound))
        .line(&format!("[[process]]\nexe = {:?}\nrelays = false", program.display().to_string()))
        .env("SSH_ASKPASS", askpass)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .start();
    agent.ssh_add([login.path()]).run().succeeds();
    agent.ssh_add(["-c".as_ref(), confirmed.path().as_os_str()]).run().succeeds();
    // A token that failed at the first look would be absent for longer than its fault.
    if !until(SOON, || agent.listed().len() == 4) {
        return Err(format!("not all keys are offered: {:?}\n{}", agent.listed(), home.logs()));
    }
    println!("agent: {}", agent_binary().display());

    let place = Place {
        home: &home,
        agent: &agent,
        sshd: &sshd,
        login: &login,
        confirmed: &confirmed,
        sound: &sound,
        failing: &failing,
    };
    let load = Load::default();
    let began = Instant::now();
    let mut sizes = Vec::new();
    std::thread::scope(|scope| {
        let working = load.start(scope, &place);
        println!("{:>8}  {}  {}", "seconds", Size::HEAD, Load::head());
        for line in 0..=LINES {
            let due = time * line / LINES;
            // A failure ends the wait, and the whole.
            let failed = until(due.saturating_sub(began.elapsed()), || load.has_failed());
            let size = Size::of(&agent);
            println!("{:>8}  {size}  {load}", began.elapsed().as_secs());
            sizes.push(size);
            if failed {
                break;
            }
        }
        load.stop();
        working.into_iter().try_for_each(|one| one.join().map_err(|_| "a client panicked".to_owned()))
    })?;
    load.outcome().map_err(|error| format!("{error}\n{}", home.logs()))?;
    // Nothing is under way any more, and the module is well: so the last word is about rest.
    let last = Size::at_rest(&agent);
    let warm = &sizes[sizes.len() / usize::try_from(WARM_UP).expect("a small number")];
    last.has_not_outgrown(warm, TOLERANCE)
}
