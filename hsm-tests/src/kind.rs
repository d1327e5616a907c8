//! What tests of every kind of token have in common.

use crate::module::Module;
use crate::processes::{Pid, signal};
use rustix::process::Signal;

/// A token of the test's own, of some kind, that tests treat like those of all others. It is there at first.
pub trait TokenKind {
    /// Its module, without a word about the PIN.
    fn module(&self) -> Module;

    /// The right PIN.
    fn pin(&self) -> &'static str;

    /// Lets no signature come to its end, until the token is removed.
    fn hold(&mut self);

    /// What the agent says of a signature that is pending when the token is removed; nothing where it may come to its end all the same.
    fn says_of_a_pending_signature(&self) -> Option<&'static str>;

    /// Takes the token away, as far as that can happen to one of its kind.
    fn remove(&mut self);

    /// Brings it back.
    fn put_back(&mut self);

    /// How many wrong PINs were presented to the token since it was made: by its own count where it has one, else by the calls of its
    /// module.
    fn pins_refused(&self) -> usize;
}

/// Processes that stand still, to let something take for ever.
#[derive(Default)]
pub(crate) struct Stopped(Vec<Pid>);

impl Stopped {
    pub(crate) fn stop(&mut self, pids: impl IntoIterator<Item = Pid>) {
        for pid in pids {
            signal(pid, Signal::STOP);
            self.0.push(pid);
        }
    }

    pub(crate) fn go_on(&mut self) {
        for pid in self.0.drain(..) {
            signal(pid, Signal::CONT);
        }
    }
}
