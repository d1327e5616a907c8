//! Which tokens there are, and which one is meant.

use std::path::PathBuf;

use clap::Args;

use super::super::terminal;
use super::words::shown;
use crate::agent::command::specs;
use crate::backend::pin::PinSource;
use crate::backend::pkcs11::ModuleSpec;
use crate::backend::pkcs11::manage::{ManageError, Manager};
use crate::backend::pkcs11::uri::Uri;
use crate::config::Config;
use crate::ipc::token::{TokenAnswer, TokenCall, TokenState};

/// Which modules are looked at.
#[derive(Args)]
pub(super) struct Modules {
    /// Look at this module only, instead of those of the configuration and of p11-kit
    #[arg(long, value_name = "PATH")]
    module: Option<PathBuf>,
    /// The configuration that names the modules
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Which token.
#[derive(Args)]
pub(super) struct Chosen {
    /// The token: its label, its serial number or a pkcs11: URI; without it the only one there is
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    #[command(flatten)]
    modules: Modules,
}

/// What a token has to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// One that can be used.
    Initialized,
    /// One to be initialised: whoever means one that is initialised already has to name it.
    ToInitialize,
}

/// The token that is meant, and a worker that serves it.
pub(super) struct Target {
    pub(super) spec: ModuleSpec,
    pub(super) manager: Manager,
    /// Who made the module.
    pub(super) maker: String,
    pub(super) token: TokenState,
}

/// A module with its tokens, and the worker that looked at them.
pub(super) struct Surveyed {
    pub(super) spec: ModuleSpec,
    pub(super) manager: Manager,
    /// Who made the module.
    pub(super) maker: String,
    pub(super) tokens: Vec<TokenState>,
}

impl Modules {
    /// Looks at all tokens. A module that cannot be used is named, and the others are served.
    pub(super) async fn survey(&self) -> Result<Vec<Surveyed>, String> {
        let look = async {
            let (mut found, mut last) = (Vec::new(), None);
            for spec in self.specs()? {
                match look_at(spec).await {
                    Ok(surveyed) => found.push(surveyed),
                    Err(error) => {
                        if let Some(before) = last.replace(error.to_string()) {
                            terminal::say(&format!("hardkey: {before}"));
                        }
                    }
                }
            }
            match last {
                Some(error) if found.is_empty() => Err(error),
                Some(error) => {
                    terminal::say(&format!("hardkey: {error}"));
                    Ok(found)
                }
                None => Ok(found),
            }
        };
        tokio::select! {
            found = look => found,
            _ = tokio::signal::ctrl_c() => Err("interrupted".to_owned()),
        }
    }

    fn specs(&self) -> Result<Vec<ModuleSpec>, String> {
        let config = Config::find(self.config.as_deref()).map_err(|error| error.to_string())?;
        let Some(path) = &self.module else {
            return match specs(&config, &PinSource::Ask, true) {
                none if none.is_empty() => {
                    Err("no PKCS#11 module is known; name one with --module, or in the configuration".to_owned())
                }
                specs => Ok(specs),
            };
        };
        let path = std::fs::canonicalize(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let is_it = |spec: &ModuleSpec| std::fs::canonicalize(&spec.path).is_ok_and(|real| real == path);
        // What the configuration says of it, such as its environment, holds here too.
        let known = specs(&config, &PinSource::Ask, false).into_iter().find(is_it);
        Ok(vec![known.unwrap_or_else(|| ModuleSpec { path, ..ModuleSpec::default() })])
    }
}

impl Chosen {
    /// The one that is meant.
    pub(super) async fn find(&self, wanted: Wanted) -> Result<Target, String> {
        let surveyed = self.modules.survey().await?;
        let is_named = self.matcher()?;
        let mut fitting = Vec::new();
        let mut is_empty = true;
        for Surveyed { spec, manager, maker, tokens } in surveyed {
            is_empty &= tokens.iter().all(|token| !token.initialized);
            let fits = |token: &&TokenState| match wanted {
                Wanted::Initialized => token.initialized && is_named(token),
                Wanted::ToInitialize => is_named(token) && (self.token.is_some() || !token.initialized),
            };
            let tokens: Vec<TokenState> = tokens.iter().filter(fits).cloned().collect();
            fitting.push((spec, manager, maker, tokens));
        }
        let lines: Vec<String> = fitting
            .iter()
            .flat_map(|(spec, _, _, tokens)| {
                tokens.iter().map(|token| format!("\n  {} ({})", described(token), spec.path.display()))
            })
            .collect();
        match (lines.len(), &self.token) {
            (0, Some(named)) => Err(format!("no token matches {named:?}; `hardkey token list` shows what there is")),
            (0, None) if wanted == Wanted::ToInitialize => {
                Err("no token waits to be initialised; to erase one that is in use, name it with --token".to_owned())
            }
            (0, None) if is_empty => {
                Err("no token is there; insert it, or make one with `hardkey token init`".to_owned())
            }
            (1, _) => {
                let only = fitting.into_iter().find_map(|(spec, manager, maker, mut tokens)| {
                    tokens.pop().map(|token| Target { spec, manager, maker, token })
                });
                only.ok_or_else(|| "no token is there".to_owned())
            }
            (_, named) => {
                let remedy = match named {
                    None => "name one with --token",
                    Some(_) => "name one by its URI, and its module with --module if there are two that show it",
                };
                Err(format!("several tokens could be meant; {remedy}:{}", lines.concat()))
            }
        }
    }

    fn matcher(&self) -> Result<impl Fn(&TokenState) -> bool, String> {
        let named = self.token.clone();
        let uri = match &self.token {
            Some(text) if Uri::is_meant(text) => Some(Uri::parse(text).map_err(|error| error.to_string())?),
            _ => None,
        };
        Ok(move |token: &TokenState| match (&uri, &named) {
            (Some(uri), _) => uri.matches_token(&token.seen),
            (None, Some(text)) => token.seen.name.label == *text || token.seen.name.serial == *text,
            (None, None) => true,
        })
    }
}

async fn look_at(spec: ModuleSpec) -> Result<Surveyed, ManageError> {
    let mut manager = Manager::start(&spec, &[]).await?;
    match manager.call(TokenCall::Survey).await? {
        TokenAnswer::Tokens { maker, tokens } => Ok(Surveyed { spec, manager, maker, tokens }),
        _ => Err(manager.nonsense().into()),
    }
}

/// A URI that names a token, as `--token` takes it.
pub(super) fn uri(token: &TokenState) -> String {
    Uri::of_token(&token.seen).to_string()
}

/// A token on one line.
pub(super) fn described(token: &TokenState) -> String {
    match token.initialized {
        true => format!("{:?}, {}", shown(&token.seen.name.label), uri(token)),
        false => format!("not initialised, {}", uri(token)),
    }
}
