//! Faults without end: whatever a module does, every client is answered, nobody else notices, and afterwards all is well.
//!
//! Left out are faults of `C_Login` itself: what became of a PIN there is not known, and an unattended PIN whose fate stayed unknown twice is
//! not presented again, on purpose.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hsm_tests::{Agent, Client, Dice, FaultyToken, Home, Key, KeyFile, PublicKey, resident_memory, stock_cannot};

const FAULTS: usize = 1000;
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
