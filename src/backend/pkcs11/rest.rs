//! Modules at rest: nobody has used them for a while, or somebody wants the tokens for other programs. No worker runs, so no session, no
//! login and no card is held.
//!
//! Tokens are still looked for. Where they are cards, `pcscd` is asked, which takes hold of nothing; elsewhere a worker looks now and then
//! and ends. PINs are another matter: resting keeps them, so that nobody is asked for one only because of a pause.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Module;
use super::error::TokenError;
use super::holders::Holders;
use super::presence::Looked;
use super::readers::{self, Reader};

/// When a module that nobody uses lets go of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// After this long.
    After(Duration),
    /// When it is told to.
    Never,
}

impl Default for Release {
    fn default() -> Self {
        Self::After(Duration::from_secs(300))
    }
}

/// What a reset means for other programs that share the card, and have to log in again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    /// There is no reset while there are any.
    ComeFirst,
    /// The card is locked all the same.
    AreDisturbed,
}

/// What is known of the readers.
#[derive(Default)]
pub(super) struct Rest {
    rests: AtomicBool,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The readers at the last look without a worker.
    readers: Option<Vec<Reader>>,
    /// Who has a card for itself.
    holder: Option<Holder>,
}

/// A reader that one program has for itself.
#[derive(Clone)]
struct Holder {
    reader: String,
    programs: String,
}

impl Rest {
    fn is_on(&self) -> bool {
        self.rests.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) {
        if !self.rests.swap(true, Ordering::Relaxed) {
            self.lock().readers = None;
        }
    }
}

impl Module {
    /// A worker said whether it speaks to a `pcscd`. To which follows from the environment that it was started with.
    pub(super) fn reads_by(&self, pcscd: bool) {
        if pcscd {
            self.pool.speaks_to(readers::service(&self.spec.env));
        }
    }

    /// Ends the workers until somebody uses the module. PINs are kept.
    pub(super) fn rest(self: &Arc<Self>) {
        self.rest.begin();
        let readers = self.tokens().values().filter_map(|token| token.log_out()).collect();
        self.pool.retire();
        self.lock_cards(readers, Others::ComeFirst);
    }

    /// Resets the cards in these readers, once no worker is in use: a card keeps a login until then, whether or not the program is there that
    /// made it, and any other can sign without a PIN.
    pub(super) fn lock_cards(&self, readers: Vec<String>, others: Others) {
        let (Some(service), Ok(runtime)) = (self.pool.service(), tokio::runtime::Handle::try_current()) else { return };
        if readers.is_empty() {
            return;
        }
        let (pool, service) = (Arc::clone(&self.pool), service.to_owned());
        runtime.spawn(async move {
            let _nobody = pool.all_at_home().await;
            for reader in readers {
                match readers::reset(&service, &reader, others == Others::ComeFirst).await {
                    Ok(()) => tracing::info!(reader, "the card was reset, and wants its PIN again"),
                    // It was pulled, or another program has it for itself and keeps it.
                    Err(error) => tracing::info!(reader, "the card may still be unlocked: {error}"),
                }
            }
        });
    }

    pub(super) fn is_resting(&self) -> bool {
        self.rest.is_on()
    }

    /// Somebody uses the module; whether it rested.
    pub(super) fn wake(&self) -> bool {
        self.presence.used();
        self.rest.rests.swap(false, Ordering::Relaxed)
    }

    /// Rests if nobody has used the module for as long as the user wants it.
    pub(super) fn rest_if_unused(self: &Arc<Self>) {
        if let Release::After(time) = self.spec.release
            && !self.is_resting()
            && self.presence.unused() >= time
        {
            tracing::info!(module = self.name(), "not used for a while; its tokens are let go");
            self.rest();
        }
    }

    /// Looks for tokens without holding any; `by_worker` says that it is time for a look by a worker, where nothing else serves.
    pub(super) async fn look_at_rest(self: &Arc<Self>, by_worker: bool) -> Result<Looked, TokenError> {
        let by_worker = match self.pool.service() {
            Some(service) => self.have_readers_changed(service).await?,
            None => by_worker,
        };
        if !by_worker {
            return Ok(Looked::Usual { glance: Duration::ZERO });
        }
        let Some(mut lease) = self.pool.try_take_fresh().await? else { return Ok(Looked::Busy) };
        self.look_with(&mut lease).await?;
        if self.is_resting() {
            lease.discard();
        }
        Ok(Looked::Fresh)
    }

    /// Whether there may be other cards than before, and nobody would be disturbed by a look at them.
    async fn have_readers_changed(&self, service: &Path) -> Result<bool, TokenError> {
        let readers = readers::all(service).await.map_err(|error| self.fault(&format!("pcscd: {error}")))?;
        let is_held = self.note_holder(service, &readers).await;
        let misses = self.is_missing_a_token();
        let shows = self.shows_a_token();
        let mut known = self.rest.lock();
        let changed = match &known.readers {
            Some(before) => !readers::same_cards(before, &readers) || misses && readers::let_go(before, &readers),
            // What happened in the moment before is to be seen by cards that are not known, and by those that are missing.
            None => shows != readers.iter().any(|reader| reader.has_card),
        };
        if changed && is_held {
            return Ok(false);
        }
        known.readers = Some(readers);
        Ok(changed)
    }

    /// Remembers who has a card for itself; whether somebody has.
    async fn note_holder(&self, service: &Path, readers: &[Reader]) -> bool {
        let Some(reader) = readers.iter().find(|reader| reader.is_exclusive) else {
            self.rest.lock().holder = None;
            return false;
        };
        if self.rest.lock().holder.as_ref().is_some_and(|holder| holder.reader == reader.name) {
            return true;
        }
        let service = service.to_owned();
        let programs = tokio::task::spawn_blocking(move || Holders::of(&service).to_string()).await;
        let programs = programs.unwrap_or_default();
        tracing::info!(reader = reader.name, "held by {programs}, and shared with nobody");
        self.rest.lock().holder = Some(Holder { reader: reader.name.clone(), programs });
        true
    }

    /// The readers as `pcscd` shows them now; `None` where it cannot be asked, or the module does not speak to it.
    pub(super) async fn readers(&self) -> Option<Vec<Reader>> {
        readers::all(self.pool.service()?).await.ok()
    }

    /// Finds out whether somebody has a card for itself, because a token does not show.
    pub(super) async fn look_for_holder(&self, readers: &[Reader]) {
        if let Some(service) = self.pool.service() {
            // Another one than before may have the same reader.
            self.rest.lock().holder = None;
            self.note_holder(service, readers).await;
        }
    }

    /// Who has the reader for itself, in words for a table.
    pub(super) fn holder(&self) -> Option<String> {
        self.rest.lock().holder.as_ref().map(|holder| holder.programs.clone())
    }

    /// Why no token shows, if it is because another program has a card for itself.
    pub async fn held(&self) -> Option<TokenError> {
        if let Some(readers) = self.readers().await {
            self.look_for_holder(&readers).await;
        }
        let holder = self.rest.lock().holder.clone()?;
        Some(TokenError::Held { reader: holder.reader, programs: holder.programs })
    }
}
