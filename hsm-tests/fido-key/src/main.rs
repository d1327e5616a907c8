//! `fido-key`: puts software security keys where programs look for them, and lets a test direct them over a socket. See `README.md`.

mod host;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, io};

use host::{Host, Mock, Packets, Place, Uhid};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    if arguments == ["hold"] {
        return ExitCode::from(u8::from(host::hold().is_err()));
    }
    let [place, directory] = arguments.as_slice() else {
        eprintln!("usage: fido-key umockdev|packets|uhid DIRECTORY");
        return ExitCode::from(2);
    };
    match run(place, directory.into()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fido-key: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(place: &OsStr, directory: PathBuf) -> io::Result<()> {
    let place: Box<dyn Place> = match place.to_str() {
        Some("umockdev") => return Err(host::run_under_umockdev(&directory)),
        Some("mocked") => Box::new(Mock::new()?),
        Some("packets") => Box::new(Packets::new(&directory)),
        Some("uhid") => Box::new(Uhid::default()),
        _ => return Err(io::Error::other(format!("no such place: {}", place.display()))),
    };
    Host::new(place, directory).serve()
}
