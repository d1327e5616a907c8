use std::io::Read as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

use super::*;
use crate::origin::rules::{Finding, Outcome, Rule};
use crate::origin::testing::Scratch;

#[tokio::test]
async fn connections_of_one_process_are_told_apart_by_their_number() {
    let (assessor, listener) = assessor();
    let (ours, _theirs) = pair();
    let mut first = assessor.accept(&ours, &listener);
    let mut second = assessor.accept(&ours, &listener);
    assert_eq!(found(&mut first, Rule::D2).await.outcome, Outcome::Pass);
    let later = found(&mut second, Rule::D2).await;
    assert!(later.reason.starts_with("connection 2 of this process"), "{}", later.reason);
}

#[tokio::test]
async fn a_bad_bind_is_held_against_the_process_s_other_connections() {
    let (assessor, listener) = assessor();
    let (ours, _theirs) = pair();
    let mut first = assessor.accept(&ours, &listener);
    let mut second = assessor.accept(&ours, &listener);
    assert!(second.bind(&claim(false), |_, _, _| false).is_err());
    assert_eq!(found(&mut first, Rule::D2).await.outcome, Outcome::Fail);
    assert_eq!(first.judge(&Request::List).await.origin, Origin::Unknown);
    assert_eq!(second.judge(&Request::List).await.origin, Origin::ForwardedUnverified);
}

#[tokio::test]
async fn a_later_connection_bound_to_the_login_s_session_is_as_good_as_the_first() {
    let (assessor, listener) = assessor();
    let (ours, _theirs) = pair();
    let mut first = assessor.accept(&ours, &listener);
    let mut second = assessor.accept(&ours, &listener);
    let mut third = assessor.accept(&ours, &listener);
    for login in [&mut first, &mut second] {
        login.bind(&claim(false), |_, _, _| true).expect("a good bind");
    }
    third.bind(&claim(true), |_, _, _| true).expect("a good bind");
    assert_eq!(found(&mut second, Rule::D2).await.outcome, Outcome::Pass);
    assert_eq!(third.judge(&Request::List).await.origin, Origin::ForwardedUnverified);
}

#[test]
fn a_socket_that_is_dropped_is_closed_whatever_is_known_of_its_connection() {
    let (assessor, listener) = assessor();
    let (ours, mut theirs) = pair();
    theirs.set_nonblocking(true).expect("nonblocking");
    let connection = assessor.accept(&ours, &listener);
    drop(ours);
    assert_eq!(theirs.read(&mut [0]).expect("end of file"), 0);
    drop(connection);
}

#[tokio::test]
async fn a_peer_that_is_gone_is_unknown_and_no_error() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let socket = UnixListener::bind(&path).expect("bind");
    let mut child =
        Command::new("socat").args([&format!("UNIX-CONNECT:{}", path.display()), "PIPE"]).spawn().expect("socat");
    let (stream, _) = socket.accept().expect("accept");
    child.kill().expect("kill");
    child.wait().expect("wait");
    let (assessor, listener) = assessor();
    let mut connection = assessor.accept(&(Arc::new(stream) as Socket), &listener);
    let judgement = connection.explain(&Request::List).await;
    assert_eq!(judgement.origin, Origin::Unknown);
    assert!(judgement.reason.contains("process that connected"), "{}", judgement.reason);
    assert!(judgement.findings.iter().all(|finding| finding.outcome == Outcome::Fail));
}

#[tokio::test]
async fn a_peer_that_goes_before_it_is_judged_is_unknown() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let socket = UnixListener::bind(&path).expect("bind");
    let mut child =
        Command::new("socat").args([&format!("UNIX-CONNECT:{}", path.display()), "PIPE"]).spawn().expect("socat");
    let (stream, _) = socket.accept().expect("accept");
    let (assessor, listener) = assessor();
    let mut connection = assessor.accept(&(Arc::new(stream) as Socket), &listener);
    child.kill().expect("kill");
    child.wait().expect("wait");
    assert_eq!(connection.explain(&Request::List).await.origin, Origin::Unknown);
    let phase = found(&mut connection, Rule::D4).await;
    assert!(phase.reason.contains("No such"), "{}", phase.reason);
}

fn pair() -> (Socket, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("pair");
    (Arc::new(ours), theirs)
}

fn assessor() -> (Arc<Assessor>, Arc<Listener>) {
    let assessor = Assessor::new(Trust::default(), Ledger::new(None), Vec::new());
    let listener = Listener { kind: Kind::Agent, path: None, label: None };
    (Arc::new(assessor), Arc::new(listener))
}

async fn found(connection: &mut Connection, rule: Rule) -> Finding {
    let judgement = connection.explain(&Request::List).await;
    let finding = judgement.findings.iter().find(|finding| finding.rule == rule);
    finding.cloned().expect("every rule has a finding")
}

fn claim(is_forwarding: bool) -> BindClaim<'static> {
    BindClaim { hostkey: b"host", session_id: b"session", signature: b"", is_forwarding }
}
