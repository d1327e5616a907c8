//! Faults without end: whatever a module does, every client is answered, nobody else notices, and afterwards all is well.
//!
//! Faults of `C_Login` itself have tests of their own: what became of a PIN there is not known, and an unattended PIN whose fate stayed unknown
//! twice is not presented again, on purpose.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hsm_tests::{
    Agent, Answer, Client, Dice, FaultyToken, Home, Key, KeyFile, Pinentry, PublicKey, resident_memory, stock_cannot,
};

const FAULTS: usize = 1000;
const LOGINS: usize = 30;
/// The same storm each time.
const SEED: u64 = 0x5eed_0f57_0a11_5eed;
/// A signature waits for the longest fault, the module's time limit, and for a worker or two to start.
const ANSWERED: Duration = Duration::from_secs(20);

/// What others do meanwhile, until they are told to stop; how often it was done.
struct Bystanders {
    stop: AtomicBool,
    signatures: AtomicUsize,
    lists: AtomicUsize,
}

impl Bystanders {
    fn sign(&self, mut client: Client, key: &PublicKey) {
        while !self.stop.load(Ordering::Relaxed) {
            let start = Instant::now();
            assert!(client.sign(&key.blob(), b"data", 0).is_some(), "a software key's signature is refused");
            assert!(start.elapsed() < Duration::from_secs(5), "a software key waits {:?}", start.elapsed());
            self.signatures.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn list(&self, mut client: Client) {
        while !self.stop.load(Ordering::Relaxed) {
            assert!(client.list().is_some(), "a list is refused");
            self.lists.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_thousand_faults_in_a_row_do_no_lasting_harm() {
    if stock_cannot("survive what modules do") {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let module = token.module().line("timeout = '1s'").line("workers = 2");
    let agent = Agent::with(&home).as_stock().module(module).start();
    let software = KeyFile::new(&home, "software");
    agent.ssh_add([software.path()]).run().succeeds();
    let blob = token.public(Key::P256).blob();
    assert!(agent.client().sign(&blob, b"data", 0).is_some());

    let bystanders = Bystanders { stop: AtomicBool::new(false), signatures: 0.into(), lists: 0.into() };
    let (mut served, mut refused, mut memory) = (0_usize, 0_usize, 0);
    thread::scope(|scope| {
        let (signer, lister) = (agent.client(), agent.client());
        let others =
            [scope.spawn(|| bystanders.sign(signer, software.public())), scope.spawn(|| bystanders.list(lister))];
        let (mut client, mut other) = (agent.client(), agent.client());
        let mut dice = Dice::new(SEED);
        for number in 0..FAULTS {
            let fault = dice.fault();
            token.set(&fault);
            let start = Instant::now();
            let both = thread::scope(|pair| {
                let second = pair.spawn(|| other.sign(&blob, b"more data", 0).is_some());
                [client.sign(&blob, b"data", 0).is_some(), second.join().expect("an answer")]
            });
            for signed in both {
                if signed { served += 1 } else { refused += 1 }
            }
            assert!(start.elapsed() < ANSWERED, "fault {number}, {fault:?}: answered after {:?}", start.elapsed());
            if number == FAULTS / 4 {
                memory = resident_memory(agent.pid());
            }
        }
        bystanders.stop.store(true, Ordering::Relaxed);
        for one in others {
            one.join().expect("a bystander that noticed nothing");
        }
    });
    let grown = resident_memory(agent.pid()).saturating_sub(memory);
    assert!(grown < 4 << 20, "the agent grew by {grown} octets");
    assert!(served > FAULTS / 2, "only {served} of {} signatures", served + refused);
    assert!(refused > FAULTS / 10, "the faults hit nobody: {refused} of {} refused", served + refused);
    let [signatures, lists] = [bystanders.signatures, bystanders.lists].map(AtomicUsize::into_inner);
    assert!(
        signatures > FAULTS / 4 && lists > FAULTS / 4,
        "{signatures} signatures and {lists} lists for the bystanders"
    );

    token.clear();
    assert!(agent.client().sign(&blob, b"data", 0).is_some(), "all is not well afterwards\n{}", home.logs());
}

/// Wrong PINs that the token itself has judged.
fn judged_wrong(token: &FaultyToken) -> usize {
    ["CKR_PIN_INCORRECT", "CKR_PIN_LOCKED"].into_iter().map(|value| token.calls.count_returned("C_Login", value)).sum()
}

#[test]
fn logins_that_fail_in_any_way_spend_no_try_that_nobody_typed() {
    if stock_cannot("ask for a PIN when it is needed") {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let pinentry = Pinentry::new(&home, &[]);
    let module = token.module().pin_asked().line("timeout = '1s'").line("workers = 1");
    let agent = Agent::with(&home).as_stock().module(module).pinentry(&pinentry).start();
    let blob = token.public(Key::P256).blob();
    let (right, mut dice) = (token.token().pin(), Dice::new(SEED));
    let mut typed_wrong = 0;
    for number in 0..LOGINS {
        let fault = dice.login_fault();
        let is_wrong = dice.below(2) == 0;
        token.set(&format!("token pin-count 3\n{fault}"));
        agent.command("hardkey").arg("release").run().succeeds();
        pinentry.answers(&[Answer::Type(if is_wrong { "wrong" } else { right })]);
        typed_wrong += usize::from(is_wrong);
        let (before, wrong_before) = (token.calls.count("C_Login"), judged_wrong(&token));
        let signed = agent.client().sign(&blob, b"data", 0).is_some();
        assert!(!(signed && is_wrong), "{number}, {fault}: a wrong PIN is taken for right");
        // Where the token says that somebody is in, it has not looked at the PIN.
        let most = if fault.contains("ALREADY") { 2 } else { 1 };
        let presented = token.calls.count("C_Login") - before;
        assert!(presented <= most, "{number}, {fault}: the PIN was presented {presented} times\n{}", home.logs());
        assert!(judged_wrong(&token) - wrong_before <= usize::from(is_wrong), "{number}, {fault}\n{}", home.logs());

        // The person types it again, rightly now.
        token.set("token pin-count 3");
        if !signed {
            pinentry.answers(&[Answer::Type(right)]);
        }
        assert!(agent.client().sign(&blob, b"data", 0).is_some(), "{number}, after {fault}\n{}", home.logs());
    }
    let judged = judged_wrong(&token);
    assert!(judged <= typed_wrong && typed_wrong > LOGINS / 4, "{judged} of {typed_wrong} wrong PINs judged");
}

#[test]
fn a_pin_file_whose_fate_stays_unknown_is_presented_twice_at_most() {
    if stock_cannot("read a PIN from a file") {
        return;
    }
    for fault in Dice::login_faults() {
        let home = Home::new();
        let token = FaultyToken::new(&home, "token", &[Key::P256]);
        let wrong = home.file("wrong-pin", "wrong\n");
        fs::set_permissions(&wrong, Permissions::from_mode(0o600)).expect("make the file private");
        let module = token.module().pin_from(wrong).line("timeout = '1s'").line("workers = 1");
        let agent = Agent::with(&home).as_stock().module(module).start();
        let blob = token.public(Key::P256).blob();
        token.set(&format!("token pin-count 3\n{fault}"));
        for _ in 0..4 {
            assert!(agent.client().sign(&blob, b"data", 0).is_none());
        }
        let most = if fault.contains("ALREADY") { 4 } else { 2 };
        let presented = token.calls.count("C_Login");
        assert!((1..=most).contains(&presented), "{fault}: presented {presented} times\n{}", home.logs());
        token.set("token pin-count 3");
        assert!(agent.client().sign(&blob, b"data", 0).is_none());
        assert_eq!(token.calls.count("C_Login"), presented, "{fault}: it counts as refused\n{}", home.logs());
        assert_eq!(judged_wrong(&token), 0);
    }
}
