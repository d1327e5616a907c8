//! Smartcards in a virtual reader: the real `pcscd`, the real driver, the real firmware of cards; only the plastic is missing.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::background::Background;
use crate::binary::cache_directory;
use crate::home::Home;
use crate::module::Module;
use crate::ports::two_in_a_row;
use crate::publickey::PublicKey;
use crate::run::text;
use crate::template::{copy_tree, made_once};
use crate::token::find;
use crate::wait::{SOON, until};

/// The PIN of every new card.
const PIN: &str = "123456";
const SOCKET: &str = "pcscd.comm";

/// A slot of a PIV card with the key in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// 9A: after the PIN, as often as one likes.
    Authentication,
    /// 9C: with the PIN each time.
    Signature,
    /// 9D: it decrypts, and cannot sign.
    KeyManagement,
    /// 9E: without a PIN.
    CardAuthentication,
}

impl Slot {
    const ALL: [Self; 4] = [Self::Authentication, Self::Signature, Self::KeyManagement, Self::CardAuthentication];

    fn number(self) -> &'static str {
        match self {
            Self::Authentication => "9a",
            Self::Signature => "9c",
            Self::KeyManagement => "9d",
            Self::CardAuthentication => "9e",
        }
    }
}

#[derive(Clone, Copy)]
enum CardKind {
    Piv,
    OpenPgp,
}

impl CardKind {
    /// What the firmware calls it.
    const fn name(self) -> &'static str {
        match self {
            Self::Piv => "piv",
            Self::OpenPgp => "openpgp",
        }
    }

    /// What fills a new one.
    const fn script(self) -> &'static str {
        match self {
            Self::Piv => "personalise.sh",
            Self::OpenPgp => "personalise-openpgp.sh",
        }
    }
}

/// A reader of the test's own, with a `pcscd` of its own that nobody else sees.
pub struct Reader {
    home: Home,
    folder: PathBuf,
    port: u16,
    service: Option<Background>,
}

impl Reader {
    /// Plugs the reader in and starts the service.
    ///
    /// # Panics
    /// When `pcscd` or the driver is missing; the text says what to install.
    #[must_use]
    pub fn new(home: &Home) -> Self {
        Self::named(home, "reader")
    }

    fn named(home: &Home, name: &str) -> Self {
        let folder = home.directory(name);
        home.directory(folder.join("run"));
        home.directory(folder.join("readers"));
        let driver = find(&["pcsc/drivers/serial/libifdvpcd.so"], "vsmartcard-vpcd");
        // The driver listens at this port and at the next one, for a second slot.
        let port = two_in_a_row();
        let settings = format!(
            "FRIENDLYNAME \"Yubico Virtual\"\nDEVICENAME /dev/null:{port:#06X}\nLIBPATH {}\nCHANNELID {port:#06X}\n",
            driver.display()
        );
        home.file(folder.join("readers/virtual"), settings);
        let mut reader = Self { home: home.clone(), folder, port, service: None };
        reader.start();
        reader
    }

    /// Starts the service anew, as an upgrade of the system does.
    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Ends the service, and with it the reader.
    pub fn stop(&mut self) {
        if let Some(mut service) = self.service.take() {
            crate::processes::signal(service.pid(), rustix::process::Signal::TERM);
            service.ends(SOON);
        }
    }

    /// The service listens at a path that is built in; a mount that only it sees brings that path into the home.
    fn start(&mut self) {
        let script = "mkdir -p /run/pcscd && mount --bind \"$0/run\" /run/pcscd && exec pcscd --foreground --info --config \"$0/readers\"";
        let service = self
            .home
            .command("unshare")
            .args(if rustix::process::getuid().is_root() { &["--mount"][..] } else { &["--map-root-user", "--mount"] })
            .args(["sh", "-c", script])
            .arg(&self.folder)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .start(&self.log_name());
        self.service = Some(service);
        let (_, socket) = self.environment();
        assert!(until(SOON, || UnixStream::connect(&socket).is_ok()), "no pcscd\n{}", self.home.logs());
    }

    fn log_name(&self) -> String {
        format!("pcscd-{}", self.folder.file_name().expect("a name").to_string_lossy())
    }

    /// What programs need in their environment to find the reader.
    #[must_use]
    pub fn environment(&self) -> (&'static str, PathBuf) {
        ("PCSCLITE_CSOCK_NAME", self.folder.join("run").join(SOCKET))
    }

    /// A module for cards, with the path of a shared object below the folders for libraries.
    #[must_use]
    pub fn module(&self, library: &str, package: &str) -> Module {
        let (name, value) = self.environment();
        Module::at(find(&[library], package)).env(name, value)
    }

    /// OpenSC, for all kinds of cards.
    #[must_use]
    pub fn opensc(&self) -> Module {
        self.module("opensc-pkcs11.so", "opensc-pkcs11")
    }

    /// Makes a PIV card with a key and a certificate in each slot; `name` is its directory in the home. It is not inserted.
    ///
    /// # Panics
    /// When a tool is missing; the text says what to install.
    #[must_use]
    pub fn piv(&self, name: &str) -> Card {
        let folder = self.copy(CardKind::Piv, name);
        let keys =
            Slot::ALL.map(|slot| (slot, PublicKey::read(&self.home, folder.join(format!("{}.pub", slot.number())))));
        self.card(CardKind::Piv, folder, keys.to_vec())
    }

    /// Makes an OpenPGP card with a P-256 key to sign and an Ed25519 key to authenticate. It is not inserted.
    ///
    /// # Panics
    /// When a tool is missing; the text says what to install.
    #[must_use]
    pub fn openpgp(&self, name: &str) -> Card {
        self.card(CardKind::OpenPgp, self.copy(CardKind::OpenPgp, name), Vec::new())
    }

    /// Two cards of one test have to differ, and making one takes seconds: there are as many templates as cards.
    fn copy(&self, kind: CardKind, name: &str) -> PathBuf {
        let count = fs::read_dir(self.home.path("")).into_iter().flatten().flatten();
        let count = count.filter(|entry| entry.path().join("internal").exists()).count();
        let folder = self.home.path(name);
        copy_tree(&self.template(kind, count), &folder).expect("copy the template of a card");
        let _ = fs::remove_file(folder.join("log"));
        folder
    }

    fn card(&self, kind: CardKind, folder: PathBuf, keys: Vec<(Slot, PublicKey)>) -> Card {
        let service = self.environment();
        let service_log = self.home.log_file(&self.log_name());
        Card { home: self.home.clone(), folder, port: self.port, kind, keys, service, service_log, running: None }
    }

    fn template(&self, kind: CardKind, number: usize) -> PathBuf {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("virtual-card").join(kind.script());
        made_once(&format!("{}-{number}", kind.name()), &script, |folder| {
            // In this reader there may be another card.
            let reader = Self::named(&self.home, "other-reader");
            let mut card = reader.card(kind, folder.to_owned(), Vec::new());
            card.insert();
            let (name, value) = reader.environment();
            let script = self.home.command(&script).arg(folder).env(name, value);
            script.within(Duration::from_secs(60)).run().succeeds();
            card.pull();
        })
    }
}

/// A card; in the reader between [`insert`](Self::insert) and [`pull`](Self::pull).
pub struct Card {
    home: Home,
    folder: PathBuf,
    port: u16,
    kind: CardKind,
    keys: Vec<(Slot, PublicKey)>,
    /// What programs need in their environment to find the reader.
    service: (&'static str, PathBuf),
    /// What the service tells of the reader.
    service_log: PathBuf,
    running: Option<Background>,
}

impl Card {
    /// Puts the card into the reader.
    ///
    /// # Panics
    /// When the firmware is missing or does not start.
    pub fn insert(&mut self) {
        let log = format!("card-{}", self.folder.file_name().expect("a name").to_string_lossy());
        let card = self
            .home
            .command(firmware())
            .arg(self.kind.name())
            .arg(self.port.to_string())
            .arg(&self.folder)
            .start(&log);
        self.running = Some(card);
    }

    /// Pulls the card, and waits until the service has noticed, as a hand does by being slow: what is in the reader at its next look is taken
    /// for the card of its last one if no event was between them.
    ///
    /// # Panics
    /// When the service runs and does not notice.
    pub fn pull(&mut self) {
        if self.running.is_none() {
            return;
        }
        self.pull_unnoticed();
        let noticed = || {
            let log = text(&self.service_log);
            log.matches("Card inserted").count() == log.matches("Card Removed").count()
        };
        let gone = || UnixStream::connect(&self.service.1).is_err();
        assert!(until(SOON, || noticed() || gone()), "pcscd has not noticed\n{}", self.home.logs());
    }

    /// Pulls the card, and leaves it to the service when it notices.
    pub fn pull_unnoticed(&mut self) {
        if let Some(mut running) = self.running.take() {
            crate::processes::kill(running.pid());
            running.ends(SOON);
        }
    }

    /// The right PIN.
    #[must_use]
    pub fn pin(&self) -> &'static str {
        PIN
    }

    /// Makes a key and a certificate in slot 82, the first of those for keys that are no longer in use; its public half. The card has to be
    /// in the reader.
    ///
    /// # Panics
    /// When a tool fails.
    #[must_use]
    pub fn retire_a_key(&self) -> PublicKey {
        let script = "cd \"$0\" && until yubico-piv-tool --reader Yubico --action version >/dev/null 2>&1; do sleep 0.05; done && \
            yubico-piv-tool --reader Yubico --action generate --slot 82 --algorithm ECCP256 --output 82.pem && \
            openssl ecparam -name prime256v1 -genkey -noout -out ca.key && \
            openssl req -new -x509 -key ca.key -subj /CN=issuer -out ca.pem && \
            openssl x509 -new -force_pubkey 82.pem -CA ca.pem -CAkey ca.key -subj /CN=retired -days 99 -out 82.crt && \
            yubico-piv-tool --reader Yubico --action import-certificate --slot 82 --input 82.crt && \
            ssh-keygen -i -m PKCS8 -f 82.pem >82.pub";
        let folder = self.home.directory("retired");
        let tool = self.home.command("sh").args(["-c", script]).arg(&folder).env(self.service.0, &self.service.1);
        tool.within(Duration::from_secs(60)).run().succeeds();
        PublicKey::read(&self.home, folder.join("82.pub"))
    }

    /// The public half of a key.
    ///
    /// # Panics
    /// When the card has none there.
    #[must_use]
    pub fn public(&self, slot: Slot) -> &PublicKey {
        let found = self.keys.iter().find(|(known, _)| *known == slot);
        &found.unwrap_or_else(|| panic!("no key in {slot:?}")).1
    }

    /// From now on the card waits for a touch before it uses a private key.
    pub fn hold(&self) {
        fs::write(self.folder.join("hold"), "").expect("hold the card");
    }

    /// Touches the card.
    pub fn touch(&self) {
        fs::remove_file(self.folder.join("hold")).expect("let the card go on");
    }

    /// Waits for touches no longer, whether it did or not.
    pub(crate) fn let_go(&self) {
        let _ = fs::remove_file(self.folder.join("hold"));
    }

    /// Whether the card waits for a touch.
    #[must_use]
    pub fn waits_for_touch(&self) -> bool {
        until(SOON, || self.log().lines().any(|line| line == "touch"))
    }

    /// How many commands the card was given.
    #[must_use]
    pub fn commands(&self) -> usize {
        self.log().lines().count()
    }

    /// How many PINs were presented to the card.
    #[must_use]
    pub fn pins_presented(&self) -> usize {
        self.verifications().len()
    }

    /// How many wrong PINs were presented.
    #[must_use]
    pub fn pins_refused(&self) -> usize {
        self.verifications().iter().filter(|status| *status != "9000").count()
    }

    /// What the card answered to each VERIFY with a PIN in it; without one it only asks for the tries that are left.
    fn verifications(&self) -> Vec<String> {
        self.answers("20")
    }

    /// What the card answered to each command with this instruction, in hexadecimal digits, that had something with it: `24` changes a PIN,
    /// `2c` sets it anew by the PUK (ISO 7816-4, NIST SP 800-73-4).
    #[must_use]
    pub fn answers(&self, instruction: &str) -> Vec<String> {
        let log = self.log();
        let words = log.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        words
            .filter_map(|words| match words[..] {
                [found, _, _, length, status] if found == instruction && length != "00" => Some(status.to_owned()),
                _ => None,
            })
            .collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

/// The program that runs cards' firmware.
fn firmware() -> PathBuf {
    let built = cache_directory().join("../virtual-card/debug/virtual-card");
    assert!(
        built.exists(),
        "{} is missing: cargo build --manifest-path hsm-tests/virtual-card/Cargo.toml --target-dir {}",
        built.display(),
        cache_directory().join("../virtual-card").display()
    );
    built
}
