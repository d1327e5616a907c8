//! How often the agent's core asks for memory, counted: what costs nothing today must not begin to cost something unnoticed.

use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use hardkey::backend::{BoxFuture, Place, SignError, Signer};
use hardkey::errand::Errand;
use hardkey::keyring::{Identity, Keyring, Names};
use hardkey::protocol::frame::{FrameBuffer, MAX_MESSAGE};
use hardkey::protocol::payload::Payload;
use hardkey::protocol::public_key::{KeyMaterial, PublicKey};
use hardkey::protocol::request::Request;
use hardkey::protocol::signature::Wanted;
use hardkey::protocol::wire::Put as _;

struct Mute;

impl Signer for Mute {
    fn sign<'a>(&'a self, _: &'a [u8], _: Wanted, _: &'a Errand) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        Box::pin(async { Err(SignError::Software) })
    }

    fn place(&self) -> Place {
        Place::default()
    }
}

fn keyring(count: u16) -> Keyring {
    let mut keyring = Keyring::default();
    for number in 0..count {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&number.to_be_bytes());
        keyring.add(Identity {
            public: PublicKey::from_material(KeyMaterial::Ed25519 { key }),
            comment: b"key".to_vec(),
            signer: Arc::new(Mute),
            provider: None,
            confirm: false,
            expires: None,
            destinations: [].into(),
            names: Names::default(),
        });
    }
    keyring
}

/// A request to sign a login, with its length as it goes over the wire.
fn sign_request() -> Vec<u8> {
    let mut data = Vec::new();
    data.put_string(&[7; 32]);
    data.push(50);
    for field in ["user", "ssh-connection", "publickey"] {
        data.put_string(field.as_bytes());
    }
    data.push(1);
    data.put_string(b"ssh-ed25519");
    data.put_string(b"key");
    let mut body = vec![13];
    body.put_string(b"key");
    body.put_string(&data);
    body.put_u32(0);
    let mut message = Vec::new();
    message.put_string(&body);
    message
}

#[test]
fn listing_a_thousand_keys_asks_for_no_memory_once_the_answer_is_known() {
    let mut keyring = keyring(1000);
    keyring.answer_for(Duration::ZERO, |_| true);
    let cost = measure(|| drop(keyring.answer_for(Duration::ZERO, |_| true)));
    assert_eq!(cost.count_total, 0);
}

#[test]
fn finding_a_key_among_a_thousand_asks_for_no_memory() {
    let mut keyring = keyring(1000);
    let blob = keyring.iter().last().map(|identity| Arc::clone(identity.public.blob())).expect("keys");
    let cost = measure(|| assert!(keyring.find(&blob, Duration::ZERO).is_some()));
    assert_eq!(cost.count_total, 0);
}

#[test]
fn a_request_to_sign_is_read_and_understood_where_it_lies() {
    let message = sign_request();
    let mut frames = FrameBuffer::new(MAX_MESSAGE);
    frames.space();
    let cost = measure(|| {
        for _ in 0..10 {
            frames.space()[..message.len()].copy_from_slice(&message);
            frames.filled(message.len());
            let frame = frames.next_frame().expect("short enough").expect("whole");
            let Ok(Request::Sign(sign)) = Request::parse(frame) else { panic!("not a request to sign") };
            assert!(matches!(Payload::of(sign.data), Payload::Login(_)));
        }
    });
    assert_eq!(cost.count_total, 0);
}
