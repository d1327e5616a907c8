//! What goes wrong on demand.

use std::sync::{Mutex, PoisonError};

/// A fault of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers with this status instead of doing it.
    Status(u8),
    /// Answers with these octets instead of doing it.
    Answer(Vec<u8>),
    /// Does it, and leaves out all but so many octets of the answer.
    Cut(usize),
    /// Does it, and appends so many octets of rubbish to the answer.
    Pad(usize),
    /// Does it, and announces so many octets, whatever there are.
    Announce(usize),
    /// Does it, and leaves out the second packet of the answer.
    Gap,
    /// Never answers and sends nothing.
    Silence,
    /// Never answers, and says all the time that it is working.
    Stall,
    /// Loses its power in the middle: the plug is pulled as soon as the command is there.
    Unplug,
}

/// Faults by the commands that they are for.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Mutex<Vec<Rule>>,
}

#[derive(Clone, Debug)]
struct Rule {
    command: String,
    fault: Fault,
    times: Option<u32>,
}

impl Faults {
    /// From now on `command` fails, `times` times or for ever. A command is named as in the log; without what the log puts into brackets or behind a point all kinds
    /// of it are meant, with a `!` behind it no kinds, and `any` is every command. The first rule that fits counts.
    pub fn add(&self, command: &str, fault: Fault, times: Option<u32>) {
        self.lock().push(Rule { command: command.into(), fault, times });
    }

    /// No faults any more.
    pub fn clear(&self) {
        self.lock().clear();
    }

    pub(crate) fn of(&self, name: &str) -> Option<Fault> {
        let mut rules = self.lock();
        let place = rules.iter().position(|rule| rule.command == "any" || covers(&rule.command, name))?;
        let rule = &mut rules[place];
        let fault = rule.fault.clone();
        if let Some(times) = &mut rule.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                rules.remove(place);
            }
        }
        Some(fault)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn covers(command: &str, name: &str) -> bool {
    if let Some(exact) = command.strip_suffix('!') {
        return name == exact;
    }
    name.strip_prefix(command).is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_for_its_command_and_the_kinds_of_it() {
        let faults = Faults::default();
        faults.add("getAssertion", Fault::Status(0x2e), None);
        assert_eq!(faults.of("getAssertion[silent]"), Some(Fault::Status(0x2e)));
        assert_eq!(faults.of("getAssertion"), Some(Fault::Status(0x2e)));
        assert_eq!(faults.of("getInfo"), None);
        faults.add("clientPIN!", Fault::Gap, None);
        assert_eq!(faults.of("clientPIN.getToken"), None);
        assert_eq!(faults.of("clientPIN"), Some(Fault::Gap));
    }

    #[test]
    fn a_rule_is_used_up() {
        let faults = Faults::default();
        faults.add("clientPIN.getRetries", Fault::Silence, Some(1));
        assert_eq!(faults.of("clientPIN.getToken"), None);
        assert_eq!(faults.of("clientPIN.getRetries"), Some(Fault::Silence));
        assert_eq!(faults.of("clientPIN.getRetries"), None);
    }
}
