//! Tokens behind a module that fails on demand.

use std::ffi::OsString;
use std::path::PathBuf;

use faulty_module::{BACKEND, CallLog, LOG, RULES, Rules};

use crate::home::Home;
use crate::module::Module;
use crate::publickey::PublicKey;
use crate::token::{Key, Token};

/// Any module with the faulty one before it.
pub struct FaultyModule {
    /// For the configuration.
    pub module: Module,
    /// What shall go wrong; nothing at first.
    pub rules: Rules,
    /// What the agent has called.
    pub calls: CallLog,
}

impl FaultyModule {
    /// Puts the faulty module before this one, unless it is there already.
    #[must_use]
    pub fn before(home: &Home, module: Module) -> Self {
        let said = |name: &str| {
            let mut variables = module.environment().iter();
            variables.find(|(known, _)| *known == name).map(|(_, value)| PathBuf::from(value))
        };
        let rules = said(RULES).unwrap_or_else(|| home.path("rules"));
        let calls = said(LOG).unwrap_or_else(|| home.log_file("calls"));
        let module = match said(BACKEND) {
            Some(_) => module,
            None => module.behind(library()).env(RULES, &rules).env(LOG, &calls),
        };
        Self { module, rules: Rules::at(rules), calls: CallLog::at(calls) }
    }
}

/// A token whose module obeys [`rules`](Self::rules) and writes down every call in [`calls`](Self::calls).
///
/// The rules and their syntax are those of the crate `faulty-module`.
pub struct FaultyToken {
    token: Token,
    /// What shall go wrong; nothing at first.
    pub rules: Rules,
    /// What the agent has called.
    pub calls: CallLog,
}

impl FaultyToken {
    /// A token with one key of each kind; `name` is its directory in the home.
    #[must_use]
    pub fn new(home: &Home, name: &str, keys: &[Key]) -> Self {
        Self::before(home, name, Token::new(home, name, keys))
    }

    /// A token that there is; `name` as for [`Self::new`].
    #[must_use]
    pub fn before(home: &Home, name: &str, token: Token) -> Self {
        let rules = Rules::at(home.path(name).join("rules"));
        // Among the logs, so that a failing test shows it.
        let calls = CallLog::at(home.log_file(&format!("{name}-calls")));
        Self { token, rules, calls }
    }

    /// Replaces all rules.
    ///
    /// # Panics
    /// When a rule is not understood.
    #[track_caller]
    pub fn set(&self, rules: &str) {
        self.rules.set(rules).unwrap_or_else(|error| panic!("{rules:?}: {error}"));
    }

    /// Ends all faults.
    #[track_caller]
    pub fn clear(&self) {
        self.set("");
    }

    /// Begins to count calls anew.
    ///
    /// # Panics
    /// When the log cannot be removed.
    pub fn forget_calls(&self) {
        self.calls.clear().expect("remove the log of calls");
    }

    /// The faulty module, with the right PIN in a file.
    #[must_use]
    pub fn module(&self) -> Module {
        self.environment()
            .into_iter()
            .fold(Module::at(library()).pin_from(self.token.pin_file()), |module, (name, value)| {
                module.env(name, value)
            })
    }

    /// The same as a second module of the agent: the library at another path, by which modules are known.
    ///
    /// # Panics
    /// When it cannot be copied.
    #[must_use]
    pub fn second_module(&self, home: &Home) -> Module {
        let copy = home.path("second-module.so");
        std::fs::copy(library(), &copy).expect("copy the faulty module");
        self.module().moved_to(copy)
    }

    /// What the module needs in its environment.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut environment = self.token.environment();
        environment.push((BACKEND, self.token.library().into()));
        environment.push((RULES, self.rules.path().into()));
        environment.push((LOG, self.calls.path().into()));
        environment
    }

    /// The faulty module's path.
    #[must_use]
    pub fn module_path(&self) -> PathBuf {
        library()
    }

    /// The token itself.
    #[must_use]
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// The public half of a key; see [`Token::public`].
    #[must_use]
    pub fn public(&self, key: Key) -> &PublicKey {
        self.token.public(key)
    }
}

pub(crate) fn library() -> PathBuf {
    faulty_module::library().unwrap_or_else(|error| panic!("the faulty module: {error}"))
}
