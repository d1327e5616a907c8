//! A PKCS#11 2.40 module that stands in front of a real one and fails on demand.
//!
//! It owns the faults of tokens: whatever a card, its reader or its vendor's module may do wrong, a test can ask for by
//! writing a line into a file. Everything that no rule speaks of is passed on to the module behind it, so the keys,
//! PINs and signatures are real. It never talks to a token itself.
//!
//! Two halves live here: the module, built as `libfaulty_module.so`, and the two handles a test steers it with:
//! [`Rules`] writes what shall go wrong, [`CallLog`] tells what the program under test has called.
//!
//! # Environment
//!
//! | variable | meaning |
//! |---|---|
//! | `FAULTY_BACKEND` | the real module; default `/usr/lib/softhsm/libsofthsm2.so` |
//! | `FAULTY_RULES` | the rules file, read again at every call; unset or absent: no faults |
//! | `FAULTY_LOG` | the call log, appended to by every process that has the module loaded; unset: no log |
//!
//! # Rules
//!
//! One rule a line; blank lines and lines that begin with `#` are ignored. A file that cannot be understood makes every
//! call answer `CKR_GENERAL_ERROR` and says why on standard error: a mistyped fault must not look like a passed test.
//!
//! **Faults of one function**: `C_Name FAULT [after N] [times N] [probability P]`, with `*` for every function.
//!
//! | fault | what happens |
//! |---|---|
//! | `delay 300ms` | the call waits first (`us`, `ms`, `s`) |
//! | `hang` | the call never returns |
//! | `hold` | the call waits until this line is withdrawn from the rules file |
//! | `crash` | SIGSEGV |
//! | `abort` | SIGABRT |
//! | `exit [N]` | the process exits, as modules that call `exit()` make it |
//! | `return CKR_X` | the answer, without asking the real module; `0x80000001` for a vendor's own |
//! | `tell SOCKET OCTETS [forked\|orphaned]` | the call first sends octets (hexadecimal) to a Unix socket and waits for a whole frame in answer, which the log has as `told:OCTETS`; in the process itself, a child of it, or one whose parent has gone and that leads a session of its own |
//! | `run COMMAND LINE` | the call first has a shell run the rest of the line; the log has what it printed, as `ran:OCTETS` |
//! | `break-out PORT PID` | the call first tries what a sandbox is to forbid: to run a program, to connect to this port of the machine, to signal this process, and to read memory by its process id (its own, which nothing else forbids); the log has what succeeded, as `broke-out:runs,connects,signals,reads` |
//! | `leave-child` | the call first leaves a copy of its process behind that stays for ever; the log has its process id, as `left:PID` |
//! | `set NAME VALUE` | the call first sets a variable in the environment of its process |
//! | `garbage` | after success, the lowest bit of the last byte written is flipped |
//! | `length -1`, `+4`, `0`, `unavailable` | after success, another length is claimed: less, more, absolute, or `CK_UNAVAILABLE_INFORMATION` |
//!
//! `garbage` and `length` apply to `C_Sign`, `C_SignFinal` and `C_GetAttributeValue`, when a value was written and not
//! when only its length was asked for. Several rules for one function all apply, in the file's order, up to the first
//! that ends the call. `after 3` spares the first three calls, `times 2` ends after two faults, `probability 0.1` hits
//! one call in ten. Calls are counted over all processes that share the rules file, and anew whenever it is written.
//!
//! **The token**, in all slots:
//!
//! | rule | what happens |
//! |---|---|
//! | `token removed` | slots without a token, sessions gone: `CKR_TOKEN_NOT_PRESENT`, `CKR_SESSION_HANDLE_INVALID` (as OpenSC answers). Sessions stay gone when the rule is withdrawn |
//! | `token session-lost` | once, in each process: sessions opened so far are gone and with them the login; the token is there |
//! | `token logged-out` | once, in each process: the login is gone, sessions stay: `CKR_USER_NOT_LOGGED_IN` (a card reset by another program) |
//! | `token stale` | `CKR_DEVICE_ERROR` from everything until `C_Finalize` and `C_Initialize` (as p11-kit-client answers) |
//! | `token pin-count N [silent]` | wrong user PINs are counted over all processes, for each token by itself; the N-th answers `CKR_PIN_LOCKED`, as does every later one. The token's flags tell, unless `silent` |
//! | `token protected-path PIN [delay 2s]` | a PIN pad: `C_Login` without a PIN waits for its user, who enters PIN |
//! | `token serial X`, `token label X` | another token in the same slot, as far as `C_GetTokenInfo` tells |
//! | `token removable`, `token hardware` | `CKF_REMOVABLE_DEVICE`, `CKF_HW_SLOT` |
//! | `token no-pin` | not `CKF_USER_PIN_INITIALIZED`, as modules have it that do not know of that flag |
//! | `token write-protected` | `CKF_WRITE_PROTECTED`; what is written is written all the same |
//!
//! The failures that `pin-count` counts outlive changes of the rules, as they do in a card; a right PIN or `C_InitPIN`
//! clears them. "Once" means once for each time the file was written.
//!
//! **Objects, mechanisms, memory**:
//!
//! | rule | what happens |
//! |---|---|
//! | `object no-public`, `object no-certificate` | searches find none |
//! | `object no-sign` | private keys have `CKA_SIGN` false and `C_SignInit` refuses them |
//! | `mechanism refuse CKM_X` | not listed, `CKR_MECHANISM_INVALID` when used; a number for one without a name here |
//! | `memory grow 1MB` | every call leaks that much (`kB`, `MB`: powers of ten) |
//!
//! # Example
//!
//! ```no_run
//! # use std::process::Command;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use faulty_module::{CallLog, Rules};
//!
//! let rules = Rules::at("/tmp/test/rules");
//! let log = CallLog::at("/tmp/test/calls");
//! rules.set("C_Sign hang times 1")?;
//! Command::new("some-program").env("FAULTY_RULES", rules.path()).env("FAULTY_LOG", log.path()).spawn()?;
//! // ...
//! assert_eq!(log.count("C_Sign"), 2);
//! rules.clear()?;
//! # Ok(())
//! # }
//! ```

mod backend;
mod call;
mod control;
mod ledger;
mod log;
mod mischief;
mod module;
mod names;
mod rules;
mod token_state;
mod watch;

pub use control::{Rules, RulesError, library};
pub use log::{CallLog, Entry, Outcome, hexadecimal, octets};
pub use rules::BadRule;

/// The variable that names the real module.
pub const BACKEND: &str = "FAULTY_BACKEND";
/// The variable that names the rules file.
pub const RULES: &str = "FAULTY_RULES";
/// The variable that names the call log.
pub const LOG: &str = "FAULTY_LOG";
