//! A smartcard without hardware: real card firmware at a virtual reader.
//!
//! `virtual-card piv|openpgp PORT FOLDER` plugs a card into the reader that vpcd (vsmartcard) offers at `PORT` of this machine, and pulls it
//! when it ends. What the card keeps is in FOLDER, so the same card can be inserted again.
//!
//! Two more files in FOLDER steer and tell: as long as `hold` exists, the card waits before it computes with a private key, as one that
//! waits for a touch does; and `log` has a line for each command, `INS P1 P2 LENGTH STATUS` in hexadecimal.

mod commands;
mod firmware;
mod reader;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, port, folder] = &arguments[..] else { return usage() };
    let Ok(port) = port.parse() else { return usage() };
    let folder = PathBuf::from(folder);
    let run = match kind.as_str() {
        "piv" => firmware::piv,
        "openpgp" => firmware::openpgp,
        _ => return usage(),
    };
    match reader::connect(port).and_then(|reader| run(&folder, reader)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("virtual-card: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: virtual-card piv|openpgp PORT FOLDER");
    ExitCode::from(2)
}
