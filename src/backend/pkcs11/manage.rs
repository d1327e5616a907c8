//! A worker of one's own for managing a module's tokens, without an agent.

use std::time::Duration;

use super::error::TokenError;
use super::{CALL_DEADLINE, ModuleSpec};
use crate::backend::link::Link;
use crate::ipc::token::{TokenAnswer, TokenCall};
use crate::ipc::{Answer, Call, ModuleFault};

/// The limit for a call that has the token work: cards take minutes for a long RSA key.
const WORK_DEADLINE: Duration = Duration::from_secs(300);

/// A worker that manages the tokens of a module. Dropping it ends the process.
pub struct Manager {
    module: String,
    link: Link,
    deadline: Duration,
}

/// Why a call did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// The worker failed, and nobody knows what the token did.
    #[error(transparent)]
    Worker(#[from] TokenError),
    /// The module or the token refused.
    #[error("{0}")]
    Fault(ModuleFault),
}

impl Manager {
    /// Starts a worker for the module, with these variables in its environment beside those of the specification.
    ///
    /// # Errors
    /// The module cannot be used.
    pub async fn start(spec: &ModuleSpec, env: &[(String, String)]) -> Result<Self, TokenError> {
        let deadline = spec.deadline.unwrap_or(CALL_DEADLINE);
        let start = Call::Start { module: spec.path.clone(), sandbox: spec.sandbox.clone() };
        let env: Vec<(String, String)> = spec.env.iter().chain(env).cloned().collect();
        let link = Link::start(&spec.path, &start, &env, deadline).await?;
        Ok(Self { module: spec.path.display().to_string(), link, deadline })
    }

    /// Makes one call.
    ///
    /// # Errors
    /// The module refused, or the worker failed; after the latter the manager is worthless.
    pub async fn call(&mut self, call: TokenCall) -> Result<TokenAnswer, ManageError> {
        let deadline = match call {
            TokenCall::Survey => self.deadline,
            _ => self.deadline.max(WORK_DEADLINE),
        };
        match self.link.call(&Call::Token(call), deadline).await? {
            Answer::Token(answer) => Ok(answer),
            Answer::Failed(fault) => Err(ManageError::Fault(fault)),
            _ => Err(self.nonsense().into()),
        }
    }

    /// The error for an answer to another call.
    pub fn nonsense(&self) -> TokenError {
        TokenError::Nonsense { module: self.module.clone() }
    }
}
