//! What shall go wrong: the contents of a rules file, understood.

mod parse;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use cryptoki_sys::{CK_MECHANISM_TYPE, CK_RV, CK_ULONG};

pub use parse::BadRule;

/// All rules of one file.
#[derive(Debug, Default)]
pub(crate) struct RuleSet {
    /// Faults of functions, in the file's order.
    pub(crate) functions: Vec<FunctionRule>,
    pub(crate) token: TokenRules,
    pub(crate) objects: ObjectRules,
    /// Mechanisms that the token shall not have.
    pub(crate) refused: Vec<CK_MECHANISM_TYPE>,
    /// Bytes that every call leaks.
    pub(crate) leak: usize,
}

/// A fault, the function that has it and the calls that meet it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FunctionRule {
    /// The rule's own text: its identity among the rules of one version of the file.
    pub(crate) text: String,
    /// `None` for every function.
    pub(crate) function: Option<&'static str>,
    pub(crate) fault: Fault,
    /// Calls to be spared first.
    pub(crate) after: u64,
    /// Faults until the rule is spent.
    pub(crate) times: Option<u64>,
    /// Share of the remaining calls to meet the fault.
    pub(crate) probability: f64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    Delay(Duration),
    Hang,
    Hold,
    Crash,
    Abort,
    Exit(i32),
    Return(CK_RV),
    Spoil(Spoil),
    Tell { socket: PathBuf, octets: Vec<u8>, from: Teller },
    Run(String),
    BreakOut { port: u16, victim: i32 },
    Set { name: String, value: String },
    LeaveChild,
}

/// Which process speaks to somebody's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Teller {
    /// The one that has the module loaded.
    Itself,
    /// A child of it.
    Forked,
    /// A grandchild whose parent has gone, in a session of its own.
    Orphaned,
}

/// A fault in what a successful call hands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoil {
    /// The right length, a wrong value.
    Value,
    /// A length that differs by so much from the one written.
    LengthBy(i64),
    /// This length, whatever was written.
    LengthIs(CK_ULONG),
}

#[derive(Debug, Default)]
pub(crate) struct TokenRules {
    pub(crate) removed: bool,
    pub(crate) session_lost: bool,
    pub(crate) logged_out: bool,
    pub(crate) stale: bool,
    pub(crate) pin_count: Option<PinCount>,
    pub(crate) pad: Option<PinPad>,
    pub(crate) serial: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) removable: bool,
    pub(crate) write_protected: bool,
    pub(crate) hardware: bool,
    pub(crate) no_pin: bool,
}

/// How many wrong PINs a token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PinCount {
    pub(crate) limit: u32,
    /// The token's flags tell nothing of it.
    pub(crate) silent: bool,
}

/// A PIN pad and what its user will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PinPad {
    pub(crate) pin: Pin,
    /// How long the user takes.
    pub(crate) delay: Duration,
}

/// A PIN that no debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pin(pub(crate) String);

#[derive(Debug, Default)]
pub(crate) struct ObjectRules {
    pub(crate) no_public: bool,
    pub(crate) no_certificate: bool,
    pub(crate) no_sign: bool,
}

impl FunctionRule {
    /// Whether the rule speaks of `function`.
    pub(crate) fn covers(&self, function: &str) -> bool {
        self.function.is_none_or(|name| name == function)
    }

    /// Whether calls have to be counted to know which of them meet the fault.
    pub(crate) fn counts(&self) -> bool {
        self.after > 0 || self.times.is_some()
    }
}

impl Spoil {
    /// The length to claim instead of `written`.
    pub(crate) fn claimed(self, written: CK_ULONG) -> CK_ULONG {
        match self {
            Self::Value => written,
            Self::LengthBy(difference) => written.saturating_add_signed(difference),
            Self::LengthIs(length) => length,
        }
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(…)")
    }
}
