//! Signatures over files and git objects (SSHSIG).

use std::path::PathBuf;

use hsm_tests::{Agent, Home, Key, Module, Outcome, PublicKey, Task, Token, is_stock};

const WHO: &str = "ada@example.org";

fn keys() -> &'static [Key] {
    if is_stock() { &[Key::Rsa2048, Key::P256] } else { &Key::USUAL }
}

fn at_work(home: &Home) -> (Token, Agent) {
    let token = Token::new(home, "token", keys());
    let agent = Agent::with(home).module(Module::of(&token)).start();
    (token, agent)
}

fn allowed_signers(home: &Home, key: &PublicKey) -> PathBuf {
    home.file("allowed_signers", format!("{WHO} {}\n", key.line()))
}

#[test]
fn each_key_signs_a_file_that_ssh_keygen_verifies() {
    let home = Home::new();
    let (token, agent) = at_work(&home);
    for key in keys().iter().map(|key| token.public(*key)) {
        let signers = allowed_signers(&home, key);
        let signature = agent
            .command("ssh-keygen")
            .args(["-Y", "sign", "-n", "file", "-f"])
            .arg(key.path())
            .input("contract")
            .run()
            .succeeds();
        let signature = home.file("contract.sig", signature.stdout);
        let verify = |namespace: &str, text: &str| -> Outcome {
            home.command("ssh-keygen")
                .args(["-Y", "verify", "-I", WHO, "-n", namespace, "-s"])
                .arg(&signature)
                .arg("-f")
                .arg(&signers)
                .input(text)
                .run()
        };
        verify("file", "contract").succeeds();
        verify("git", "contract").fails();
        verify("file", "forgery").fails();
    }
}

#[test]
fn a_commit_and_a_tag_are_signed_and_verified() {
    let home = Home::new();
    let (token, agent) = at_work(&home);
    let repository = home.directory("repository");
    for (name, key) in keys().iter().map(|key| (key.label(), token.public(*key))) {
        let settings = [
            "user.name=Ada".to_owned(),
            format!("user.email={WHO}"),
            "gpg.format=ssh".to_owned(),
            format!("user.signingkey={}", key.path().display()),
            format!("gpg.ssh.allowedSignersFile={}", allowed_signers(&home, key).display()),
        ];
        let git = || -> Task {
            let options = settings.iter().flat_map(|setting| ["-c", setting.as_str()]);
            agent.command("git").directory(&repository).args(options)
        };
        git().args(["init", "--quiet"]).run().succeeds();
        git().args(["commit", "--quiet", "--allow-empty", "--gpg-sign", "--message", name]).run().succeeds();
        let verified = git().args(["verify-commit", "HEAD"]).run().succeeds();
        assert!(verified.stderr.contains(key.fingerprint()), "{}", verified.report());
        git().args(["tag", "--sign", "--message", name, name]).run().succeeds();
        git().args(["verify-tag", name]).run().succeeds();

        git().args(["commit", "--quiet", "--allow-empty", "--message", "unsigned"]).run().succeeds();
        git().args(["verify-commit", "HEAD"]).run().fails();
    }
}
