//! The board: questions that wait and notices that stand, for whoever runs `hardkey prompts` to see and to answer.
//!
//! A question stands here as long as somebody waits for its answer, whatever other places show it at the same time; the first answer counts. Viewers
//! are shown the oldest one.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use super::dialog::{Allowed, Source};
use super::front::Kind;
use super::view::{Reply, View};
use super::{Answer, Refusal};
use crate::backend::pin::MAX_PIN;
use crate::clock;
use crate::protocol::prompts;

/// What stands on the board. Clones are handles to the same board.
#[derive(Clone, Default)]
pub struct Board(Arc<watch::Sender<State>>);

struct State {
    /// Counts the changes of what viewers see, from 1.
    version: u64,
    /// How many things have been put up.
    count: u64,
    viewers: usize,
    questions: Vec<Posted>,
    notices: Vec<(u64, String)>,
}

struct Posted {
    question: Question,
    asked: Duration,
    source: Option<Source>,
    /// None when somebody has answered.
    answer: Option<oneshot::Sender<Result<Answer, Refusal>>>,
}

/// A question as viewers see it; the field names are those of `hardkey prompts --json`. All texts are safe to show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Its number, by which it is answered.
    pub number: u64,
    /// What is asked for.
    pub kind: Kind,
    /// The whole text.
    pub text: String,
    /// What a longer yes is called, where one may be given.
    pub offer: Option<String>,
    /// Whether where it comes from can be silenced.
    pub can_mute: bool,
    /// How long it has waited.
    pub seconds: u64,
}

/// What there is to show on a viewer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Showing {
    /// Tells it from what was to be shown before.
    pub version: u64,
    /// The question to be answered next.
    pub question: Option<Question>,
    /// How many more wait.
    pub more: usize,
    /// What a token waits for, such as a touch.
    pub notices: Vec<String>,
}

/// A question that stands on the board until it is dropped.
pub(super) struct Posting {
    board: Board,
    number: u64,
    answer: oneshot::Receiver<Result<Answer, Refusal>>,
}

/// A notice that stands on the board until it is dropped.
pub(super) struct Noticed(Board, u64);

/// Somebody who looks at the board, until it is dropped.
pub struct Viewer(Board);

impl Board {
    /// Takes in a viewer. While there is one, somebody can be asked.
    #[must_use]
    pub fn viewer(&self) -> Viewer {
        self.0.send_modify(|state| state.viewers += 1);
        Viewer(self.clone())
    }

    pub(super) fn has_viewers(&self) -> bool {
        self.0.borrow().viewers > 0
    }

    /// Resolves when nobody looks at the board.
    pub(super) async fn deserted(&self) {
        // The sender is held here, so there is an end to the wait.
        let _ = self.0.subscribe().wait_for(|state| state.viewers == 0).await;
    }

    /// What there is to show, as soon as it is another version than the one that was seen.
    pub async fn showing(&self, seen: u64) -> Showing {
        match self.0.subscribe().wait_for(|state| state.version != seen).await {
            Ok(state) => state.showing(),
            Err(_) => Showing::default(),
        }
    }

    /// All questions that wait for an answer, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Question> {
        self.0.borrow().open().map(Posted::told).collect()
    }

    /// Answers a question; whether it was still open. An answer that does not fit the question is a no.
    #[must_use]
    pub fn answer(&self, number: u64, answer: prompts::Answer) -> bool {
        let mut taken = None;
        // Viewers are not told yet: what follows from this answer may concern the questions behind it.
        self.0.send_if_modified(|state| {
            let found = state.questions.iter_mut().find(|posted| posted.question.number == number);
            taken = found.and_then(|posted| Some((posted.answer.take()?, posted.question.means(answer))));
            false
        });
        taken.is_some_and(|(waiting, answer)| waiting.send(Ok(answer)).is_ok())
    }

    /// Puts up a question for a yes or no.
    pub(super) fn ask(&self, view: &View, source: Option<&Source>) -> Posting {
        let View { text, offer, can_mute } = view.clone();
        self.post(Question { number: 0, kind: Kind::Confirm, text, offer, can_mute, seconds: 0 }, source)
    }

    /// Puts up a question for a PIN.
    pub(super) fn ask_pin(&self, text: &str) -> Posting {
        let text = text.to_owned();
        self.post(Question { number: 0, kind: Kind::Secret, text, offer: None, can_mute: false, seconds: 0 }, None)
    }

    fn post(&self, question: Question, source: Option<&Source>) -> Posting {
        let (sender, answer) = oneshot::channel();
        let mut number = 0;
        self.change(|state| {
            state.count += 1;
            number = state.count;
            let question = Question { number, ..question };
            let source = source.cloned();
            state.questions.push(Posted { question, asked: clock::now(), source, answer: Some(sender) });
        });
        Posting { board: self.clone(), number, answer }
    }

    /// Puts up a notice.
    pub(super) fn notice(&self, text: &str) -> Noticed {
        let mut number = 0;
        self.change(|state| {
            state.count += 1;
            number = state.count;
            state.notices.push((number, text.to_owned()));
        });
        Noticed(self.clone(), number)
    }

    /// Refuses the questions of sources that nobody wants to hear of any more.
    pub(super) fn silence(&self, refusal: impl Fn(&Source) -> Option<Refusal>) {
        self.change(|state| {
            for posted in &mut state.questions {
                if let Some(refusal) = posted.source.as_ref().and_then(&refusal)
                    && let Some(waiting) = posted.answer.take()
                {
                    // Who does not wait any more needs no answer.
                    let _ = waiting.send(Err(refusal));
                }
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.0.send_modify(|state| {
            change(state);
            state.version += 1;
        });
    }
}

impl Posting {
    /// What a viewer answers. The time begins when viewers can see the question.
    pub(super) async fn answer(&mut self, time: Duration) -> Result<Answer, Refusal> {
        let mut board = self.board.0.subscribe();
        let number = self.number;
        let over = async {
            let is_seen =
                |state: &State| state.viewers > 0 && state.shown().is_some_and(|top| top.question.number == number);
            let _ = board.wait_for(is_seen).await.map(drop);
            tokio::time::sleep(time).await;
        };
        tokio::select! {
            biased;
            answer = &mut self.answer => answer.unwrap_or(Err(Refusal::Declined)),
            () = over => Err(Refusal::TimedOut(time)),
        }
    }
}

impl Drop for Posting {
    fn drop(&mut self) {
        self.board.change(|state| state.questions.retain(|posted| posted.question.number != self.number));
    }
}

impl Drop for Noticed {
    fn drop(&mut self) {
        self.0.change(|state| state.notices.retain(|(number, _)| *number != self.1));
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.viewers -= 1);
    }
}

impl Default for State {
    fn default() -> Self {
        Self { version: 1, count: 0, viewers: 0, questions: Vec::new(), notices: Vec::new() }
    }
}

impl State {
    fn open(&self) -> impl Iterator<Item = &Posted> {
        self.questions.iter().filter(|posted| posted.answer.is_some())
    }

    /// The question that viewers show. None for a moment after an answer, until it is known what follows from it.
    fn shown(&self) -> Option<&Posted> {
        self.questions.first().filter(|posted| posted.answer.is_some())
    }

    fn showing(&self) -> Showing {
        let question = self.shown().map(Posted::told);
        Showing {
            version: self.version,
            more: self.open().count() - usize::from(question.is_some()),
            question,
            notices: self.notices.iter().map(|(_, text)| text.clone()).collect(),
        }
    }
}

impl Posted {
    fn told(&self) -> Question {
        Question { seconds: clock::now().saturating_sub(self.asked).as_secs(), ..self.question.clone() }
    }
}

impl Question {
    /// The answer as the question takes it.
    fn means(&self, answer: prompts::Answer) -> Answer {
        use prompts::Answer as Said;
        use secrecy::ExposeSecret as _;
        let reply = match (self.kind, answer) {
            (Kind::Secret, Said::Pin(pin)) => {
                return Answer::Secret(Some(pin).filter(|pin| (1..=MAX_PIN).contains(&pin.expose_secret().len())));
            }
            (Kind::Secret, _) => return Answer::Secret(None),
            (Kind::Confirm, Said::Allow) => Reply::Allow(Allowed::Once),
            (Kind::Confirm, Said::AllowLonger) if self.offer.is_some() => Reply::Allow(Allowed::AsOffered),
            (Kind::Confirm, Said::Mute) if self.can_mute => Reply::Mute,
            (Kind::Confirm, _) => Reply::Deny,
        };
        Answer::Reply(reply)
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
