//! `hardkey fido list` and `hardkey fido delete`.

use std::process::ExitCode;

use clap::Args;

use super::super::terminal;
use super::{Chosen, done, octets, pin_of, text};
use crate::agent::inventory::authorized_keys_line;
use crate::backend::fido::{Device, Devices, Remembered, Session};
use crate::crypto::fingerprint::FingerprintHash;
use crate::ipc::SecretOctets;
use crate::ipc::fido::{FidoAnswer, FidoCall, Resident};
use crate::protocol::public_key::PublicKey;

#[derive(Args)]
pub(super) struct ListArguments {
    /// List the resident keys of a security key, for which it wants its PIN
    #[arg(long)]
    resident: bool,
    /// Print the resident keys as lines for authorized_keys
    #[arg(long, requires = "resident")]
    public: bool,
    #[command(flatten)]
    chosen: Chosen,
}

#[derive(Args)]
pub(super) struct DeleteArguments {
    /// The key's fingerprint, as `hardkey fido list --resident` shows it
    #[arg(value_name = "FINGERPRINT")]
    key: String,
    #[command(flatten)]
    chosen: Chosen,
}

pub(super) async fn list(arguments: &ListArguments, devices: &Devices) -> Result<ExitCode, String> {
    if !arguments.resident {
        return list_devices(devices).await;
    }
    let mut session = arguments.chosen.open(devices).await?;
    let pin = octets(&pin_of(&session)?);
    let lines: Vec<String> = residents(&mut session, pin)
        .await?
        .iter()
        .map(|(key, public)| {
            let (application, user) = (shown(&key.application), shown(&key.user));
            if arguments.public {
                return authorized_keys_line(public, &format!("{application} {user}"));
            }
            let verified = if key.hidden { "verify-required" } else { "-" };
            let (kind, fingerprint) = (public.material().short_name(), FingerprintHash::Sha256.of(public));
            format!("{kind:<10}  {application:<16}  {user:<16}  {verified:<15}  {fingerprint}")
        })
        .collect();
    match lines.is_empty() {
        true => super::super::print("no resident keys of ssh\n"),
        false => super::super::print(&(lines.join("\n") + "\n")),
    }
}

async fn list_devices(devices: &Devices) -> Result<ExitCode, String> {
    let mut lines = Vec::new();
    for device in Device::all() {
        let state = match Session::open(devices, &device).await {
            Ok(session) => match session.abilities().pin {
                Some(true) => "PIN set".to_owned(),
                Some(false) => "no PIN".to_owned(),
                None => "U2F".to_owned(),
            },
            Err(error) => text(error),
        };
        let serial = if device.serial.is_empty() { "-" } else { &device.serial };
        lines.push(format!("{}  {}  {serial}  {state}\n", device.path.display(), device.name));
    }
    match lines.is_empty() {
        true => super::super::print("no security keys\n"),
        false => super::super::print(&lines.concat()),
    }
}

pub(super) async fn delete(arguments: &DeleteArguments, devices: &Devices) -> Result<ExitCode, String> {
    let mut session = arguments.chosen.open(devices).await?;
    let pin = pin_of(&session)?;
    let keys = residents(&mut session, octets(&pin)).await?;
    let found = keys.iter().find(|(_, public)| FingerprintHash::Sha256.of(public) == arguments.key);
    let Some((key, _)) = found else {
        return Err(format!("{} has no resident key {}", session.device().name, arguments.key));
    };
    let (application, user) = (shown(&key.application), shown(&key.user));
    terminal::confirmed(&format!("The key {} of {application:?}, user {user:?}, is lost for good.", arguments.key))?;
    done(&mut session, FidoCall::Delete { pin: octets(&pin), handle: key.handle.clone() }).await?;
    remember(|remembered| remembered.forget(&key.handle));
    terminal::say("The key is deleted.");
    Ok(ExitCode::SUCCESS)
}

/// The resident keys of `ssh:` applications.
pub(super) async fn residents(session: &mut Session, pin: SecretOctets) -> Result<Vec<(Resident, PublicKey)>, String> {
    match session.call(FidoCall::Residents { pin }, &mut |_| {}).await {
        Ok(FidoAnswer::Residents(keys)) => {
            remember(|remembered| remembered.note(session.device(), &keys));
            Ok(keys
                .into_iter()
                .filter_map(|key| {
                    let public = PublicKey::from_material(key.material()?);
                    Some((key, public))
                })
                .collect())
        }
        Ok(_) => Err(session.nonsense().to_string()),
        Err(error) => Err(text(error)),
    }
}

/// Changes what the agent knows of resident keys, so that it lists them without a PIN.
pub(super) fn remember(change: impl FnOnce(&mut Remembered)) {
    if let Err(error) = Remembered::update(change) {
        terminal::say(&error);
    }
}

fn shown(text: &str) -> String {
    crate::text::excerpt(text.as_bytes())
}
