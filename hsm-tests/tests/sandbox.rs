//! Modules of every kind work in their sandbox, and what it forbids is forbidden to each of them.

use std::net::TcpListener;
use std::time::Duration;

use faulty_module::Outcome;
use hsm_tests::{
    Agent, Answer, FaultyModule, Home, Inserted, Pinentry, PublicKey, Remote, Soft, TokenKind, Tpm, stock_cannot, until,
};

const CONFINED: &str = "confine its modules";
/// Reading a card on a busy machine.
const READ: Duration = Duration::from_secs(60);

/// Has a module of this kind try to break out within a signature; what it came to, and whether the signature was made all the same.
fn breaks_out(make: fn(&Home) -> Box<dyn TokenKind>, line: &str) -> (String, bool) {
    let home = Home::new();
    let token = make(&home);
    let faulty = FaultyModule::before(&home, token.module());
    let pinentry = Pinentry::new(&home, &[Answer::Type(token.pin())]);
    let module = faulty.module.clone().pin_asked().line("workers = 1").line(line);
    let agent = Agent::with(&home).module(module).pinentry(&pinentry).start();
    assert!(until(READ, || !agent.listed().is_empty()), "no keys\n{}", home.logs());
    let lines = agent.ssh_add(["-L"]).run().succeeds().stdout;
    let key = PublicKey::read(&home, home.file("key.pub", lines.lines().next().expect("a key")));
    agent.signs(&key).within(READ).run().succeeds();

    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    faulty.calls.clear().expect("an empty log");
    faulty.rules.set(&format!("C_Sign break-out {port} {}", std::process::id())).expect("a rule");
    let signed = agent.signs(&key).within(READ).run().code() == Some(0);
    let came = faulty.calls.entries().expect("the calls").into_iter().find_map(|entry| match entry.outcome {
        Outcome::Fault(fault) => fault.strip_prefix("broke-out:").map(str::to_owned),
        Outcome::Returned(_) => None,
    });
    (came.unwrap_or_else(|| panic!("nothing was tried\n{}", home.logs())), signed)
}

fn signs_and_breaks_out_of_nothing(make: fn(&Home) -> Box<dyn TokenKind>) {
    // Landlock keeps signals in since Linux 6.12.
    let inside = if keeps_signals_in() { "" } else { "signals" };
    assert_eq!(breaks_out(make, ""), (inside.to_owned(), true));
    // Else the above would show nothing.
    let (outside, _) = breaks_out(make, "sandbox = \"off\"");
    assert_eq!(outside, "runs,connects,signals,reads");
}

fn keeps_signals_in() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
    let mut numbers =
        release.split(|sign: char| !sign.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(12))
}

macro_rules! every_kind {
    ($($kind:ident: $make:expr,)*) => {
        $(#[test]
        fn $kind() {
            if !stock_cannot(CONFINED) {
                signs_and_breaks_out_of_nothing(|home| Box::new($make(home)));
            }
        })*
    };
}

every_kind! {
    softhsm: Soft::softhsm,
    kryoptic: Soft::kryoptic,
    p11_kit: Remote::new,
    tpm: Tpm::new,
    opensc_with_a_piv_card: Inserted::piv,
    opensc_with_an_openpgp_card: Inserted::openpgp,
    ykcs11: Inserted::ykcs11,
}
