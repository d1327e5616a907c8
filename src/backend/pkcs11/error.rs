//! What goes wrong with tokens and modules, and what to do.

use std::time::Duration;

/// Why a token did not serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No worker process could be started.
    #[error("cannot start a worker for module {module}: {reason}")]
    Spawn {
        /// The module's path.
        module: String,
        /// What the system said.
        reason: String,
    },
    /// The module cannot be loaded or initialised.
    #[error("module {module} cannot be used: {reason}{}", load_remedy(.reason))]
    Load {
        /// The module's path.
        module: String,
        /// What the loader or the module said.
        reason: String,
    },
    /// The worker ended in the middle of a call.
    #[error("module {module} crashed its worker process ({status}); it is started again at the next use")]
    Crashed {
        /// The module's path.
        module: String,
        /// How the process ended.
        status: String,
    },
    /// The worker did not answer in time and was killed.
    #[error("module {module} did not answer within {} s; its worker was killed and is started again at the next use", .after.as_secs_f32())]
    Hung {
        /// The module's path.
        module: String,
        /// The limit that passed.
        after: Duration,
    },
    /// The module did not let go of a card that is not there any more.
    #[error(
        "a card was pulled while module {module} used it; its worker was ended and is started again at the next use"
    )]
    Interrupted {
        /// The module's path.
        module: String,
    },
    /// The token is not there.
    #[error("token {token:?} is not there any more ({reason}); insert it again")]
    Gone {
        /// The token's label.
        token: String,
        /// What the module said.
        reason: String,
    },
    /// Another program has the card for itself.
    #[error("reader {reader:?} is held by {programs}, which shares it with nobody; end that program{}", held_remedy(.programs))]
    Held {
        /// The reader's name.
        reader: String,
        /// The programs that it may be.
        programs: String,
    },
    /// The module has lost the token for good, as after the restart of a server or reader behind it.
    #[error(
        "token {token:?}: {reason} after a new login as well; its worker was ended and is started again at the next use"
    )]
    Stale {
        /// The token's label.
        token: String,
        /// What the module said.
        reason: String,
    },
    /// The module reported a failure.
    #[error("token {token:?}: {reason}")]
    Fault {
        /// The token's label.
        token: String,
        /// What the module said.
        reason: String,
    },
    /// The key does not sign without a login.
    #[error("token {token:?} has to be logged in to for this key: {reason}")]
    WantsLogin {
        /// The token's label.
        token: String,
        /// What the module said.
        reason: String,
    },
    /// The token does not compute signatures this way.
    #[error("token {token:?} refuses the mechanism: {reason}")]
    Mechanism {
        /// The token's label.
        token: String,
        /// What the module said.
        reason: String,
    },
    /// The signature does not verify under the key's public half. It was not passed on.
    #[error("module {module} answered a signature that does not verify under key {key:?}; it was not passed on")]
    WrongSignature {
        /// The module's path.
        module: String,
        /// The key's label.
        key: String,
    },
    /// Worker and agent are not of the same build, or the worker's memory is damaged.
    #[error("the worker of module {module} gave an answer that makes no sense; it was killed")]
    Nonsense {
        /// The module's path.
        module: String,
    },
}

impl TokenError {
    /// Whether a signature without a login may have failed only because of that.
    pub(super) const fn may_be_for_want_of_a_login(&self) -> bool {
        matches!(self, Self::WantsLogin { .. } | Self::Crashed { .. } | Self::Stale { .. })
    }
}

fn held_remedy(programs: &str) -> &'static str {
    match programs.contains("scdaemon") {
        true => " (`gpgconf --kill scdaemon`), or write `pcsc-shared` and `disable-ccid` into ~/.gnupg/scdaemon.conf",
        false => "",
    }
}

/// What to do about a module that does not load.
fn load_remedy(reason: &str) -> &'static str {
    if reason.contains("No such file") {
        "; install the package it comes from, or correct its path"
    } else if reason.contains("wrong ELF class")
        || reason.contains("invalid ELF header")
        || reason.contains("file too short")
    {
        "; it is not a library for this machine: install the package for this architecture"
    } else if reason.contains("undefined symbol: sk_") {
        "; it is a library, but not a security key's middleware"
    } else if reason.contains("undefined symbol") || reason.contains("Missing PKCS#11 symbol") {
        "; it is a library, but not a PKCS#11 module"
    } else {
        ""
    }
}
