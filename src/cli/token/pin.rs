//! `hardkey token change-pin` and `hardkey token unblock`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::super::terminal;
use super::choose::{Chosen, Target, Wanted};
use super::opensc;
use super::secrets::{NewPin, present};
use super::words::{Secret, refusal, shown};
use super::work::{tell_agent, to_its_end};
use crate::backend::pkcs11::manage::Manager;
use crate::ipc::token::{Presented, Role, TokenCall, TokenState};

#[derive(Args)]
pub(super) struct ChangeArguments {
    /// Change the security officer's PIN
    #[arg(long)]
    so: bool,
    /// Take the PIN in force from the first line of this file, which has to have mode 0600
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
    #[command(flatten)]
    new: NewPin,
    #[command(flatten)]
    chosen: Chosen,
}

#[derive(Args)]
pub(super) struct UnblockArguments {
    /// Take the SO PIN, or the PUK, from the first line of this file, which has to have mode 0600
    #[arg(long, value_name = "FILE")]
    so_pin_file: Option<PathBuf>,
    #[command(flatten)]
    new: NewPin,
    #[command(flatten)]
    chosen: Chosen,
}

pub(super) async fn change(arguments: &ChangeArguments) -> Result<ExitCode, String> {
    let (secret, role) = match arguments.so {
        true => (Secret::SoPin, Role::SecurityOfficer),
        false => (Secret::Pin, Role::User),
    };
    let target = arguments.chosen.find(Wanted::Initialized).await?;
    let token = &target.token;
    enters_pins_here(token)?;
    if arguments.so && opensc::is_maker(&target.maker) && opensc::is_piv(token) {
        return Err("a PIV card has no SO PIN; its PUK and management key are changed with `ykman piv access` or \
                    yubico-piv-tool"
            .to_owned());
    }
    if role == Role::User && !token.seen.pin_initialized {
        return Err(format!(
            "token {:?} has no PIN yet; `hardkey token unblock` sets one",
            shown(&token.seen.name.label)
        ));
    }
    let old = present(secret, token, arguments.pin_file.as_deref())?;
    let new = arguments.new.get(secret, token, &token.seen.name.label)?;
    let call = TokenCall::ChangePin { at: token.holder(), role, old, new };
    done(target, secret, call, "changed").await
}

pub(super) async fn unblock(arguments: &UnblockArguments) -> Result<ExitCode, String> {
    let target = arguments.chosen.find(Wanted::Initialized).await?;
    let token = &target.token;
    enters_pins_here(token)?;
    let secret = if opensc::is_maker(&target.maker) { Secret::Puk } else { Secret::SoPin };
    if secret == Secret::Puk {
        terminal::say(
            "A wrong PUK costs one of its tries, which this card does not tell, and a locked PUK stays locked.",
        );
    }
    let presented = present(secret, token, arguments.so_pin_file.as_deref())?;
    let pin = arguments.new.get(Secret::Pin, token, &token.seen.name.label)?;
    let at = token.holder();
    let puk = match presented {
        Presented { pin: Some(puk), .. } if secret == Secret::Puk => puk,
        so_pin => return done(target, secret, TokenCall::Unblock { at, so_pin, pin }, "set").await,
    };
    let configuration = opensc::Configuration::with_puk(&target.spec)?;
    let manager = Manager::start(&target.spec, &[configuration.variable()]).await.map_err(|error| error.to_string())?;
    done(Target { manager, ..target }, secret, TokenCall::UnblockByPuk { at, puk, pin }, "set").await
}

/// Makes the call, and says what came of it.
async fn done(mut target: Target, secret: Secret, call: TokenCall, what: &str) -> Result<ExitCode, String> {
    let changed = if matches!(call, TokenCall::ChangePin { .. }) { secret } else { Secret::Pin };
    let label = shown(&target.token.seen.name.label);
    if let Err(error) = to_its_end(target.manager.call(call)).await? {
        return Err(refusal(secret, &target.token, &error));
    }
    tell_agent();
    terminal::say(&format!("The {} of token {label:?} is {what}.", changed.name()));
    Ok(ExitCode::SUCCESS)
}

/// The PINs of tokens with a pad of their own are set there.
fn enters_pins_here(token: &TokenState) -> Result<(), String> {
    match token.seen.protected_path {
        true => {
            let label = shown(&token.seen.name.label);
            Err(format!("token {label:?} asks for its PINs on the device; change them with the token's own tool"))
        }
        false => Ok(()),
    }
}
