//! One operation on a device: how long it may last, who is told of the touch, and what withdraws it.
//!
//! `ctap-hid-fido2` opens, writes and reads on the thread that called it, and reports errors as text. What its calls here need to know, and
//! what they find out, is kept beside it, in the thread.

use std::cell::RefCell;
use std::fmt;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

thread_local! {
    static CURRENT: RefCell<Option<Operation>> = const { RefCell::new(None) };
}

/// How often a device may begin to wait for a touch in one operation. Each time a person is told, by a program that is started for it; none
/// that works needs more than two or three.
const MOST_WAITS: u8 = 8;

/// Why an operation failed, below the commands themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The device answered with this status (CTAP 2.1 section 8.2).
    Status(u8),
    /// The device refused the message (CTAP 2.1 section 11.2.9.1.6).
    Refused(u8),
    /// Another application kept the device busy.
    Busy,
    /// Another program holds the device's lock.
    Locked,
    /// The device was pulled out, or is not there.
    Gone,
    /// The device said nothing for too long.
    Silent,
    /// The device's answer is none.
    Garbled,
    /// The operation was withdrawn.
    Cancelled,
    /// The time was over.
    TimedOut,
    /// The device's file may not be opened by this user.
    NotPermitted,
    /// The kernel said something else.
    Kernel(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(formatter, "the device answered status {status:#04x}"),
            Self::Refused(code) => write!(formatter, "the device refused the message with error {code:#04x}"),
            Self::Busy => write!(formatter, "another application keeps the device busy"),
            Self::Locked => write!(formatter, "another program holds the device"),
            Self::Gone => write!(formatter, "the device was pulled out"),
            Self::Silent => write!(formatter, "the device does not answer"),
            Self::Garbled => write!(formatter, "the device's answer makes no sense"),
            Self::Cancelled => write!(formatter, "the operation was withdrawn"),
            Self::TimedOut => write!(formatter, "the time was over"),
            Self::NotPermitted => write!(formatter, "no permission to use the device"),
            Self::Kernel(error) => write!(formatter, "{error}"),
        }
    }
}

impl std::error::Error for Fault {}

/// The frame of everything that is done on a device in one go.
pub struct Operation {
    end: Instant,
    /// Readable or closed: the operation is withdrawn.
    pub(crate) interrupt: Option<OwnedFd>,
    on_touch: Box<dyn FnMut(bool)>,
    waits_for_touch: bool,
    /// How often it began to wait.
    waits: u8,
    fault: Option<Fault>,
}

impl Operation {
    /// An operation that may last this long. It is withdrawn when `interrupt` has something to read or is closed at the other end;
    /// `on_touch` is told whenever the device begins to wait for a touch, or no longer waits.
    pub fn new(limit: Duration, interrupt: Option<OwnedFd>, on_touch: impl FnMut(bool) + 'static) -> Self {
        let on_touch = Box::new(on_touch);
        Self { end: Instant::now() + limit, interrupt, on_touch, waits_for_touch: false, waits: 0, fault: None }
    }

    /// Does the work; what is opened meanwhile in this thread belongs to the operation.
    pub fn run<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.set(Some(self));
        let done = work();
        note_touch(false);
        CURRENT.set(None);
        done
    }
}

/// The last fault in the operation of this thread, unless the device served again since: what a failure of the library means.
pub fn last_fault() -> Option<Fault> {
    with(|operation| operation.fault.clone()).flatten()
}

/// The time that is left; some, where nobody set a limit.
pub(crate) fn time_left() -> Duration {
    with(|operation| operation.end.saturating_duration_since(Instant::now())).unwrap_or(Duration::from_secs(30))
}

/// Whether the device said last that it waits for a touch.
pub(crate) fn waits_for_touch() -> bool {
    with(|operation| operation.waits_for_touch).unwrap_or_default()
}

/// Looks at the operation of this thread; `None` when there is none.
pub(crate) fn with<T>(look: impl FnOnce(&mut Operation) -> T) -> Option<T> {
    CURRENT.with_borrow_mut(|current| current.as_mut().map(look))
}

/// Keeps what failed, and hands it back.
pub(crate) fn failed(fault: Fault) -> Fault {
    with(|operation| operation.fault = Some(fault.clone()));
    fault
}

/// Forgets what failed before: the device serves again.
pub(crate) fn succeeded() {
    with(|operation| operation.fault = None);
}

/// Tells whether the device waits for a touch, where that changed.
pub(crate) fn note_touch(waits: bool) {
    with(|operation| {
        if operation.waits_for_touch != waits && (!waits || operation.waits < MOST_WAITS) {
            operation.waits_for_touch = waits;
            operation.waits += u8::from(waits);
            (operation.on_touch)(waits);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn a_device_cannot_open_notices_for_ever() {
        let told = Rc::new(RefCell::new(Vec::new()));
        let listener = Rc::clone(&told);
        Operation::new(Duration::from_secs(1), None, move |waits| listener.borrow_mut().push(waits)).run(|| {
            for _ in 0..100 {
                note_touch(true);
                note_touch(true);
                note_touch(false);
            }
        });
        let told = told.borrow();
        assert_eq!(told.len(), 2 * usize::from(MOST_WAITS));
        assert_eq!(told.last(), Some(&false));
    }
}
