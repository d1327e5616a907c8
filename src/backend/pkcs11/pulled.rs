//! Calls about a card that is pulled meanwhile. Most modules answer then; some wait for it to come back until nobody waits for them.

use std::path::Path;
use std::time::Duration;

use super::Module;
use super::error::TokenError;
use super::pool::Lease;
use super::readers::{self, Reader};
use super::token::Token;
use crate::ipc::{Answer, Call};

/// When the readers are looked at first; almost all calls have ended by then.
const SETTLED: Duration = Duration::from_millis(100);
/// Between two looks at the readers.
const PAUSE: Duration = Duration::from_secs(1);

impl Token {
    /// Makes one call about this token; it ends, and the worker with it, when the card is not in its reader any more.
    pub(super) async fn call(&self, lease: &mut Lease, call: &Call) -> Result<Answer, TokenError> {
        let module = self.module()?;
        let reader = self.seen(|seen| seen.reader.clone());
        let is_pulled = |before: &[Reader], now: &[Reader]| {
            let is_its = |one: &&Reader| one.is_named(&reader);
            let then = before.iter().find(is_its);
            !now.iter().any(|now| is_its(&now) && then.is_some_and(|then| now.has_card_of(then)))
        };
        tokio::select! {
            biased;
            answer = lease.call(call) => answer,
            () = changed(module.pool.service(), is_pulled) => {
                self.note_gone();
                Err(self.gone("the card was pulled"))
            }
        }
    }
}

impl Module {
    /// Makes one call that is about all tokens; it ends, and the worker with it, when one of the cards is pulled.
    pub(super) async fn call(&self, lease: &mut Lease, call: &Call) -> Result<Answer, TokenError> {
        unless_pulled(self.pool.service(), lease.call(call), || TokenError::Interrupted { module: self.name() }).await
    }
}

/// Waits for something that is about all cards of this service, and no longer when one of them is pulled.
pub(super) async fn unless_pulled<T>(
    service: Option<&Path>,
    work: impl Future<Output = Result<T, TokenError>>,
    error: impl FnOnce() -> TokenError,
) -> Result<T, TokenError> {
    let is_one_pulled = |before: &[Reader], now: &[Reader]| {
        let stays = |card: &Reader| now.iter().any(|now| now.name == card.name && now.has_card_of(card));
        before.iter().any(|reader| reader.has_card && !stays(reader))
    };
    tokio::select! {
        biased;
        result = work => result,
        () = changed(service, is_one_pulled) => Err(error()),
    }
}

/// Waits until the readers are found to have changed in this way since a moment after the call.
async fn changed(service: Option<&Path>, in_this_way: impl Fn(&[Reader], &[Reader]) -> bool) {
    let Some(service) = service else { return std::future::pending().await };
    tokio::time::sleep(SETTLED).await;
    let mut before = None;
    loop {
        // Who cannot be asked for a moment says nothing about cards.
        if let Ok(now) = readers::all(service).await {
            let before = before.get_or_insert_with(|| now.clone());
            if in_this_way(before, &now) {
                return;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
