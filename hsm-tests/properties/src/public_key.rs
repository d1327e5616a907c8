//! Public keys and certificates: one key, one blob; a certificate's parts make it up.

use hardkey::crypto::fingerprint::FingerprintHash;
use hardkey::crypto::verify::{Verifier, verify_host};
use hardkey::origin::known_hosts::HostKey;
use hardkey::protocol::public_key::PublicKey;

use crate::octets::{assert_fits_a_log, split_string, string};

/// Input: a blob.
pub fn check(input: &[u8]) {
    if let Err(unknown) = HostKey::from_wire(input) {
        assert_fits_a_log(unknown.reason());
    }
    match PublicKey::from_blob(input) {
        Ok(key) => understood(&key, input),
        Err(error) => assert_fits_a_log(&error.to_string()),
    }
}

/// What must hold of a key that was read from this blob.
pub(crate) fn understood(key: &PublicKey, blob: &[u8]) {
    assert_eq!(&key.blob()[..], blob);
    let (type_name, _) = split_string(blob).expect("a type");
    assert_eq!(key.type_name().as_bytes(), type_name);

    let plain = PublicKey::from_material(key.material().clone());
    let again = PublicKey::from_blob(plain.blob()).expect("a plain key of known numbers");
    assert_eq!(again.material(), key.material());
    for hash in [FingerprintHash::Sha256, FingerprintHash::Md5] {
        assert_eq!(hash.of(key), hash.of(&plain));
    }
    if key.certificate().is_some() {
        certificate(key, blob);
    } else {
        assert_eq!(&plain.blob()[..], blob, "two blobs for one key");
    }
    // A key that no verifier takes is none that anybody's signature is checked with.
    let _ = Verifier::new(key.material());
    assert!(verify_host(key, b"", b"").is_err());
}

fn certificate(key: &PublicKey, blob: &[u8]) {
    let (certified, signature) = key.certified().expect("the parts of a certificate");
    assert_eq!([certified, &string(&signature)].concat(), blob);
    let (_, parts) = split_string(blob).and_then(|(_, rest)| split_string(rest)).expect("a type and a nonce");
    let plain = key.material().to_blob();
    let (_, numbers) = split_string(&plain).expect("a type");
    assert!(parts.starts_with(numbers), "the key is not the one in the certificate");
    if let Some(authority) = key.authority() {
        let ending = string(&authority.to_blob());
        assert!(certified.ends_with(&ending), "the authority is not the one in the certificate");
    }
}
