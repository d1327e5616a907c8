//! An SSH agent for keys that live in hardware.

pub mod origin;
mod sys;
