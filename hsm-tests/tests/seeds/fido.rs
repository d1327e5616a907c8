//! What a security key answers, with real firmware.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};

use hardkey::ipc::SecretOctets;
use hardkey::ipc::fido::{FidoAnswer, FidoCall};
use hidapi::{REPORT, Report};
use hsm_tests::{Home, UsbPorts};
use properties::fido_device::{self, CALLS, CHANNEL, OLD, says};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send, socket_with,
};

use crate::store::Store;

const INIT: u8 = 0x86;
const KEEPALIVE: u8 = 0xbb;
const BROADCAST: [u8; 4] = [0xff; 4];
const PIN: &[u8] = b"246810";

pub(crate) fn record(home: &Home, store: &mut Store) {
    let ports = UsbPorts::of_sockets(home);
    for (kind, old) in [("", false), ("u2f-only", true)] {
        let name = if old { "u2f" } else { "fido2" };
        let key = ports.kind_of_key(name, kind);
        let node = key.plug();
        let mut ask = |title: &str, choice: u8, call: &FidoCall| {
            let (answer, said) = conversation(&node, call, old);
            let first = choice | if old { OLD } else { 0 };
            store.put("fido_device", &format!("{name} {title}"), [&[first], &said[..]].concat());
            answer
        };
        let fresh = FidoCall::SetPin { old: None, new: SecretOctets(PIN.to_vec().into()) };
        let FidoAnswer::Abilities(abilities) = ask("abilities", 0, &fido_device::call(0, &[])) else {
            panic!("a key of no abilities")
        };
        assert_eq!(abilities.fido2, !old);
        ask("first pin", 9, &fresh);
        let handle = match ask("enrolled", 6, &fido_device::call(6, &[])) {
            FidoAnswer::Enrolled(enrolled) => enrolled.handle,
            other => panic!("{other:?} where a key belongs"),
        };
        let hidden = match ask("enrolled hidden", 7, &fido_device::call(7, &[])) {
            FidoAnswer::Enrolled(enrolled) => enrolled.handle,
            FidoAnswer::Failed(_) if old => Vec::new(),
            other => panic!("{other:?} where a key belongs"),
        };
        for choice in 0..CALLS {
            ask(&format!("call {choice}"), choice, &fido_device::call(choice, &handle));
        }
        for choice in [1, 2, 4] {
            ask(&format!("call {choice} hidden"), choice, &fido_device::call(choice, &hidden));
        }
    }
}

/// Has a worker serve a call at the key, and writes down what the key says, as [`says`] has it.
fn conversation(node: &Path, call: &FidoCall, old: bool) -> (FidoAnswer, Vec<u8>) {
    let script = Arc::new(Mutex::new(Vec::new()));
    let written = script.clone();
    let key = Key::open(node);
    let answer = fido_device::serve(call, old, move |command, message| {
        let answer = key.answers(command, message);
        let length = u16::try_from(answer.len()).expect("a length of two octets");
        let mut script = written.lock().expect("one thread");
        script.push(says::ANSWER);
        script.extend(length.to_be_bytes());
        script.extend(&answer);
        fido_device::message(CHANNEL, command, length, &answer)
    });
    let said = script.lock().expect("one thread").clone();
    (answer, said)
}

/// An open node with a channel.
struct Key {
    node: OwnedFd,
    channel: [u8; 4],
}

impl Key {
    fn open(path: &Path) -> Self {
        let node = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let node = node.expect("a socket");
        connect(&node, &SocketAddrUnix::new(path).expect("a short path")).expect("a key");
        let mut key = Self { node, channel: BROADCAST };
        let answer = key.answers(INIT, b"sequence");
        key.channel = answer[8..12].try_into().expect("four octets");
        key
    }

    fn answers(&self, command: u8, message: &[u8]) -> Vec<u8> {
        let length = u16::try_from(message.len()).expect("a length of two octets");
        for report in fido_device::message(self.channel, command, length, message) {
            send(&self.node, &report, SendFlags::empty()).expect("a key that listens");
        }
        let mut first = self.report();
        while first[4] == KEEPALIVE {
            first = self.report();
        }
        assert_eq!(first[4], command, "an answer");
        let length = usize::from(u16::from_be_bytes([first[5], first[6]]));
        let mut answer = first[7..].to_vec();
        while answer.len() < length {
            answer.extend_from_slice(&self.report()[5..]);
        }
        answer.truncate(length);
        answer
    }

    fn report(&self) -> Report {
        let mut report = [0; REPORT];
        let (_, length) = recv(&self.node, &mut report, RecvFlags::empty()).expect("a key that speaks");
        assert_eq!(length, REPORT);
        report
    }
}
