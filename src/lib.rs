//! hardkey: an SSH agent for keys that live in hardware.
//!
//! A request comes in over a Unix socket, is understood ([`protocol`]), looked up ([`keyring`]), consented to where that is asked for
//! ([`consent`]), signed where the key lives ([`backend`], in a [`worker`] process when that is a token), and answered ([`agent`]).

pub mod agent;
pub mod audit;
pub mod backend;
pub mod cli;
pub mod clock;
pub mod config;
pub mod consent;
pub mod crypto;
pub mod errand;
pub mod field;
pub mod ipc;
pub mod keyring;
pub mod origin;
pub mod paths;
pub mod pattern;
pub mod policy;
pub mod protocol;
pub mod rotation;
pub mod shell;
pub mod state_file;
pub mod stream;
pub mod sys;
pub mod text;
pub mod worker;
