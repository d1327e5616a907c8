//! An SSH agent for keys that live in hardware.
