//! `hardkey token import-cert`: an X.509 certificate beside its key. Many modules show a key before the login, or at all, by its certificate.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use der::{DecodePem as _, Encode as _};
use x509_cert::Certificate;

use super::super::terminal;
use super::choose::{Chosen, Wanted};
use super::secrets::LoginArguments;
use super::words::{self, refusal, shown};
use super::work::{tell_agent, to_its_end};
use crate::ipc::token::{Beside, TokenAnswer, TokenCall};

/// Certificates are shorter, in octets.
const LONGEST_FILE: u64 = 64 * 1024;

#[derive(Args)]
pub(super) struct Arguments {
    /// The certificate: X.509, in PEM or DER
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    login: LoginArguments,
    #[command(flatten)]
    chosen: Chosen,
}

pub(super) async fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let certificate = read(&arguments.file)?;
    let mut target = arguments.chosen.find(Wanted::Initialized).await?;
    let token = &target.token;
    let label = shown(&token.seen.name.label);
    if token.write_protected {
        return Err(format!("token {label:?} is read-only"));
    }
    let secret = arguments.login.secret();
    let asked = TokenCall::Beside { at: token.holder(), certificate: certificate.clone() };
    let Beside { key, is_there, others } = match target.manager.call(asked).await {
        Ok(TokenAnswer::Beside(beside)) => beside,
        Ok(_) => return Err(target.manager.nonsense().to_string()),
        Err(error) => return Err(refusal(secret, token, &error)),
    };
    if is_there && others.is_empty() {
        terminal::say(&format!("The certificate is on token {label:?} already."));
        return Ok(ExitCode::SUCCESS);
    }
    if !others.is_empty() {
        let subjects: Vec<String> = others.iter().map(|subject| shown(subject)).collect();
        let key = words::key(&key);
        terminal::confirmed(&format!("The certificate {} of the key {key} will be replaced.", subjects.join("; ")))?;
    }
    let login = arguments.login.get(token)?;
    let call = TokenCall::StoreCertificate { at: token.holder(), certificate, login };
    match to_its_end(target.manager.call(call)).await? {
        Ok(TokenAnswer::Key(key)) => {
            tell_agent();
            terminal::say(&format!("The certificate is on token {label:?}, beside the key {}.", words::key(&key)));
            Ok(ExitCode::SUCCESS)
        }
        Ok(_) => Err(target.manager.nonsense().to_string()),
        Err(error) => Err(words::with_hint(refusal(secret, &target.token, &error))),
    }
}

/// The certificate in DER.
fn read(file: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let fail = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let mut octets = Vec::new();
    let open = std::fs::File::open(file).map_err(|error| fail(&error))?;
    open.take(LONGEST_FILE).read_to_end(&mut octets).map_err(|error| fail(&error))?;
    if octets.starts_with(b"ssh-") || octets.starts_with(b"ecdsa-") {
        return Err(fail(
            &"it is OpenSSH's, which tokens do not store; a certificate of that kind stays a file, and `ssh-add -s MODULE FILE` \
              has the agent offer it with its key",
        ));
    }
    match octets.starts_with(b"-----") {
        true => Certificate::from_pem(&octets).and_then(|certificate| certificate.to_der()),
        false => return Ok(octets),
    }
    .map_err(|_| fail(&"it is not an X.509 certificate"))
}
