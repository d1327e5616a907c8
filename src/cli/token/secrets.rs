//! PINs that somebody types or keeps in a file, and what is known of their tries before they are presented.

use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::ExposeSecret as _;

use super::super::terminal;
use super::words::{Secret, locked, shown};
use crate::backend::pin::{Pin, PinSource, TriesLeft};
use crate::ipc::SecretOctets;
use crate::ipc::token::{Login, Presented, Role, TokenState};

/// A file with the PIN that is to be.
#[derive(Args)]
pub(super) struct NewPin {
    /// Take the new PIN from the first line of this file, which has to have mode 0600
    #[arg(long, value_name = "FILE")]
    new_pin_file: Option<PathBuf>,
}

impl NewPin {
    /// Asks for it twice, or reads it. One that the token would not take is refused before anything is presented.
    pub(super) fn get(&self, secret: Secret, token: &TokenState, label: &str) -> Result<SecretOctets, String> {
        let pin = match &self.new_pin_file {
            Some(file) => read(file)?,
            None => terminal::new_pin(&format!("New {} of token {:?}", secret.name(), shown(label)))?,
        };
        fitting(secret, token, &pin)?;
        Ok(octets(&pin))
    }
}

/// Asks for the SO PIN of a token that has none yet, or reads it.
pub(super) fn first_so_pin(token: &TokenState, label: &str, file: Option<&Path>) -> Result<Presented, String> {
    let pin = match file {
        Some(file) => read(file)?,
        None => terminal::new_pin(&format!("New SO PIN of token {:?}, for managing it", shown(label)))?,
    };
    fitting(Secret::SoPin, token, &pin)?;
    Ok(Presented { pin: Some(octets(&pin)), even_final_try: false })
}

/// Asks for a secret that is in force, or reads it, after a look at its tries. A file never spends the final one.
pub(super) fn present(secret: Secret, token: &TokenState, file: Option<&Path>) -> Result<Presented, String> {
    let (name, label) = (secret.name(), shown(&token.seen.name.label));
    let tries = match secret {
        Secret::Pin => token.seen.tries,
        Secret::SoPin => token.so_tries,
        // No module tells.
        Secret::Puk => TriesLeft::NoWarning,
    };
    let even_final_try = match (tries, file) {
        (TriesLeft::Locked, _) => return Err(locked(secret, token)),
        (TriesLeft::Final, Some(_)) => {
            return Err(format!(
                "the next wrong {name} locks token {label:?}, so one from a file is not tried; type it"
            ));
        }
        (TriesLeft::Final, None) => {
            terminal::confirmed(&format!("One try is left: a wrong {name} now locks token {label:?}."))?;
            true
        }
        _ => false,
    };
    if secret == Secret::Pin && token.seen.protected_path {
        terminal::say(&format!("Enter the PIN of token {label:?} on the device."));
        return Ok(Presented { pin: None, even_final_try });
    }
    let left = if matches!(tries, TriesLeft::Low | TriesLeft::Left(_)) { " (few tries are left)" } else { "" };
    let pin = match file {
        Some(file) => read(file)?,
        None => terminal::pin(&format!("{name} of token {label:?}{left}"))?,
    };
    Ok(Presented { pin: Some(octets(&pin)), even_final_try })
}

fn fitting(secret: Secret, token: &TokenState, pin: &Pin) -> Result<(), String> {
    let (shortest, longest) = token.pin_lengths;
    let length = pin.expose_secret().len() as u64;
    match longest == 0 || (shortest..=longest).contains(&length) {
        true => Ok(()),
        false => Err(format!(
            "the new {} has to have {shortest} to {longest} characters; nothing was changed",
            secret.name()
        )),
    }
}

fn read(file: &Path) -> Result<Pin, String> {
    let read = PinSource::File(file.to_owned()).read().map_err(|error| error.to_string())?;
    read.ok_or_else(|| format!("{}: no PIN is there", file.display()))
}

fn octets(pin: &Pin) -> SecretOctets {
    SecretOctets(pin.expose_secret().to_vec().into())
}

/// Who logs in to change what is on a token.
#[derive(Args)]
pub(super) struct LoginArguments {
    /// Log in with the SO PIN, as ykcs11 wants it: there it is the management key of the PIV card
    #[arg(long)]
    so: bool,
    /// Take the PIN from the first line of this file, which has to have mode 0600
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
}

impl LoginArguments {
    /// The secret that is asked for.
    pub(super) const fn secret(&self) -> Secret {
        if self.so { Secret::SoPin } else { Secret::Pin }
    }

    /// Asks for the PIN, or reads it; `None` where the token wants none.
    pub(super) fn get(&self, token: &TokenState) -> Result<Option<Login>, String> {
        if !token.seen.login_required {
            return Ok(None);
        }
        let label = shown(&token.seen.name.label);
        if !self.so && !token.seen.pin_initialized && !token.seen.protected_path {
            return Err(format!("token {label:?} has no PIN yet; `hardkey token unblock` sets one"));
        }
        let role = if self.so { Role::SecurityOfficer } else { Role::User };
        let presented = present(self.secret(), token, self.pin_file.as_deref())?;
        Ok(Some(Login { role, presented }))
    }
}
