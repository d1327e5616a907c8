//! How many workers a token of each kind profits from.
//!
//! `cargo bench -p hsm-tests --bench workers [-- KIND…]`

use std::thread;
use std::time::{Duration, Instant};

use hsm_tests::{Agent, Home, Inserted, Pinentry, PublicKey, Remote, Soft, TokenKind, Tpm, until};
use hsm_tests::{Answer, is_alive};

/// How long each number is measured.
const TIME: Duration = Duration::from_secs(3);
const CLIENTS: usize = 4;

/// Signatures in a second, by four clients at once.
fn rate(agent: &Agent, key: &PublicKey) -> f64 {
    let start = Instant::now();
    let signing = || {
        let mut client = agent.client();
        let signatures = (0..).take_while(|_| start.elapsed() < TIME);
        signatures.map(|_| client.sign(&key.blob(), b"data", 2).expect("a signature")).count()
    };
    let count: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(signing)).collect();
        clients.into_iter().map(|client| client.join().expect("a client")).sum()
    });
    count as f64 / start.elapsed().as_secs_f64()
}

fn measure(name: &str, make: fn(&Home) -> Box<dyn TokenKind>) {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    for workers in [1, cores, cores + 1] {
        let home = Home::new();
        let token = make(&home);
        let pinentry = Pinentry::new(&home, &[Answer::Type(token.pin()); 4]);
        let module = token.module().pin_asked().line(format!("workers = {workers}"));
        let agent = Agent::with(&home).as_stock().module(module).pinentry(&pinentry).start();
        assert!(until(Duration::from_secs(60), || !agent.listed().is_empty()), "no keys\n{}", home.logs());
        let lines = agent.ssh_add(["-L"]).run().succeeds().stdout;
        let mut seen = Vec::new();
        for (number, line) in lines.lines().enumerate() {
            let key = PublicKey::read(&home, home.file(format!("key-{number}.pub"), line));
            let kind = (key.algorithm().to_owned(), key.blob().len());
            // Of keys of one kind the first is enough, and one that wants the PIN each time is another story.
            if !seen.contains(&kind) {
                // Every worker is started, and has logged in and found the key.
                rate(&agent, &key);
                eprintln!("{name}, {} ({} octets), {workers} workers: {:.1}/s", kind.0, kind.1, rate(&agent, &key));
                seen.push(kind);
            }
        }
        assert!(is_alive(agent.pid()));
    }
}

fn main() {
    type Make = fn(&Home) -> Box<dyn TokenKind>;
    let kinds: [(&str, Make); 6] = [
        ("softhsm", |home| Box::new(Soft::softhsm(home))),
        ("kryoptic", |home| Box::new(Soft::kryoptic(home))),
        ("p11-kit", |home| Box::new(Remote::new(home))),
        ("tpm", |home| Box::new(Tpm::new(home))),
        ("piv", |home| Box::new(Inserted::piv(home))),
        ("openpgp", |home| Box::new(Inserted::openpgp(home))),
    ];
    // Cargo adds an option of its own.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    for (name, make) in kinds {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            measure(name, make);
        }
    }
}
