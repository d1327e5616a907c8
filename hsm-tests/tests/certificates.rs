//! OpenSSH certificates for keys on tokens, from a folder that the agent follows.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use hsm_tests::{Agent, Home, Key, KeyFile, Module, PublicKey, Sshd, Token, stock_cannot};

const FOLDER: &str = "follow a folder of certificates";

struct World {
    agent: Agent,
    authority: KeyFile,
    token: Token,
    folder: PathBuf,
    home: Home,
}

fn world() -> World {
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256, Key::Ed25519]);
    let authority = KeyFile::with(&home, "authority", &["-t", "ed25519"], "");
    let folder = home.path("config").join("hardkey/certificates");
    let agent = Agent::with(&home).module(Module::of(&token)).start();
    World { agent, authority, token, folder, home }
}

impl World {
    /// Has the authority certify a public key, with further arguments of ssh-keygen; the certificate's file, not in the folder yet.
    fn certificate(&self, key: &PublicKey, name: &str, arguments: &[&str]) -> PathBuf {
        let public = self.home.path(format!("{name}.pub"));
        fs::copy(key.path(), &public).expect("copy a public key");
        let keygen = self.home.command("ssh-keygen").args(["-q", "-I", "test", "-s"]).arg(self.authority.path());
        keygen.args(arguments).arg(&public).run().succeeds();
        self.home.path(format!("{name}-cert.pub"))
    }

    fn put(&self, certificate: &PathBuf) {
        fs::create_dir_all(&self.folder).expect("make the folder");
        let name = certificate.file_name().expect("a name");
        fs::copy(certificate, self.folder.join(name)).expect("put the certificate into the folder");
    }

    /// The types of the keys that `ssh-add -L` prints.
    fn offered(&self) -> Vec<String> {
        let listed = self.agent.ssh_add(["-L"]).run().succeeds().stdout;
        listed.lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
    }

    fn offers_certificate(&self) -> bool {
        self.offered().iter().any(|kind| kind.contains("-cert-"))
    }

    /// What `hardkey list` prints, as a table and beside it.
    fn listed(&self) -> (String, String) {
        let listed = self.agent.command("hardkey").arg("list").run().succeeds();
        (listed.stdout, listed.stderr)
    }
}

#[test]
fn a_certificate_that_is_put_into_the_folder_logs_in_at_a_server_that_knows_only_the_authority() {
    if stock_cannot(FOLDER) {
        return;
    }
    let world = world();
    let user = world.home.command("id").arg("-un").run().succeeds().stdout.trim().to_owned();
    let trusted = format!("TrustedUserCAKeys {}", world.authority.public().path().display());
    let sshd = Sshd::with(&world.home, "sshd", [], &trusted);
    let login = || world.agent.ssh(&sshd).args(["box", "echo logged in"]).run();
    assert_ne!(login().code(), Some(0), "without a certificate");
    world.put(&world.certificate(world.token.public(Key::P256), "work", &["-n", &user, "-V", "+1h"]));
    login().succeeds();
    assert!(world.offers_certificate());
    let (table, notes) = world.listed();
    assert!(table.contains("ECDSA-256-CERT") && table.contains("until 20"), "{table}");
    assert_eq!(notes, "");

    fs::remove_file(world.folder.join("work-cert.pub")).expect("remove the certificate");
    assert!(!world.offers_certificate(), "a certificate that was removed is offered");
    assert_eq!(world.offered().len(), 2, "the keys themselves are offered");
}

#[test]
fn a_new_certificate_in_the_same_file_takes_the_place_of_the_old_one() {
    if stock_cannot(FOLDER) {
        return;
    }
    let world = world();
    let key = world.token.public(Key::Ed25519);
    world.put(&world.certificate(key, "work", &["-n", "a", "-z", "1"]));
    let first = world.agent.ssh_add(["-L"]).run().succeeds().stdout;
    world.put(&world.certificate(key, "work", &["-n", "a", "-z", "2"]));
    let second = world.agent.ssh_add(["-L"]).run().succeeds().stdout;
    assert_eq!((first.lines().count(), second.lines().count()), (3, 3));
    assert_ne!(first, second);
}

#[test]
fn a_certificate_that_is_not_valid_now_is_shown_and_not_offered() {
    if stock_cannot(FOLDER) {
        return;
    }
    let world = world();
    let key = world.token.public(Key::P256);
    world.put(&world.certificate(key, "old", &["-n", "a", "-V", "20200101:20200102"]));
    world.put(&world.certificate(key, "future", &["-n", "a", "-V", "20900101:20900102"]));
    assert_eq!(world.offered().len(), 2);
    let (table, _) = world.listed();
    assert!(table.contains("certificate expired, until 2020-01-0"), "{table}");
    assert!(table.contains("certificate not valid yet"), "{table}");
}

#[test]
fn what_is_no_certificate_for_a_key_here_is_named_and_costs_nothing_else() {
    if stock_cannot(FOLDER) {
        return;
    }
    let world = world();
    let key = world.token.public(Key::P256);
    world.put(&world.certificate(key, "good", &["-n", "a"]));
    world.put(&world.certificate(key, "host", &["-h", "-n", "a"]));
    let other = KeyFile::new(&world.home, "other");
    world.put(&world.certificate(other.public(), "stranger", &["-n", "a"]));
    let bad = |name: &str, content: &[u8]| fs::write(world.folder.join(name), content).expect("write a file");
    bad("plain-cert.pub", format!("{}\n", key.line()).as_bytes());
    bad("garbage-cert.pub", &[0xff; 100]);
    bad("empty-cert.pub", b"");
    bad("huge-cert.pub", &vec![b'a'; 1 << 20]);
    bad("notes.txt", b"not looked at");
    bad("line\nbreak-cert.pub", b"x");
    fs::create_dir(world.folder.join("folder-cert.pub")).expect("make a folder");
    symlink("loop-cert.pub", world.folder.join("loop-cert.pub")).expect("make a link");
    symlink("/dev/zero", world.folder.join("zero-cert.pub")).expect("make a link");

    assert_eq!(world.offered().len(), 3, "the two keys and the good certificate");
    let (_, notes) = world.listed();
    for (file, reason) in [
        ("host", "host's certificate"),
        ("stranger", "no token that was seen has its key"),
        ("plain", "plain public key"),
        ("garbage", "not a line of text"),
        ("empty", "not a certificate"),
        ("huge", "longer than"),
        ("folder", "not a regular file"),
        ("loop", "symbolic link"),
        ("zero", "not a regular file"),
        ("line\\x0abreak", "not a certificate"),
    ] {
        let named = notes.lines().any(|line| line.contains(&format!("{file}-cert.pub")) && line.contains(reason));
        assert!(named, "{file} is not named:\n{notes}");
    }
    assert!(!notes.contains("good") && !notes.contains("notes.txt"), "{notes}");
    assert_eq!(notes.lines().count(), 10, "{notes}");
}
