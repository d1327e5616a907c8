//! Cryptography on the protocol's types: verification, hashes, fingerprints, the lock's passphrase.
//!
//! Owns every use of the crypto library that is not a software key's. Never does I/O and keeps no secret longer than a call.

pub mod digest_info;
pub mod fingerprint;
pub mod passphrase;
pub mod verify;
