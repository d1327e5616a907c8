//! What the agent's core takes for one request, apart from sockets, processes and tokens.
//!
//! `cargo bench -p hsm-tests --bench core`
//!
//! These are times of one machine and say nothing about another; criterion compares them with the last run on the same one. Whole requests,
//! beside OpenSSH's agent, are what the command `bench` measures.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use hardkey::backend::{BoxFuture, Place, SignError, Signer};
use hardkey::config::Config;
use hardkey::errand::Errand;
use hardkey::keyring::{Identity, Keyring, Names};
use hardkey::origin::binds::{BindClaim, Binds};
use hardkey::origin::classify::{Origin, classify};
use hardkey::origin::evidence::{Evidence, Kind, PayloadFact, Phase, Program, Request as Asking, Setup};
use hardkey::origin::known_hosts::{self, Answer};
use hardkey::origin::ledger::Standing;
use hardkey::origin::trust::{Role, Version};
use hardkey::policy::asked::{Asked, KeyFacts, Kind as Payloads};
use hardkey::policy::{KeyLimits, Policy};
use hardkey::protocol::frame::{FrameBuffer, MAX_MESSAGE};
use hardkey::protocol::payload::Payload;
use hardkey::protocol::public_key::{KeyMaterial, PublicKey};
use hardkey::protocol::request::Request;
use hardkey::protocol::signature::Wanted;
use hardkey::protocol::wire::Put as _;

/// A login as OpenSSH asks for it, in its frame (RFC 4252 section 7, RFC 9987 section 5.6).
fn sign_request() -> Vec<u8> {
    let mut data = Vec::new();
    data.put_string(&[7; 32]);
    data.push(50);
    for field in ["user", "ssh-connection", "publickey"] {
        data.put_string(field.as_bytes());
    }
    data.push(1);
    data.put_string(b"ssh-ed25519");
    data.put_string(&[3; 51]);
    let mut body = vec![13];
    body.put_string(&[3; 51]);
    body.put_string(&data);
    body.put_u32(0);
    let mut message = Vec::new();
    message.put_string(&body);
    message
}

fn frames(criterion: &mut Criterion) {
    let message = sign_request();
    let mut frames = FrameBuffer::new(MAX_MESSAGE);
    frames.space();
    criterion.bench_function("frame and payload of a request to sign", |bencher| {
        bencher.iter(|| {
            frames.space()[..message.len()].copy_from_slice(&message);
            frames.filled(message.len());
            let frame = frames.next_frame().expect("short enough").expect("whole");
            let Ok(Request::Sign(sign)) = Request::parse(frame) else { panic!("not a request to sign") };
            assert!(matches!(Payload::of(black_box(sign.data)), Payload::Login(_)));
        });
    });
}

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
        keyring.add(identity(number));
    }
    keyring
}

fn identity(number: u16) -> Identity {
    let mut key = [0; 32];
    key[..2].copy_from_slice(&number.to_be_bytes());
    Identity {
        public: PublicKey::from_material(KeyMaterial::Ed25519 { key }),
        comment: b"user@example.org".to_vec(),
        signer: Arc::new(Mute),
        provider: None,
        confirm: false,
        expires: None,
        destinations: [].into(),
        names: Names::default(),
    }
}

fn lists(criterion: &mut Criterion) {
    for count in [5, 1000] {
        let mut keyring = keyring(count);
        criterion.bench_function(&format!("list of {count} keys, again"), |bencher| {
            bencher.iter(|| keyring.answer_for(Duration::ZERO, |_| true));
        });
        criterion.bench_function(&format!("list of {count} keys, for the first time"), |bencher| {
            bencher.iter(|| {
                // Takes the place of the key that is there already; what was encoded is out of date.
                keyring.add(identity(0));
                keyring.answer_for(Duration::ZERO, |_| true)
            });
        });
        criterion.bench_function(&format!("list of {count} keys, one hidden"), |bencher| {
            let hidden = Arc::clone(keyring.iter().next().expect("keys").public.blob());
            bencher.iter(|| keyring.answer_for(Duration::ZERO, |identity| *identity.public.blob() != hidden));
        });
    }
}

/// Fifty rules of which none but the last is about the request.
fn long_policy() -> Policy {
    let rules: String = (0..49)
        .map(|number| {
            format!("[[rule]]\nhost = [\"host{number}.example.org\", \"*.net{number}\"]\naction = \"confirm\"\n\n")
        })
        .collect();
    Config::parse(&format!("{rules}[[rule]]\nuser = \"deploy\"\naction = \"confirm\"\n"))
        .expect("a configuration")
        .policy
}

fn decisions(criterion: &mut Criterion) {
    let hosts = ["build.example.org".to_owned()];
    let asked = Asked {
        key: KeyFacts {
            fingerprint: "SHA256:oAGNfH9aTLAkZLQoCPbDUN4YsjVXGS5hYYlvG1EbkmY",
            comment: "user@example.org",
            uri: None,
        },
        origin: Origin::LocalDirect,
        kind: Payloads::BoundLogin,
        hosts: &hosts,
        user: Some("deploy"),
        via: &[],
        hops: 0,
        namespace: None,
        program: None,
        parents: &[],
        listener: None,
    };
    for (name, policy) in [("the defaults", Policy::default()), ("50 rules", long_policy())] {
        criterion.bench_function(&format!("decision by {name}"), |bencher| {
            bencher.iter(|| policy.decide(black_box(&asked), KeyLimits::default()));
        });
    }
}

fn judgements(criterion: &mut Criterion) {
    let (hostkey, session_id) = (vec![4; 51], vec![7; 32]);
    let bound = |is_forwarding| {
        let mut binds = Binds::default();
        let claim = BindClaim { hostkey: &hostkey, session_id: &session_id, signature: b"", is_forwarding };
        // Signatures are not what is measured.
        binds.receive(&claim, |_, _, _| true).expect("a bind");
        binds
    };
    let login =
        PayloadFact::BoundLogin { user: "user".into(), session_id: session_id.clone(), hostkey: hostkey.clone() };
    let request = Asking::Sign(login);
    for (name, binds) in [("plain login", bound(false)), ("forwarded login", bound(true))] {
        let evidence = evidence(&binds, &request, &session_id);
        criterion.bench_function(&format!("judgement of a {name}"), |bencher| {
            bencher.iter(|| classify(black_box(&evidence)));
        });
    }
}

/// All that can be found out about an `ssh` that logs in.
fn evidence<'a>(binds: &'a Binds, request: &'a Asking, session_id: &[u8]) -> Evidence<'a> {
    Evidence {
        listener: Kind::Agent,
        label: None,
        binds,
        request,
        program: Ok(Program { role: Role::Ssh, version: Some(Version { major: 9, minor: 2 }) }),
        standing: Ok(Standing {
            ordinal: Some(1),
            authenticating: false,
            first_session: Some(session_id.to_vec()),
            taint: None,
            predates_agent: false,
        }),
        first_hop_is_local_login: false,
        phase: Some(Ok(Phase { age: Duration::from_secs(1), listens: false, forked: false, detached: false })),
        setup: Some(Ok(Setup {
            destination: "host port 22".into(),
            user: "user".into(),
            own_agent_is_ours: Ok(true),
            relays: None,
            forwards_us: Ok(false),
            gssapi_key_exchange: false,
            backgrounds: false,
        })),
        pin: Some(Ok(Answer::Known(known_hosts::Place { file: "known_hosts".into(), line: 1 }))),
    }
}

criterion_group!(core, frames, lists, decisions, judgements);
criterion_main!(core);
