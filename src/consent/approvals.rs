//! Yeses that hold for a while: for one key, one destination and one way to it, as long as that way exists.
//!
//! An approval stands for a confirmation and for nothing else: never for a touch or a PIN. It ends with its time, its count, the processes it was
//! given for, a suspend, a new policy, and whenever the agent says so.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{self, Suspends};
use crate::origin::classify::Origin;
use crate::origin::peer::ProcessId;
use crate::policy::Cache;

/// More than this are not kept; the oldest goes.
const MOST: usize = 256;

/// What is approved. Only a request that is the same in all of this is covered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The key's blob.
    pub key: Arc<[u8]>,
    /// The class of origin.
    pub origin: Origin,
    /// What is signed, by the word for it in the audit log.
    pub kind: &'static str,
    /// The user that is logged in as.
    pub user: Option<Vec<u8>>,
    /// The host key of the server that the signature is good for.
    pub destination: Option<Vec<u8>>,
    /// The namespace of a signature over a message.
    pub namespace: Option<Vec<u8>>,
    /// The program that asks, where it is the program that is approved.
    pub program: Option<PathBuf>,
    /// Whose requests.
    pub scope: Scope,
}

/// Whose requests an approval is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Of programs of the terminal session that this process leads.
    Terminal(ProcessId),
    /// Of whatever comes through the first hop, by its session identifier.
    Hop(Vec<u8>),
}

/// An approval as it is given.
#[derive(Debug, Clone)]
pub struct Grant {
    /// What is approved.
    pub subject: Subject,
    /// The process that the approval ends with: the leader of the terminal session, or the `ssh` that carries the hop's requests.
    pub holder: ProcessId,
    /// For how long and how often, the signature that was asked about included.
    pub cache: Cache,
    /// The policy that it was given under.
    pub generation: u64,
    /// [`Approvals::endings`] when it was asked for.
    pub since: u64,
    /// What people are told of it.
    pub shown: Shown,
}

/// An approval for people; the field names are those of `hardkey approvals --json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Shown {
    /// Its number, by which it is revoked.
    pub number: u64,
    /// The key's comment, safe to show.
    pub key: String,
    /// The key's fingerprint.
    pub fingerprint: String,
    /// What for.
    pub purpose: String,
    /// Whose requests.
    pub scope: String,
    /// How long it still holds.
    pub seconds_left: u64,
    /// How often it can still be used; any number of times when absent.
    pub uses_left: Option<u32>,
}

/// The approvals there are.
#[derive(Debug, Default)]
pub struct Approvals {
    state: Mutex<State>,
    suspends: Suspends,
}

#[derive(Debug, Default)]
struct State {
    list: Vec<Approval>,
    given: u64,
    endings: u64,
}

#[derive(Debug)]
struct Approval {
    grant: Grant,
    ends: Duration,
    uses_left: Option<u32>,
}

/// The time, and whether the machine slept since it was looked at last.
#[derive(Debug, Clone, Copy)]
struct Now {
    time: Duration,
    slept: bool,
}

impl Approvals {
    /// Keeps an approval, and replaces one for the same subject; its number. None when the policy in force is another by now, or approvals were
    /// ended while the question stood: what is answered late must not outlast that.
    pub fn give(&self, grant: Grant, generation: u64) -> Option<u64> {
        self.give_at(grant, generation, self.now())
    }

    /// How often all approvals were ended, or those of a key.
    pub fn endings(&self) -> u64 {
        self.state().endings
    }

    /// Whether the request is covered; each time it is counts as a use.
    pub fn covers(&self, subject: &Subject, generation: u64) -> bool {
        self.covers_at(subject, generation, self.now())
    }

    /// All of them, the oldest first.
    pub fn list(&self, generation: u64) -> Vec<Shown> {
        let now = self.now();
        let mut state = self.state();
        state.sweep(generation, now);
        state.list.iter().map(|approval| approval.shown(now)).collect()
    }

    /// Ends one, or all when no number is given; how many that were.
    pub fn revoke(&self, number: Option<u64>) -> usize {
        let mut state = self.state();
        state.endings += u64::from(number.is_none());
        state.end(|approval| number.is_none_or(|number| approval.grant.shown.number == number))
    }

    /// Ends those of a key, by its blob; how many that were.
    pub fn revoke_key(&self, key: &[u8]) -> usize {
        let mut state = self.state();
        state.endings += 1;
        state.end(|approval| *approval.grant.subject.key == *key)
    }

    fn give_at(&self, mut grant: Grant, generation: u64, now: Now) -> Option<u64> {
        let mut state = self.state();
        state.sweep(generation, now);
        if grant.generation != generation || grant.since != state.endings {
            return None;
        }
        state.list.retain(|approval| approval.grant.subject != grant.subject);
        if state.list.len() >= MOST {
            state.list.remove(0);
        }
        state.given += 1;
        grant.shown.number = state.given;
        // The signature that was asked about is the first.
        let uses_left = grant.cache.count.map(|count| count.saturating_sub(1));
        let (ends, number) = (now.time + grant.cache.time, state.given);
        state.list.push(Approval { grant, ends, uses_left });
        Some(number)
    }

    fn covers_at(&self, subject: &Subject, generation: u64, now: Now) -> bool {
        let mut state = self.state();
        state.sweep(generation, now);
        let Some(found) = state.list.iter_mut().find(|approval| approval.grant.subject == *subject) else {
            return false;
        };
        match &mut found.uses_left {
            Some(0) => return false,
            Some(left) => *left -= 1,
            None => {}
        }
        true
    }

    fn now(&self) -> Now {
        Now { time: clock::now(), slept: self.suspends.noticed() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn sweep(&mut self, generation: u64, now: Now) {
        self.list.retain(|approval| approval.holds(generation, now));
    }

    fn end(&mut self, is_meant: impl Fn(&Approval) -> bool) -> usize {
        let before = self.list.len();
        self.list.retain(|approval| !is_meant(approval));
        before - self.list.len()
    }
}

impl Approval {
    fn holds(&self, generation: u64, now: Now) -> bool {
        self.ends > now.time
            && self.uses_left != Some(0)
            && !now.slept
            && self.grant.generation == generation
            && self.grant.holder.lives()
    }

    fn shown(&self, now: Now) -> Shown {
        let seconds_left = self.ends.saturating_sub(now.time).as_secs();
        Shown { seconds_left, uses_left: self.uses_left, ..self.grant.shown.clone() }
    }
}

/// A time for people: `5 min`, `90 s`, `2 h`.
#[must_use]
pub fn spoken(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds >= 3600 && seconds.is_multiple_of(3600) => format!("{} h", seconds / 3600),
        seconds if seconds >= 60 && seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::origin::proc::ProcDir;

    const START: Now = Now { time: Duration::from_secs(1000), slept: false };

    fn after(seconds: u64) -> Now {
        Now { time: START.time + Duration::from_secs(seconds), ..START }
    }

    fn process(pid: u32) -> ProcessId {
        let pid = i32::try_from(pid).expect("a process id");
        let start = ProcDir::open(pid).and_then(|directory| directory.stat()).expect("its state").start;
        ProcessId { pid, start }
    }

    fn ourselves() -> ProcessId {
        process(std::process::id())
    }

    fn subject() -> Subject {
        Subject {
            key: Arc::from(&b"key"[..]),
            origin: Origin::ForwardedVerified,
            kind: "bound-login",
            user: Some(b"git".to_vec()),
            destination: Some(b"host key".to_vec()),
            namespace: None,
            program: None,
            scope: Scope::Hop(b"session".to_vec()),
        }
    }

    fn grant(count: Option<u32>) -> Grant {
        Grant {
            subject: subject(),
            holder: ourselves(),
            cache: Cache { time: Duration::from_secs(300), count },
            generation: 7,
            since: 0,
            shown: Shown::default(),
        }
    }

    #[test]
    fn the_same_request_is_covered_and_no_other() {
        let approvals = Approvals::default();
        approvals.give_at(grant(None), 7, START);
        assert!(approvals.covers_at(&subject(), 7, after(1)) && approvals.covers_at(&subject(), 7, after(2)));
        let others = [
            Subject { key: Arc::from(&b"other"[..]), ..subject() },
            Subject { origin: Origin::ForwardedKnownHop, ..subject() },
            Subject { kind: "login", ..subject() },
            Subject { user: Some(b"root".to_vec()), ..subject() },
            Subject { user: None, ..subject() },
            Subject { destination: Some(b"another host".to_vec()), ..subject() },
            Subject { destination: None, ..subject() },
            Subject { namespace: Some(b"git".to_vec()), ..subject() },
            Subject { program: Some("/usr/bin/ssh".into()), ..subject() },
            Subject { scope: Scope::Hop(b"another session".to_vec()), ..subject() },
            Subject { scope: Scope::Terminal(ourselves()), ..subject() },
        ];
        for other in others {
            assert!(!approvals.covers_at(&other, 7, after(3)), "{other:?}");
        }
    }

    #[test]
    fn it_ends_with_its_time_its_count_a_suspend_and_a_new_policy() {
        let covered = |count, generation, now| {
            let approvals = Approvals::default();
            approvals.give_at(grant(count), 7, START);
            approvals.covers_at(&subject(), generation, now)
        };
        assert!(covered(None, 7, after(299)));
        assert!(!covered(None, 7, after(300)), "its time is over");
        assert!(!covered(Some(1), 7, after(1)), "the one signature was the one asked about");
        assert!(!covered(None, 8, after(1)), "another policy");
        let woken = Now { slept: true, ..after(2) };
        assert!(!covered(None, 7, woken), "the machine slept");
        let approvals = Approvals::default();
        approvals.give_at(grant(Some(3)), 7, START);
        let uses = [1, 2, 3].map(|at| approvals.covers_at(&subject(), 7, after(at)));
        assert_eq!(uses, [true, true, false]);
    }

    #[test]
    fn it_ends_with_the_process_it_was_given_for() {
        let approvals = Approvals::default();
        let mut child = Command::new("sleep").arg("600").spawn().expect("sleep");
        approvals.give_at(Grant { holder: process(child.id()), ..grant(None) }, 7, START);
        assert!(approvals.covers_at(&subject(), 7, after(1)));
        child.kill().expect("kill");
        child.wait().expect("wait");
        assert!(!approvals.covers_at(&subject(), 7, after(2)));
    }

    #[test]
    fn approvals_are_listed_and_revoked_by_number_or_all() {
        let approvals = Approvals::default();
        let users: Vec<u64> = [b"a", b"b", b"c"]
            .iter()
            .map(|user| {
                let subject = Subject { user: Some(user.to_vec()), ..subject() };
                approvals.give(Grant { subject, ..grant(Some(10)) }, 7).expect("kept")
            })
            .collect();
        assert_eq!(users, [1, 2, 3]);
        assert_eq!(approvals.list(7).iter().map(|shown| shown.uses_left).collect::<Vec<_>>(), [Some(9); 3]);
        assert_eq!((approvals.revoke(Some(2)), approvals.revoke(Some(2))), (1, 0));
        assert_eq!(approvals.list(7).iter().map(|shown| shown.number).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(approvals.revoke(None), 2);
        let since = approvals.endings();
        for _ in 0..2 {
            approvals.give(Grant { since, ..grant(None) }, 7);
        }
        assert_eq!(approvals.list(7).len(), 1, "the same again replaces the earlier one");
    }

    #[test]
    fn a_question_that_stood_when_approvals_were_ended_gives_none() {
        type End = fn(&Approvals) -> usize;
        let ends: [(End, bool); 4] = [
            (|approvals| approvals.revoke(None), false),
            (|approvals| approvals.revoke_key(b"key"), false),
            (|approvals| approvals.revoke(Some(77)), true),
            (|_| 0, true),
        ];
        for (number, (end, is_kept)) in ends.into_iter().enumerate() {
            let approvals = Approvals::default();
            let late = Grant { since: approvals.endings(), ..grant(None) };
            end(&approvals);
            assert_eq!(approvals.give(late.clone(), 7).is_some(), is_kept, "{number}");
            assert_eq!(approvals.give(late, 8), None, "the policy is another by now");
        }
    }

    #[test]
    fn what_holds_under_the_present_policy_is_not_ended_by_a_late_answer_under_the_last() {
        let approvals = Approvals::default();
        approvals.give(Grant { generation: 8, ..grant(None) }, 8);
        assert_eq!(approvals.give(grant(None), 8), None);
        assert_eq!(approvals.list(8).len(), 1);
    }

    #[test]
    fn those_of_a_key_end_with_it() {
        let approvals = Approvals::default();
        let other = Subject { key: Arc::from(&b"other"[..]), ..subject() };
        approvals.give(grant(None), 7);
        approvals.give(Grant { subject: other, ..grant(None) }, 7);
        assert_eq!((approvals.revoke_key(b"key"), approvals.list(7).len()), (1, 1));
    }

    #[test]
    fn times_are_spoken_in_the_largest_whole_unit() {
        let of = |seconds| spoken(Duration::from_secs(seconds));
        assert_eq!([of(300), of(90), of(7200), of(60)], ["5 min", "90 s", "2 h", "1 min"]);
    }
}
