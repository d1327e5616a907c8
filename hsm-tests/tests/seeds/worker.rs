//! What a worker answers, with a SoftHSM token behind it.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use hardkey::ipc::{self, Answer, Call, Sandbox, SecretOctets, TokenSeen};
use hardkey::protocol::public_key::Curve;
use hardkey::protocol::signature::SignatureAlgorithm;
use hsm_tests::{Home, Key, Token, agent_binary};

use crate::store::Store;

const HEADER: usize = 4;

pub(crate) fn record(home: &Home, store: &mut Store) {
    let token = Token::new(home, "worker-token", &[Key::Rsa2048, Key::P256, Key::P384, Key::P521, Key::Ed25519]);
    let (mut ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let mut worker = Command::new(agent_binary())
        .arg("worker")
        .envs(token.environment())
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .expect("start a worker");
    let mut ask = |name: &str, call: &Call| {
        let frame = ipc::encode(call).expect("a short call");
        ours.write_all(&frame).expect("the worker listens");
        store.put("ipc", &format!("call {name}"), &frame[HEADER..]);
        let mut length = [0; HEADER];
        ours.read_exact(&mut length).expect("an answer");
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        ours.read_exact(&mut answer).expect("a whole answer");
        store.put("ipc", name, answer.as_slice());
        ipc::decode::<Answer>(&answer).expect("an answer that can be read")
    };
    let pin = |pin: &str| Some(SecretOctets(pin.as_bytes().to_vec().into()));

    ask("too early", &Call::Scan);
    ask("started", &Call::Start { module: token.library(), sandbox: Sandbox::default() });
    let seen = tokens(ask("scan", &Call::Scan));
    let name = seen[0].name.clone();
    ask("wrong pin", &Call::Login { token: name.clone(), pin: pin("wrong"), even_final_try: false });
    let right = Call::Login { token: name.clone(), pin: pin(token.pin()), even_final_try: false };
    let Answer::LoggedIn(token_now) = ask("login", &right) else { panic!("no login") };
    for key in &token_now.keys {
        for algorithm in [SignatureAlgorithm::Ecdsa(Curve::P256), SignatureAlgorithm::RsaSha512] {
            let (token, key, data) = (name.clone(), key.name(), b"data".to_vec());
            ask("sign", &Call::Sign { token, key, algorithm, data, pin: None });
        }
    }
    ask("logout", &Call::Logout { token: name });
    ask("scan again", &Call::Scan);
    drop(ours);
    worker.wait().expect("the worker ends with its socket");
}

fn tokens(answer: Answer) -> Vec<TokenSeen> {
    match answer {
        Answer::Tokens { tokens, .. } => tokens,
        other => panic!("{other:?} where tokens belong"),
    }
}
