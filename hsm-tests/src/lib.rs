//! What hardkey's tests stand on: a token, an agent, an `sshd` and a home of its own for each test.
//!
//! A test begins with a [`Home`]: a private directory, an environment without anything of the user who runs the tests, and the
//! promise that no process and no file is left when it ends, however it ends. Everything else is started inside it:
//! a SoftHSM [`Token`] or one that fails on demand ([`FaultyToken`]), a token of any other kind ([`TokenKind`]), an [`Agent`], an [`Sshd`], a [`Pinentry`] or an [`Askpass`] that answers from a script, and a raw
//! protocol [`Client`] for what well-behaved tools never send.
//!
//! The agent under test is the program named by `$HARDKEY_BIN`, by default the workspace's own build. With
//! `HARDKEY_BIN=/usr/bin/ssh-agent` the same tests run against OpenSSH's agent, as far as it can follow: see [`stock_cannot`].

mod agent;
mod answers;
mod askpass;
mod background;
mod binary;
mod bus;
mod card;
mod client;
mod destinations;
mod dice;
mod display;
mod faulty;
mod fido;
mod home;
mod host;
mod hosts;
mod inserted;
mod keyfile;
mod kind;
mod logind;
mod module;
mod objects;
mod pane;
mod pinentry;
mod ports;
mod processes;
mod publickey;
mod realm;
mod remote;
mod run;
mod scdaemon;
mod soft;
mod sshd;
mod sudo;
mod template;
mod token;
mod tpm;
mod wait;
mod wrapping;

pub use agent::{Agent, AgentBuilder};
pub use answers::Answer;
pub use askpass::Askpass;
pub use background::Background;
pub use binary::{agent_binary, is_stock, stock_cannot, use_agent};
pub use bus::Bus;
pub use card::{Card, Reader, Slot};
pub use client::{Body, Client, Fields};
pub use destinations::{Hop, restricted_by, restricted_to};
pub use dice::Dice;
pub use display::Display;
pub use faulty::{FaultyModule, FaultyToken};
pub use fido::{FidoKey, UsbPorts};
pub use home::Home;
pub use host::ModuleHost;
pub use hosts::{Host, Hosts, bind, login};
pub use inserted::Inserted;
pub use keyfile::KeyFile;
pub use kind::TokenKind;
pub use logind::{Logind, Said};
pub use module::Module;
pub use objects::{Class, KnownKey, Objects};
pub use pane::Pane;
pub use pinentry::Pinentry;
pub use processes::{Pid, children, is_alive, kill, resident_memory, signal};
pub use publickey::PublicKey;
pub use realm::Realm;
pub use remote::Remote;
pub use run::{Outcome, Task};
pub use rustix::process::Signal;
pub use scdaemon::Scdaemon;
pub use soft::Soft;
pub use sshd::Sshd;
pub use sudo::sudo_by_agent;
pub use token::{Key, Token, library, soft_security_key};
pub use tpm::Tpm;
pub use wait::{SOON, until, until_some};
pub use wrapping::Wrapping;
