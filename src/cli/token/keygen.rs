//! `hardkey token keygen`: a key that is made on the token and never leaves it.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::super::terminal;
use super::choose::{Chosen, Target, Wanted};
use super::opensc;
use super::secrets::LoginArguments;
use super::words::{self, refusal, shown};
use super::work::{tell_agent, to_its_end};
use crate::agent::inventory::authorized_keys_line;
use crate::backend::pkcs11::uri::Uri;
use crate::ipc::KeySeen;
use crate::ipc::token::{KeyKind, TokenAnswer, TokenCall};
use crate::protocol::public_key::PublicKey;

/// The longest id and label that are accepted, in octets: what SSH users type is far shorter, and cards store little.
const LONGEST: usize = 64;

#[derive(Args)]
pub(super) struct Arguments {
    /// The kind of key; by default the first of these that the token makes
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    kind: Option<Kind>,
    /// The label, which is the key's comment in the agent
    #[arg(long, value_name = "NAME")]
    label: String,
    /// The id in hexadecimal digits; by default the first one that is free
    #[arg(long, value_name = "HEX")]
    id: Option<String>,
    #[command(flatten)]
    login: LoginArguments,
    #[command(flatten)]
    chosen: Chosen,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Ed25519,
    #[value(name = "ecdsa-p256")]
    P256,
    #[value(name = "ecdsa-p384")]
    P384,
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

impl Kind {
    const fn wanted(self) -> KeyKind {
        match self {
            Self::Ed25519 => KeyKind::Ed25519,
            Self::P256 => KeyKind::P256,
            Self::P384 => KeyKind::P384,
            Self::Rsa2048 => KeyKind::Rsa(2048),
            Self::Rsa3072 => KeyKind::Rsa(3072),
            Self::Rsa4096 => KeyKind::Rsa(4096),
        }
    }
}

pub(super) async fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    if arguments.label.is_empty() || arguments.label.len() > LONGEST {
        return Err(format!("--label has 1 to {LONGEST} octets"));
    }
    let id = arguments.id.as_deref().map(parse_id).transpose()?;
    let mut target = arguments.chosen.find(Wanted::Initialized).await?;
    let kind = kind(arguments.kind, &target)?;
    let token = &target.token;
    let label = shown(&token.seen.name.label);
    if let Some(taken) = id.as_ref().and_then(|id| token.seen.keys.iter().find(|key| key.id == *id)) {
        return Err(format!("token {label:?} has a key with this id already: {}", words::key(taken)));
    }
    let login = arguments.login.get(token)?;
    let patience = if matches!(kind, KeyKind::Rsa(_)) { ", which may take minutes" } else { "" };
    terminal::say(&format!("Token {label:?} makes an {} key{patience}.", words::kind(kind)));
    let call = TokenCall::GenerateKey { at: token.holder(), kind, label: arguments.label.clone(), id, login };
    match to_its_end(target.manager.call(call)).await? {
        Ok(TokenAnswer::Key(key)) => {
            tell_agent();
            terminal::say(&format!("It is {}", Uri::of_key(&target.token.seen.name, &key)));
            super::super::print(&format!("{}\n", line(&key)))
        }
        Ok(_) => Err(target.manager.nonsense().to_string()),
        Err(error) => Err(words::with_hint(refusal(arguments.login.secret(), &target.token, &error))),
    }
}

/// The kind that was asked for, or the best that the token makes.
fn kind(asked: Option<Kind>, target: &Target) -> Result<KeyKind, String> {
    let Target { token, maker, .. } = target;
    let label = shown(&token.seen.name.label);
    if token.write_protected {
        return Err(format!("token {label:?} is read-only"));
    }
    let made: Vec<String> = token.makes.iter().map(|kind| words::kind(*kind)).collect();
    match (asked.map(Kind::wanted), token.makes.first()) {
        (_, None) if opensc::is_maker(maker) && opensc::is_piv(token) => Err(format!(
            "OpenSC makes no keys on PIV cards such as {label:?}; `ykman piv keys generate` and `yubico-piv-tool -a generate` do, \
             and on YubiKeys --module with the path of libykcs11.so, and --so"
        )),
        (_, None) => Err(format!("the module makes no keys on token {label:?}; use the token's own tool")),
        (None, Some(first)) => Ok(*first),
        (Some(kind), _) if token.makes.contains(&kind) => Ok(kind),
        (Some(kind), _) => {
            Err(format!("token {label:?} makes no {} keys; it makes {}", words::kind(kind), made.join(", ")))
        }
    }
}

fn line(key: &KeySeen) -> String {
    let comment = crate::text::escape(&key.label);
    PublicKey::from_blob(&key.public).map_or_else(|_| String::new(), |public| authorized_keys_line(&public, &comment))
}

fn parse_id(text: &str) -> Result<Vec<u8>, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let is_whole = digits.len().is_multiple_of(2) && digits.iter().all(u8::is_ascii_hexdigit);
    let octets: Option<Vec<u8>> = digits.chunks(2).map(octet).collect();
    octets
        .filter(|octets| is_whole && (1..=LONGEST).contains(&octets.len()))
        .ok_or_else(|| format!("{text:?} is not an id: hexadecimal digits such as 01 or a0ff"))
}
