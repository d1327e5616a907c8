//! `hardkey fido enroll`: a new key, in a file that OpenSSH reads as its own.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use secrecy::SecretSlice;

use super::super::terminal;
use super::residents::residents;
use super::{Chosen, octets, pin_of, text};
use crate::agent::inventory::authorized_keys_line;
use crate::backend::SignError;
use crate::backend::fido::{Devices, Session};
use crate::crypto::fingerprint::FingerprintHash;
use crate::ipc::fido::{Enrolled, Enrolment, FidoAnswer, FidoCall, ResidentUser};
use crate::protocol::key_file::{attestation_file, security_key_file};
use crate::protocol::public_key::{KeyMaterial, PublicKey};

/// Flags of the key's file (OpenSSH PROTOCOL.u2f): touch, verification, resident.
const USER_PRESENCE: u8 = 0x01;
const USER_VERIFICATION: u8 = 0x04;
const RESIDENT: u8 = 0x20;
/// `CTAP2_ERR_PUAT_REQUIRED`
const PIN_REQUIRED: u8 = 0x36;
/// The length of user ids, filled up with zeros, as `ssh-keygen` has them.
const USER_ID: usize = 32;

#[derive(Args)]
pub(super) struct Arguments {
    /// The kind of key
    #[arg(short = 't', long = "type", value_name = "TYPE", default_value = "ed25519-sk")]
    kind: Kind,
    /// Where the key's file goes; the public key goes to the same name with .pub
    #[arg(short = 'f', long, value_name = "FILE")]
    file: PathBuf,
    /// Keep the key on the device, so that it is found without its file
    #[arg(long)]
    resident: bool,
    /// Want the PIN or a finger for each signature
    #[arg(long)]
    verify_required: bool,
    /// Sign without a touch; servers refuse such keys unless they are told otherwise
    #[arg(long)]
    no_touch_required: bool,
    /// The application, which begins with ssh:
    #[arg(long, value_name = "NAME", default_value = "ssh:")]
    application: String,
    /// The user of a resident key: one application has one key for each
    #[arg(long, value_name = "NAME", default_value = "")]
    user: String,
    /// The comment; by default the file's name
    #[arg(short = 'C', long, value_name = "TEXT")]
    comment: Option<String>,
    /// Write what the device attests of the key into this file
    #[arg(long, value_name = "FILE")]
    attestation: Option<PathBuf>,
    /// Have it attested over the content of this file, which whoever checks it has chosen
    #[arg(long, value_name = "FILE")]
    challenge: Option<PathBuf>,
    #[command(flatten)]
    chosen: Chosen,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Ed25519
    #[value(name = "ed25519-sk")]
    Ed25519,
    /// ECDSA on P-256, for devices that know no Ed25519
    #[value(name = "ecdsa-sk")]
    Ecdsa,
}

pub(super) async fn run(arguments: &Arguments, devices: &Devices) -> Result<ExitCode, String> {
    arguments.check()?;
    let public_file = with_suffix(&arguments.file, ".pub");
    let written = [Some(&arguments.file), Some(&public_file), arguments.attestation.as_ref()];
    for file in written.into_iter().flatten().filter(|file| file.exists()) {
        terminal::confirmed(&format!("{} exists and will be overwritten.", file.display()))?;
    }
    let challenge = match &arguments.challenge {
        Some(file) => fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?,
        None => random::<32>()?.to_vec(),
    };
    let mut session = arguments.chosen.open(devices).await?;
    let abilities = session.abilities();
    let needs_person = arguments.resident || arguments.verify_required || abilities.always_verify;
    // A finger does, except for the list of resident keys.
    let has_reader = abilities.verification == Some(true);
    let lists = arguments.resident && abilities.manages && abilities.pin == Some(true);
    let mut pin = match needs_person && (lists || !has_reader) {
        true => Some(pin_of(&session)?),
        false => None,
    };
    let by_finger = needs_person && pin.is_none();
    if let (true, Some(pin)) = (arguments.resident && session.abilities().manages, &pin) {
        arguments.spares_what_is_there(&mut session, pin).await?;
    }
    let made = match arguments.enroll(&mut session, &challenge, pin.as_ref(), by_finger).await {
        Err(SignError::Fido(error)) if error.status() == Some(PIN_REQUIRED) && pin.is_none() => {
            pin = Some(pin_of(&session)?);
            arguments.enroll(&mut session, &challenge, pin.as_ref(), false).await
        }
        made => made,
    };
    let made = made.map_err(text)?;
    let public = KeyMaterial::of_security_key(arguments.kind == Kind::Ed25519, &made.public, &arguments.application)
        .ok_or_else(|| session.nonsense().to_string())?;
    let name = arguments.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let comment = arguments.comment.clone().unwrap_or(name);
    let check = u32::from_be_bytes(random()?);
    let key_file = security_key_file(&public, arguments.flags(), &made.handle, &comment, check);
    write(&arguments.file, key_file.unwrap_or_default().as_bytes(), 0o600)?;
    let public = PublicKey::from_material(public);
    write(&public_file, format!("{}\n", authorized_keys_line(&public, &comment)).as_bytes(), 0o644)?;
    if let Some(file) = &arguments.attestation {
        let certificate = made.certificates.first().map_or(&[][..], Vec::as_slice);
        write(file, &attestation_file(certificate, &made.signature, &made.authenticator_data), 0o644)?;
    }
    if let (true, Some(pin)) = (arguments.resident && session.abilities().manages, &pin) {
        // Reads them anew, so that the agent lists the new one.
        residents(&mut session, octets(pin)).await?;
    }
    terminal::say(&format!("The key is in {}.", arguments.file.display()));
    super::super::print(&format!("{}\n", FingerprintHash::Sha256.of(&public)))
}

impl Arguments {
    fn check(&self) -> Result<(), String> {
        if !self.application.starts_with("ssh:") {
            return Err(
                "--application has to begin with ssh: so that no web site can take the key for its own".to_owned()
            );
        }
        if self.user.len() > USER_ID {
            return Err(format!("--user has at most {USER_ID} octets"));
        }
        if !self.user.is_empty() && !self.resident {
            return Err("--user is for resident keys; add --resident".to_owned());
        }
        Ok(())
    }

    const fn flags(&self) -> u8 {
        let touch = if self.no_touch_required { 0 } else { USER_PRESENCE };
        let verify = if self.verify_required { USER_VERIFICATION } else { 0 };
        let resident = if self.resident { RESIDENT } else { 0 };
        touch | verify | resident
    }

    /// A second key of one application and user takes the place of the first.
    async fn spares_what_is_there(&self, session: &mut Session, pin: &SecretSlice<u8>) -> Result<(), String> {
        let user = self.user_name();
        let keys = residents(session, octets(pin)).await?;
        let same = keys.iter().find(|(key, _)| key.application == self.application && key.user == user);
        let Some((_, public)) = same else { return Ok(()) };
        let fingerprint = FingerprintHash::Sha256.of(public);
        terminal::confirmed(&format!(
            "{} has the key {fingerprint} for this application and user, which will be lost.",
            session.device().name
        ))
    }

    /// As `ssh-keygen` calls a user without a name.
    fn user_name(&self) -> &str {
        if self.user.is_empty() { "openssh" } else { &self.user }
    }

    async fn enroll(
        &self,
        session: &mut Session,
        challenge: &[u8],
        pin: Option<&SecretSlice<u8>>,
        by_finger: bool,
    ) -> Result<Enrolled, SignError> {
        let mut id = self.user.as_bytes().to_vec();
        id.resize(USER_ID, 0);
        let user = ResidentUser { id, name: self.user_name().to_owned(), hidden: self.verify_required };
        let wanted = Enrolment {
            is_ed25519: self.kind == Kind::Ed25519,
            application: self.application.clone(),
            challenge: challenge.to_vec(),
            resident: self.resident.then_some(user),
            pin: pin.map(octets),
            verify: by_finger,
        };
        let name = session.device().name.clone();
        match session.call(FidoCall::Enroll(Box::new(wanted)), &mut terminal::touch(&name)).await? {
            FidoAnswer::Enrolled(made) => Ok(*made),
            _ => Err(session.nonsense().into()),
        }
    }
}

fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], String> {
    let mut octets = [0; LENGTH];
    aws_lc_rs::rand::fill(&mut octets).map_err(|_| "there are no random numbers".to_owned())?;
    Ok(octets)
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Writes a file anew, so that one that others could read before does not stay so.
fn write(file: &Path, content: &[u8], mode: u32) -> Result<(), String> {
    let fail = |error: std::io::Error| format!("{}: {error}", file.display());
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    let mut open = OpenOptions::new().write(true).create_new(true).mode(mode).open(file).map_err(fail)?;
    open.write_all(content).map_err(fail)
}
