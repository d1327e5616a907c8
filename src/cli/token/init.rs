//! `hardkey token init`: a token that is empty, with a label and PINs of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::super::terminal;
use super::choose::{Chosen, Wanted, described};
use super::opensc;
use super::secrets::{NewPin, first_so_pin, present};
use super::words::{Secret, refusal, shown};
use super::work::{tell_agent, to_its_end};
use crate::backend::pkcs11::uri::Uri;
use crate::ipc::TokenSeen;
use crate::ipc::token::{TokenAnswer, TokenCall, TokenState};

/// The longest label, in octets (PKCS#11 2.40 section 5.5, `C_InitToken`).
const LONGEST_LABEL: usize = 32;

#[derive(Args)]
pub(super) struct Arguments {
    /// The label that the token gets
    #[arg(long, value_name = "NAME")]
    label: String,
    /// Take the SO PIN from the first line of this file, which has to have mode 0600
    #[arg(long, value_name = "FILE")]
    so_pin_file: Option<PathBuf>,
    #[command(flatten)]
    new: NewPin,
    #[command(flatten)]
    chosen: Chosen,
}

pub(super) async fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let label = &arguments.label;
    if label.is_empty() || label.len() > LONGEST_LABEL {
        return Err(format!("--label has 1 to {LONGEST_LABEL} octets"));
    }
    let mut target = arguments.chosen.find(Wanted::ToInitialize).await?;
    let token = &target.token;
    if token.write_protected {
        return Err(format!("token {} is read-only", described(token)));
    }
    if opensc::is_maker(&target.maker) && opensc::is_piv(token) {
        return Err("OpenSC does not initialise PIV cards; `ykman piv reset` and yubico-piv-tool erase one".to_owned());
    }
    let so_file = arguments.so_pin_file.as_deref();
    let so_pin = match token.initialized {
        true => {
            may_be_erased(token)?;
            present(Secret::SoPin, token, so_file)?
        }
        false => first_so_pin(token, label, so_file)?,
    };
    let pin = arguments.new.get(Secret::Pin, token, label)?;
    let call = TokenCall::Initialize { at: token.holder(), label: label.clone(), so_pin, pin };
    let made = match to_its_end(target.manager.call(call)).await? {
        Ok(TokenAnswer::Initialized(made)) => made,
        Ok(_) => return Err(target.manager.nonsense().to_string()),
        Err(error) => return Err(refusal(Secret::SoPin, &target.token, &error)),
    };
    tell_agent();
    terminal::say(&format!("Token {:?} is ready; `hardkey token keygen` makes keys on it.", shown(&made.label)));
    let seen = TokenSeen { name: made, ..target.token.seen };
    super::super::print(&format!("{}\n", Uri::of_token(&seen)))
}

/// Names what would be lost, and wants the label typed.
fn may_be_erased(token: &TokenState) -> Result<(), String> {
    let label = &token.seen.name.label;
    let mut lines = vec![format!("Everything on token {} will be erased for good:", described(token))];
    lines.extend(token.seen.keys.iter().map(|key| format!("  {}", super::words::key(key))));
    let others = token.objects.saturating_sub(token.seen.keys.len() as u64);
    match (&token.unreadable, token.objects) {
        (Some(reason), _) => lines.push(format!("  whatever is there; it cannot be read ({})", shown(reason))),
        (None, 0) => lines.push("  nothing shows without the PIN; there may be objects that need it".to_owned()),
        (None, _) => lines.push(format!("  {others} further objects, and those that show only with the PIN")),
    }
    lines.iter().for_each(|line| terminal::say(line));
    terminal::typed(&format!("Type the label of the token to erase it ({}): ", shown(label)), label)
}
