//! What runs inside the worker process of one PKCS#11 module, middleware library or FIDO device: blocking calls, one at a time, and nothing else.
//!
//! Vendor code hangs, crashes and forgets; here it can do so alone. The agent sets the deadlines and kills this process when one passes,
//! so nothing here waits for anything but the module and the next call. Never knows a policy, a client or another module.

mod fault;
pub mod fido;
mod keys;
mod login;
mod middleware;
mod module;
mod pcscd;
mod public;
mod raw;
mod sandbox;
mod signing;
mod token;

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};

use crate::ipc::{self, Answer, Call, FaultKind, MAX_IPC};
use crate::protocol::frame::FrameBuffer;
use middleware::Middleware;
use module::Module;

/// What a process may have open unless it asks for more, on most systems.
const MOST_DESCRIPTORS: u64 = 1024;

/// Serves calls from the socket on standard input until it closes.
///
/// # Errors
/// The socket broke, or the other side does not speak [`crate::ipc`].
pub fn run() -> io::Result<()> {
    harden()?;
    let mut agent = take_stdin()?;
    let mut calls = FrameBuffer::new(MAX_IPC);
    let mut library = None;
    loop {
        while let Some(frame) = calls.next_frame().map_err(io::Error::other)? {
            let call = ipc::decode(frame).map_err(io::Error::other)?;
            let answer = ipc::encode(&serve(&mut library, call, &agent)).map_err(io::Error::other)?;
            agent.write_all(&answer)?;
        }
        calls.release_if_idle();
        let count = agent.read(calls.space())?;
        if count == 0 {
            return Ok(());
        }
        calls.filled(count);
    }
}

/// The one library that this process was started for.
enum Library {
    Module(Box<Module>),
    Middleware(Middleware),
    Fido(fido::Device),
}

fn serve(library: &mut Option<Library>, call: Call, agent: &UnixStream) -> Answer {
    let answer = match (call, library.as_mut()) {
        (Call::Start { module: path, sandbox }, None) => sandbox::enter(&sandbox)
            .map_err(|text| fault::new(FaultKind::NotAModule, format!("its sandbox cannot be set up: {text}")))
            .and_then(|()| Module::load(&path))
            .map(|loaded| {
                *library = Some(Library::Module(Box::new(loaded)));
                Answer::Done
            }),
        (Call::StartMiddleware { library: path }, None) => Middleware::load(&path).map(|loaded| {
            *library = Some(Library::Middleware(loaded));
            Answer::Done
        }),
        (Call::Scan, Some(Library::Module(module))) => module.scan(),
        (Call::Glance, Some(Library::Module(module))) => module.glance().map(|changed| Answer::Glanced { changed }),
        (Call::StartFido { device }, None) => fido::Device::new(&device, agent)
            .map(|device| {
                *library = Some(Library::Fido(device));
                Answer::Done
            })
            .map_err(|error| fault::new(FaultKind::Other, error.to_string())),
        (Call::Fido(call), Some(Library::Fido(device))) => Ok(Answer::Fido(device.serve(&call))),
        (Call::Login { token, pin, even_final_try }, Some(Library::Module(module))) => {
            module.login(&token, pin, even_final_try).map(Answer::LoggedIn)
        }
        (Call::Sign { token, key, algorithm, data, pin }, Some(Library::Module(module))) => {
            let wanted = signing::Wanted { token: &token, key: &key, algorithm, data: &data, pin };
            module.sign(&wanted).map(Answer::Signature)
        }
        (Call::Token(call), Some(Library::Module(module))) => token::serve(&module.context, call).map(Answer::Token),
        (Call::Logout { token }, Some(Library::Module(module))) => module.logout(&token).map(|()| Answer::Done),
        (Call::SignAssertion(assertion), Some(Library::Middleware(middleware))) => middleware.sign(assertion),
        _ => Err(fault::new(FaultKind::NotAModule, "this worker serves another kind of library")),
    };
    answer.unwrap_or_else(Answer::Failed)
}

/// No core file, no debugger, and no life after the agent's: this process holds logged-in sessions and, for moments, a PIN.
fn harden() -> io::Result<()> {
    // Nothing that it might run can have more rights than it has itself.
    rustix::thread::set_no_new_privs(true)?;
    sandbox::mark();
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The agent needs many descriptors, and some modules walk through as many as they might have.
    let descriptors = rustix::process::getrlimit(Resource::Nofile);
    let current = descriptors.current.map(|current| current.min(MOST_DESCRIPTORS));
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current, ..descriptors })?;
    Ok(())
}

/// Moves the socket away from standard input, where a module might read or children might inherit it.
fn take_stdin() -> io::Result<UnixStream> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(UnixStream::from(socket))
}
