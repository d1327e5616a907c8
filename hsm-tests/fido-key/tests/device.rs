//! The device's side of CTAPHID, as CTAP 2.1 section 11.2 has it, and its faults.

mod support;

use std::time::Duration;

use fido_key::packet::{LONGEST, Report, command};
use fido_key::{Device, Fault, Gone, Log, Options, Presence};
use support::{Client, NOTHING, SOON};

/// authenticatorGetInfo.
const GET_INFO: [u8; 1] = [0x04];
/// authenticatorSelection: nothing but a touch.
const SELECTION: [u8; 1] = [0x0b];

fn plugged_in() -> Device {
    let key = Device::new(Options::default(), Log::default());
    key.plug();
    key
}

#[test]
fn a_ping_of_any_length_comes_back() {
    let client = Client::open(&plugged_in());
    for length in [0, 1, 57, 58, 116, 117, LONGEST] {
        let octets: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
        client.send(command::PING, &octets);
        assert_eq!(client.answer(), octets);
    }
}

#[test]
fn keep_alives_say_when_the_key_asks_for_a_touch_and_cancel_ends_it() {
    let key = plugged_in();
    key.button.set_presence(Presence::Never);
    let client = Client::open(&key);
    client.send(command::CBOR, &SELECTION);
    client.until(|message| message.command == command::KEEPALIVE && message.payload == [2]);
    assert!(key.button.is_asking());
    client.send(command::CANCEL, &[]);
    assert_eq!(client.answer(), [0x2d]);
    assert_eq!(key.log.lines(), ["plug", "init", "asks", "cancel", "cancelled", "selection 2d"]);
    key.button.set_presence(Presence::Now);
    assert_eq!(client.cbor(&SELECTION), [0]);
}

#[test]
fn others_are_told_to_wait_and_cannot_cancel() {
    let key = plugged_in();
    key.button.set_presence(Presence::Never);
    let (one, other) = (Client::open(&key), Client::open(&key));
    one.send(command::CBOR, &SELECTION);
    one.until(|message| message.command == command::KEEPALIVE);
    other.send(command::CANCEL, &[]);
    assert_eq!(other.cbor(&GET_INFO), [0x06]);
    assert!(key.button.press(SOON));
    assert_eq!(one.answer(), [0]);
    assert_eq!(other.cbor(&GET_INFO)[0], 0);
}

#[test]
fn the_lock_keeps_others_out_until_it_is_opened() {
    let key = plugged_in();
    let (one, other) = (Client::open(&key), Client::open(&key));
    one.send(command::LOCK, &[10]);
    assert_eq!(one.answer(), []);
    assert_eq!(other.cbor(&GET_INFO), [0x06]);
    assert_eq!(one.cbor(&GET_INFO)[0], 0);
    one.send(command::LOCK, &[0]);
    assert_eq!(one.answer(), []);
    assert_eq!(other.cbor(&GET_INFO)[0], 0);
}

#[test]
fn init_on_its_own_channel_gives_up_what_runs() {
    let key = plugged_in();
    key.button.set_presence(Presence::Never);
    let client = Client::open(&key);
    client.send(command::CBOR, &SELECTION);
    client.until(|message| message.command == command::KEEPALIVE);
    client.send(command::INIT, b"anew....");
    client.until(|message| message.command == command::INIT);
    assert_eq!(client.cbor(&GET_INFO)[0], 0);
    assert_eq!(key.log.lines().iter().filter(|line| *line == "selection -").count(), 1);
}

#[test]
fn bad_packets_get_the_error_that_they_deserve() {
    let key = plugged_in();
    let client = Client::open(&key);
    let long = client.message(command::PING, &[7; 100]).reports();

    client.handle.send(long[0]);
    let mut wrong = long[1];
    wrong[4] = 5;
    client.handle.send(wrong);
    assert_eq!(client.answer(), [0x04]);

    client.handle.send(long[0]);
    assert_eq!(client.answer(), [0x05], "the rest does not come");

    client.handle.send(client.message(command::PING, &[]).reports_announcing(LONGEST + 1)[0]);
    assert_eq!(client.answer(), [0x03]);

    client.send(0xa3, &[]);
    assert_eq!(client.answer(), [0x01]);

    let stranger = Client { channel: 0x7777, capabilities: 0, handle: key.open().expect("a key") };
    assert_eq!(stranger.cbor(&GET_INFO), [0x0b]);

    client.handle.send(long[1]);
    assert_eq!(client.next(NOTHING), Ok(None), "what belongs to nothing is ignored");
}

#[test]
fn every_open_node_gets_every_packet_from_the_moment_it_is_opened() {
    let key = plugged_in();
    let client = Client::open(&key);
    let witness = key.open().expect("a key");
    client.send(command::PING, b"heard");
    client.answer();
    let heard: Report = client.message(command::PING, b"heard").reports()[0];
    assert_eq!(witness.receive(SOON), Ok(Some(heard)));
    assert_eq!(witness.receive(NOTHING), Ok(None));
}

#[test]
fn pulled_out_it_is_gone_and_plugged_in_again_it_begins_anew() {
    let key = plugged_in();
    key.button.set_presence(Presence::Never);
    let client = Client::open(&key);
    client.send(command::CBOR, &SELECTION);
    client.until(|message| message.command == command::KEEPALIVE);
    key.unplug();
    assert!(key.open().is_err());
    while let Ok(Some(_)) = client.next(SOON) {}
    assert_eq!(client.next(SOON), Err(Gone));
    key.plug();
    key.button.set_presence(Presence::Now);
    assert_eq!(Client::open(&key).cbor(&SELECTION), [0]);
    client.send(command::PING, b"from before");
    assert_eq!(key.log.lines().iter().filter(|line| *line == "ping").count(), 0);
}

#[test]
fn frozen_it_says_nothing_and_thawed_it_says_what_it_had_to() {
    let key = plugged_in();
    let client = Client::open(&key);
    key.button.set_presence(Presence::After(Duration::from_millis(1)));
    client.send(command::CBOR, &SELECTION);
    key.freeze(true);
    while let Ok(Some(_)) = client.next(NOTHING) {}
    client.send(command::PING, b"lost");
    assert_eq!(client.next(NOTHING), Ok(None));
    key.freeze(false);
    assert_eq!(key.log.lines().iter().filter(|line| *line == "ping").count(), 0);
    client.send(command::PING, b"heard");
    client.until(|message| message.payload == b"heard");
}

#[test]
fn noise_is_on_a_channel_of_its_own() {
    let key = plugged_in();
    key.noise(true);
    let client = Client::open(&key);
    let witness = key.open().expect("a key");
    assert_eq!(client.cbor(&GET_INFO)[0], 0);
    let first = witness.receive(SOON).expect("a key").expect("a packet");
    assert!(!first.starts_with(&client.channel.to_be_bytes()));
    assert_eq!(first[4], command::CBOR);
}

#[test]
fn faults_change_the_answer_or_keep_it() {
    let key = plugged_in();
    let client = Client::open(&key);
    let whole = client.cbor(&GET_INFO);
    let once = |fault| key.faults.add("getInfo", fault, Some(1));

    once(Fault::Status(0x7f));
    assert_eq!(client.cbor(&GET_INFO), [0x7f]);
    once(Fault::Answer(vec![0, 0xa0]));
    assert_eq!(client.cbor(&GET_INFO), [0, 0xa0]);
    once(Fault::Cut(30));
    assert_eq!(client.cbor(&GET_INFO), whole[..30]);
    once(Fault::Pad(2));
    assert_eq!(client.cbor(&GET_INFO), [whole.as_slice(), &[0xa5, 0xa5]].concat());

    for fault in [Fault::Announce(whole.len() + 59), Fault::Gap, Fault::Silence] {
        once(fault);
        client.send(command::CBOR, &GET_INFO);
        assert_eq!(client.next(NOTHING), Ok(None));
        client.send(command::INIT, b"anew....");
        client.until(|message| message.command == command::INIT);
    }

    once(Fault::Stall);
    client.send(command::CBOR, &GET_INFO);
    client.until(|message| message.command == command::KEEPALIVE && message.payload == [1]);
    client.send(command::CANCEL, &[]);
    assert_eq!(client.answer(), [0x2d]);

    once(Fault::Unplug);
    client.send(command::CBOR, &GET_INFO);
    assert_eq!(client.next(SOON), Err(Gone));
}

#[test]
fn a_key_says_which_protocols_it_knows_and_refuses_the_other() {
    let version = [0, 3, 0, 0, 0, 0, 0];
    let new = |options| {
        let key = Device::new(options, Log::default());
        key.plug();
        Client::open(&key)
    };
    let client = new(Options { ctap2: false, ..Options::default() });
    assert_eq!(client.capabilities & 0x0c, 0);
    assert_eq!(client.cbor(&GET_INFO), [0x01]);
    client.send(command::MSG, &version);
    assert_eq!(client.answer(), b"U2F_V2\x90\x00");

    let client = new(Options { u2f: false, ..Options::default() });
    assert_eq!(client.capabilities & 0x0c, 0x0c);
    client.send(command::MSG, &version);
    assert_eq!(client.answer(), [0x01]);
}
