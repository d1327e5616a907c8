//! What each module does, measured, is what docs/tokens.md says. On a difference the test prints what it found.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use hsm_tests::{
    Agent, Answer, Background, Home, Inserted, ModuleHost, Pinentry, PublicKey, Remote, Soft, TokenKind, Tpm,
    stock_cannot, until, until_some,
};

/// A token to be measured through hardkey, and through its module alone.
struct Lab {
    token: Box<dyn TokenKind>,
    home: Home,
}

/// What is shown once a token is there, on a busy machine.
const READ: Duration = Duration::from_secs(60);
/// A module that tells of removals has told by then.
const TOLD: Duration = Duration::from_secs(5);
/// More wrong PINs than any token stands that ever locks.
const MANY: usize = 12;

/// A property's name in the table, and how it was found to be.
type Column = BTreeMap<&'static str, String>;

fn measure(make: fn(&Home) -> Box<dyn TokenKind>) -> Column {
    let home = Home::new();
    let token = make(&home);
    let mut lab = Lab { token, home };
    let mut column = Column::new();
    lab.through_hardkey(&mut column);
    lab.removal(&mut column);
    lab.wrong_pins(&mut column);
    column
}

impl Lab {
    fn through_hardkey(&mut self, column: &mut Column) {
        let pinentry = Pinentry::new(&self.home, &[]);
        let agent = Agent::with(&self.home).module(self.token.module().pin_asked()).pinentry(&pinentry).start();
        assert!(until(READ, || !agent.listed().is_empty()), "no keys\n{}", self.home.logs());
        let shown = self.keys(&agent);
        let lab = &*self;
        let signing = |keys: &[PublicKey]| -> Vec<String> {
            let able = keys.iter().filter(|key| agent.signs(key).within(READ).run().code() == Some(0));
            able.map(|key| lab.describe(key)).collect()
        };
        column.insert("signs without a PIN", some_of(&signing(&shown), shown.len()));

        pinentry.answers(&[Answer::Type(self.token.pin()); 2]);
        // The keys that the PIN brings to light are listed after its first use.
        signing(&shown);
        let all = self.keys(&agent);
        let able = signing(&all);
        column.insert("signs with the PIN", some_of(&able, all.len()));
        column.insert("keys that sign", summary(able));
        column.insert("shown before the PIN", format!("{} of {}", shown.len(), all.len()));
        column.insert("workers", self.workers(&agent, &all[0]).to_owned());
    }

    /// While signatures do not come to an end, there are as many workers as there may be.
    fn workers(&mut self, agent: &Agent, key: &PublicKey) -> &'static str {
        self.token.hold();
        let _held: Vec<Background> = (0..8).map(|_| agent.signs(key).within(READ).start("signing")).collect();
        let most = until_some(Duration::from_secs(3), || (agent.workers().len() > 1).then_some(()));
        self.token.remove();
        self.token.put_back();
        if most.is_some() { "cores + 1" } else { "1" }
    }

    fn removal(&mut self, column: &mut Column) {
        let mut host = self.host();
        let slot = host.ask("slot").expect("a slot");
        let removable = slot.split(',').any(|flag| flag == "removable");
        column.insert("slots that tokens are put into", yes(removable));
        let each_time = host.ask("find always-authenticate").expect("keys");
        column.insert("keys that want the PIN each time", each_time);
        let _ = host.ask("event");
        self.token.remove();
        let tells = until(TOLD, || host.ask("event").as_deref() == Ok("some"));
        column.insert("tells of removals", yes(tells));
        drop(host);
        self.token.put_back();
    }

    /// Until the token is locked.
    fn wrong_pins(&mut self, column: &mut Column) {
        let wrong: String = self.token.pin().chars().rev().collect();
        let login = format!("login {wrong}");
        // As it comes back from the reader: a card that somebody unlocked tells nothing of its tries.
        let there = || {
            let mut host = ModuleHost::start(&self.home, &self.token.module());
            (host.ask("open").and_then(|_| host.ask(&login)) == Err("PinIncorrect".to_owned())).then_some(host)
        };
        let mut host = until_some(READ, there).expect("the token is back");
        let (mut warned, mut locks, mut refused) = (BTreeMap::new(), false, "PinIncorrect".to_owned());
        for count in 1..=MANY {
            if count > 1 {
                refused = host.ask(&login).expect_err("a wrong PIN");
            }
            let token = host.ask("token").unwrap_or_default();
            let flags = token.rsplit('/').next().unwrap_or_default().to_owned();
            for (flag, means) in [("count-low", "few left"), ("final-try", "one left")] {
                if flags.split(',').any(|found| found == flag) {
                    warned.entry(means).or_insert(count);
                }
            }
            if refused == "PinLocked" || flags.contains("locked") {
                locks = true;
                break;
            }
        }
        // Some modules say so only when they are asked once more.
        let last = if locks { self.token.pins_refused().to_string() } else { "it never does".to_owned() };
        column.insert("wrong PINs until it locks", last);
        let warnings: Vec<String> = warned.into_iter().map(|(means, count)| format!("{means} after {count}")).collect();
        column.insert("warns of", if warnings.is_empty() { "nothing".to_owned() } else { warnings.join(", ") });
    }

    /// The module alone, logged in.
    fn host(&self) -> ModuleHost {
        let there = || {
            let mut host = ModuleHost::start(&self.home, &self.token.module());
            let login = format!("login {}", self.token.pin());
            host.ask("open").and_then(|_| host.ask(&login)).ok().map(|_| host)
        };
        until_some(READ, there).expect("the token is back")
    }

    fn keys(&self, agent: &Agent) -> Vec<PublicKey> {
        let lines = agent.ssh_add(["-L"]).run().succeeds().stdout;
        let file = |(number, line)| self.home.file(format!("key-{number}.pub"), line);
        lines.lines().enumerate().map(file).map(|file| PublicKey::read(&self.home, file)).collect()
    }

    fn describe(&self, key: &PublicKey) -> String {
        let line = self.home.command("ssh-keygen").arg("-lf").arg(key.path()).run().succeeds().stdout;
        let bits = line.split(' ').next().unwrap_or_default();
        match key.algorithm() {
            "ssh-rsa" => format!("RSA {bits}"),
            "ssh-ed25519" => "Ed25519".to_owned(),
            _ => format!("P-{bits}"),
        }
    }
}

fn summary(mut keys: Vec<String>) -> String {
    keys.sort();
    keys.dedup();
    keys.join(", ")
}

fn some_of(able: &[String], all: usize) -> String {
    format!("{} of {all}", able.len())
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

/// The table that begins with the column `measured`.
fn documented(module: &str) -> BTreeMap<String, String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tokens.md");
    let page = fs::read_to_string(page).expect("the page");
    let mut rows =
        page.lines().skip_while(|line| !line.starts_with("| measured |")).take_while(|line| line.starts_with('|'));
    let cells =
        |line: &str| -> Vec<String> { line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect() };
    let heads = cells(rows.next().expect("a table that begins with | measured |"));
    let column = heads.iter().position(|head| head == module).unwrap_or(usize::MAX);
    rows.skip(1).map(cells).map(|row| (row[0].clone(), row.get(column).cloned().unwrap_or_default())).collect()
}

fn is_documented(module: &str, make: fn(&Home) -> Box<dyn TokenKind>) {
    if stock_cannot("show what it knows of tokens") {
        return;
    }
    let measured: BTreeMap<String, String> =
        measure(make).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    eprintln!("{module}: {measured:#?}");
    assert_eq!(
        measured,
        documented(module),
        "left: as measured; right: the column {module} of the first table in docs/tokens.md"
    );
}

macro_rules! modules {
    ($($test:ident: $module:literal, $make:expr;)*) => {
        $(#[test]
        fn $test() {
            is_documented($module, |home| Box::new($make(home)));
        })*
    };
}

modules! {
    softhsm: "SoftHSM", Soft::softhsm;
    kryoptic: "Kryoptic", Soft::kryoptic;
    p11_kit: "p11-kit-client", Remote::new;
    tpm2_pkcs11: "tpm2-pkcs11", Tpm::new;
    opensc_with_a_piv_card: "OpenSC, PIV", Inserted::piv;
    opensc_with_an_openpgp_card: "OpenSC, OpenPGP", Inserted::openpgp;
    ykcs11: "ykcs11", Inserted::ykcs11;
}
