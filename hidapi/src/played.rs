//! A device that a test plays, in the thread that uses it. Time does not pass for it: who waits for a device that has nothing to say has waited long enough.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::Report;

/// What the device says to each report that is written.
type Part = Box<dyn FnMut(&Report) -> Vec<Report>>;

thread_local! {
    static PLAYED: RefCell<Option<(Part, VecDeque<Report>)>> = const { RefCell::new(None) };
}

/// Does the work; whatever device is opened meanwhile in this thread is the one that `part` plays.
pub fn play<T>(part: impl FnMut(&Report) -> Vec<Report> + 'static, work: impl FnOnce() -> T) -> T {
    PLAYED.set(Some((Box::new(part), VecDeque::new())));
    let done = work();
    PLAYED.set(None);
    done
}

pub(crate) fn is_on() -> bool {
    PLAYED.with_borrow(Option::is_some)
}

pub(crate) fn hear(report: &Report) {
    PLAYED.with_borrow_mut(|played| {
        if let Some((part, said)) = played {
            said.extend(part(report));
        }
    });
}

pub(crate) fn has_something_to_say() -> bool {
    PLAYED.with_borrow(|played| played.as_ref().is_some_and(|(_, said)| !said.is_empty()))
}

pub(crate) fn say() -> Option<Report> {
    PLAYED.with_borrow_mut(|played| played.as_mut()?.1.pop_front())
}
