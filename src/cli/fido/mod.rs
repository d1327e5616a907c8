//! `hardkey fido`: security keys without an agent: what is plugged in, making and deleting keys, the PIN.

mod enroll;
mod residents;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretSlice};

use super::terminal;
use crate::backend::SignError;
use crate::backend::fido::{Device, Devices, Session, touched};
use crate::ipc::SecretOctets;
use crate::ipc::fido::{FidoAnswer, FidoCall};

#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the security keys that are plugged in, or the keys that live on one
    List(residents::ListArguments),
    /// Show what a security key is able to do
    Info(Chosen),
    /// Make a new key on a security key
    Enroll(enroll::Arguments),
    /// Delete a resident key
    Delete(residents::DeleteArguments),
    /// Set or change the PIN of a security key
    Pin(Chosen),
}

/// Which security key.
#[derive(Args)]
struct Chosen {
    /// The security key's file; without it the only one there is, or the one that is touched
    #[arg(long, value_name = "PATH")]
    device: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(async {
        let devices = Devices::default();
        terminal::end_questions_at_interrupts();
        let work = async {
            match arguments.command {
                Command::List(arguments) => residents::list(&arguments, &devices).await,
                Command::Info(chosen) => info(&chosen, &devices).await,
                Command::Enroll(arguments) => enroll::run(&arguments, &devices).await,
                Command::Delete(arguments) => residents::delete(&arguments, &devices).await,
                Command::Pin(chosen) => pin(&chosen, &devices).await,
            }
        };
        let done = tokio::select! {
            done = work => done,
            _ = tokio::signal::ctrl_c() => Err("interrupted".to_owned()),
        };
        // No device is left blinking for nobody.
        devices.quiet().await;
        done
    })
}

impl Chosen {
    /// Opens the one that is meant.
    async fn open(&self, devices: &Devices) -> Result<Session, String> {
        let mut plugged = Device::all();
        if let Some(path) = &self.device {
            plugged.retain(|device| device.path == *path);
        }
        let mut sessions = Vec::new();
        for device in &plugged {
            sessions.push(Session::open(devices, device).await);
        }
        if let (1, Some(only)) = (sessions.len(), sessions.pop_if(|_| plugged.len() == 1)) {
            return only.map_err(text);
        }
        let mut sessions: Vec<Session> = sessions.into_iter().flatten().collect();
        match (sessions.pop(), sessions.is_empty()) {
            (None, _) => Err(match &self.device {
                Some(path) => format!("{} is no security key that is plugged in", path.display()),
                None => "no security key is plugged in, or none may be used; plug one in".to_owned(),
            }),
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                sessions.push(last);
                terminal::say("Touch the security key that you mean.");
                touched(sessions).await.map_err(text)
            }
        }
    }
}

/// Asks for the PIN of a device, after a look at its tries.
fn pin_of(session: &Session) -> Result<SecretSlice<u8>, String> {
    let name = &session.device().name;
    match (session.abilities().pin, session.abilities().tries) {
        (Some(true), Some(0)) => {
            Err(format!("{name}: its PIN is locked; only a reset, which erases every key on it, helps"))
        }
        (Some(true), Some(1)) => {
            terminal::confirmed(&format!("{name}: a wrong PIN now locks it for good."))?;
            terminal::pin(&format!("PIN of {name}"))
        }
        (Some(true), Some(tries)) if tries < 8 => terminal::pin(&format!("PIN of {name} ({tries} tries are left)")),
        (Some(true), _) => terminal::pin(&format!("PIN of {name}")),
        (Some(false), _) => Err(format!("{name} has no PIN; set one with `hardkey fido pin`")),
        (None, _) => {
            Err(format!("{name} speaks U2F alone: it knows no PIN, and so neither verification nor resident keys"))
        }
    }
}

fn octets(pin: &SecretSlice<u8>) -> SecretOctets {
    SecretOctets(pin.expose_secret().to_vec().into())
}

/// Makes a call that ends without an answer.
async fn done(session: &mut Session, call: FidoCall) -> Result<(), String> {
    let name = session.device().name.clone();
    match session.call(call, &mut terminal::touch(&name)).await {
        Ok(FidoAnswer::Done) => Ok(()),
        Ok(_) => Err(session.nonsense().to_string()),
        Err(error) => Err(text(error)),
    }
}

fn text(error: SignError) -> String {
    error.to_string()
}

async fn info(chosen: &Chosen, devices: &Devices) -> Result<ExitCode, String> {
    let session = chosen.open(devices).await?;
    let (device, abilities) = (session.device(), session.abilities());
    let state = |value: Option<bool>, set: &str| match value {
        Some(true) => set.to_owned(),
        Some(false) => format!("not {set}"),
        None => "not supported".to_owned(),
    };
    let yes = |value| if value { "yes" } else { "no" }.to_owned();
    let hex = crate::text::hex(&abilities.aaguid);
    let kinds = if abilities.ed25519 == Some(false) { "ecdsa-sk" } else { "ecdsa-sk, ed25519-sk" };
    let rows = [
        ("device", device.path.display().to_string()),
        ("name", device.name.clone()),
        ("serial", device.serial.clone()),
        ("versions", crate::text::excerpt(abilities.versions.join(", ").as_bytes())),
        ("model (AAGUID)", hex),
        ("kinds of keys", kinds.to_owned()),
        ("PIN", state(abilities.pin, "set")),
        ("PIN tries left", abilities.tries.map_or_else(|| "-".to_owned(), |tries| tries.to_string())),
        ("own verification", state(abilities.verification, "set up")),
        ("always verifies", yes(abilities.always_verify)),
        ("resident keys", yes(abilities.residents)),
        ("manages them", yes(abilities.manages)),
    ];
    let lines: Vec<String> =
        rows.iter().map(|(name, value)| format!("{name:<17} {value}").trim_end().to_owned()).collect();
    super::print(&(lines.join("\n") + "\n"))
}

async fn pin(chosen: &Chosen, devices: &Devices) -> Result<ExitCode, String> {
    let mut session = chosen.open(devices).await?;
    let old = match session.abilities().pin {
        Some(true) => Some(octets(&pin_of(&session)?)),
        Some(false) => None,
        None => return Err(format!("{} knows no PIN", session.device().name)),
    };
    let new = octets(&terminal::new_pin("New PIN")?);
    done(&mut session, FidoCall::SetPin { old, new }).await?;
    terminal::say("The PIN is set.");
    Ok(ExitCode::SUCCESS)
}
