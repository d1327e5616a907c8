//! Many clients at once, each asking again as soon as it is answered.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// How many different messages a client has; enough that no answer can be the last one's.
pub(crate) const MESSAGES: usize = 8;

/// One client: asks for the message of that number and appends the answer.
pub(crate) trait Client: Send {
    /// # Errors
    ///
    /// The connection broke or the token refused; the turn is void.
    fn ask(&mut self, message: usize, answer: &mut Vec<u8>) -> Result<()>;
}

/// What one turn has given.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// From the common start to the last answer.
    pub(crate) elapsed: Duration,
    pub(crate) answers: Vec<Answer>,
}

/// One answer and how long it took.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) latency: Duration,
    pub(crate) message: usize,
    /// Shared by answers to the same message that are the same.
    pub(crate) bytes: Arc<[u8]>,
}

/// Lets all clients ask for `time`; what they were asking then is still waited for and counted.
///
/// # Errors
///
/// The first client's that failed.
pub(crate) fn run<C: Client>(clients: Vec<C>, time: Duration) -> Result<Turn> {
    let barrier = Barrier::new(clients.len() + 1);
    thread::scope(|scope| {
        let clients: Vec<_> = clients.into_iter().map(|client| scope.spawn(|| one(client, time, &barrier))).collect();
        barrier.wait();
        let began = Instant::now();
        let mut turn = Turn::default();
        for client in clients {
            turn.answers.extend(client.join().map_err(|_| "a client panicked")??);
            turn.elapsed = began.elapsed();
        }
        Ok(turn)
    })
}

fn one(mut client: impl Client, time: Duration, barrier: &Barrier) -> Result<Vec<Answer>> {
    // All answers in one buffer, and none that is the same as the last one to that message: the clients must not be slowed down by making room
    // for each.
    let (mut bytes, mut calls) = (Vec::with_capacity(1 << 22), Vec::with_capacity(1 << 15));
    let mut last: [Range<usize>; MESSAGES] = std::array::from_fn(|_| 0..0);
    barrier.wait();
    let began = Instant::now();
    let mut now = began;
    while now - began < time {
        let message = calls.len() % MESSAGES;
        let start = bytes.len();
        client.ask(message, &mut bytes)?;
        let answered = Instant::now();
        match bytes[start..] == bytes[last[message].clone()] {
            true => bytes.truncate(start),
            false => last[message] = start..bytes.len(),
        }
        calls.push((answered - now, last[message].clone()));
        now = answered;
    }
    let mut shared = HashMap::new();
    let answer = |(number, (latency, range)): (usize, (Duration, Range<usize>))| {
        let kept = shared.entry(range.clone()).or_insert_with(|| Arc::from(&bytes[range]));
        Answer { latency, message: number % MESSAGES, bytes: Arc::clone(kept) }
    };
    Ok(calls.into_iter().enumerate().map(answer).collect())
}

impl Turn {
    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.answers.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that this share (0..1) of the answers stays under.
    pub(crate) fn latency(&self, share: f64) -> Duration {
        let mut latencies: Vec<_> = self.answers.iter().map(|answer| answer.latency).collect();
        latencies.sort_unstable();
        let last = latencies.len().saturating_sub(1);
        latencies.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;

    impl Client for Echo {
        fn ask(&mut self, message: usize, answer: &mut Vec<u8>) -> Result<()> {
            answer.push(u8::try_from(message)?);
            Ok(())
        }
    }

    #[test]
    fn each_answer_belongs_to_its_message() {
        let turn = run(vec![Echo, Echo], Duration::from_millis(5)).unwrap();
        assert!(turn.answers.len() > 2 * MESSAGES);
        assert!(turn.answers.iter().all(|answer| *answer.bytes == [answer.message as u8]));
        assert!(turn.rate() > 0.0);
    }

    #[test]
    fn latencies_are_taken_in_order() {
        let answer = |ms| Answer { latency: Duration::from_millis(ms), message: 0, bytes: Arc::default() };
        let turn = Turn { elapsed: Duration::from_secs(1), answers: (1..=101).rev().map(answer).collect() };
        assert_eq!(turn.latency(0.5), Duration::from_millis(51));
        assert_eq!(turn.latency(0.99), Duration::from_millis(100));
    }
}
