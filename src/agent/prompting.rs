//! Serving `hardkey prompts`: who may see the questions that wait, and answer them.

use serde::Serialize;

use super::handler::{Handler, Reply};
use crate::protocol::prompts::{self, Prompts};
use crate::protocol::reply;

impl Handler<'_> {
    /// Tells of questions, or takes an answer.
    pub(super) async fn prompts(&mut self, request: Prompts) -> Reply {
        // An answer is somebody's consent. No other program gives it, and nobody who may be elsewhere.
        if !self.origin.is_own_program() {
            self.viewer = None;
            tracing::info!(
                "questions are told to and answered by hardkey itself only, on this machine and by no relay"
            );
            return Reply::Fixed(reply::EXTENSION_FAILURE);
        }
        let board = self.agent.consent.board();
        match request {
            Prompts::List => document(&board.list()),
            Prompts::Watch { seen } => {
                self.viewer.get_or_insert_with(|| board.viewer());
                document(&board.showing(seen).await)
            }
            Prompts::Answer { number, answer } => document(&board.answer(number, answer)),
        }
    }
}

fn document(document: &impl Serialize) -> Reply {
    Reply::Own(reply::document(prompts::NAME, &serde_json::to_vec(document).unwrap_or_default()))
}
