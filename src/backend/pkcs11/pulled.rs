//! Calls about a card that is pulled meanwhile. Most modules answer then; some wait for it to come back until nobody waits for them.

use std::path::Path;
use std::sync::atomic::Ordering;
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
        let Some(reader) = self.reader() else { return lease.call(call).await };
        let module = self.module()?;
        // Names that are cut off can be those of several readers.
        let is_pulled = |before: &[Reader], now: &[Reader]| {
            !before.iter().any(|then| then.is_named(&reader) && then.still_has_card(now))
        };
        Box::pin(unless(module.pool.service(), is_pulled, lease.call(call))).await.unwrap_or_else(|| {
            self.note_gone();
            Err(self.gone("the card was pulled"))
        })
    }

    /// Whether it is a card that is not in its reader any more.
    pub(super) async fn is_pulled(&self, module: &Module) -> bool {
        match (self.reader(), module.pool.service()) {
            (Some(reader), Some(service)) => readers::is_pulled(service, &reader).await,
            _ => false,
        }
    }

    /// The name of the reader that it is in, or how that begins; not every module calls its slots so.
    fn reader(&self) -> Option<String> {
        self.in_reader.load(Ordering::Relaxed).then(|| self.seen(|seen| seen.reader.clone()))
    }
}

impl Module {
    /// Makes one call that is about all tokens; it ends, and the worker with it, when one of the cards is pulled.
    pub(super) async fn call(&self, lease: &mut Lease, call: &Call) -> Result<Answer, TokenError> {
        unless_pulled(self.pool.service(), self.path(), lease.call(call)).await
    }

    /// Notes which of the tokens are in readers that `pcscd` knows.
    pub(super) fn note_readers(&self, readers: &[Reader]) {
        for token in self.tokens().values().filter(|token| token.is_present()) {
            let name = token.seen(|seen| seen.reader.clone());
            let is_known = !name.is_empty() && readers.iter().any(|reader| reader.is_named(&name));
            token.in_reader.store(is_known, Ordering::Relaxed);
        }
    }
}

/// Waits for what a module does that is about all cards of this service, and no longer when one of them is pulled.
pub(super) async fn unless_pulled<T>(
    service: Option<&Path>,
    module: &Path,
    work: impl Future<Output = Result<T, TokenError>>,
) -> Result<T, TokenError> {
    let is_one_pulled =
        |before: &[Reader], now: &[Reader]| before.iter().any(|then| then.has_card && !then.still_has_card(now));
    let interrupted = || TokenError::Interrupted { module: module.display().to_string() };
    unless(service, is_one_pulled, work).await.unwrap_or_else(|| Err(interrupted()))
}

/// Waits for this work; `None` when the readers are found to have changed in this way since a moment after it began.
async fn unless<T>(
    service: Option<&Path>,
    changed: impl Fn(&[Reader], &[Reader]) -> bool,
    work: impl Future<Output = T>,
) -> Option<T> {
    let changes = async {
        let Some(service) = service else { return std::future::pending().await };
        tokio::time::sleep(SETTLED).await;
        let mut before = None;
        loop {
            // Who cannot be asked for a moment says nothing about cards.
            if let Ok(now) = readers::all(service).await {
                let before = before.get_or_insert_with(|| now.clone());
                if changed(before, &now) {
                    return;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        biased;
        done = work => Some(done),
        () = changes => None,
    }
}
