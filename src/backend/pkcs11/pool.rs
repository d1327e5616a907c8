//! The workers of one module: as many as its tokens profit from, started when they are needed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::TokenError;
use super::pulled::unless_pulled;
use crate::backend::link::Link;
use crate::ipc::{Answer, Call, Sandbox};

/// Hands out workers, one user at a time each.
pub(super) struct Pool {
    module: PathBuf,
    env: Vec<(String, String)>,
    sandbox: Sandbox,
    /// The limit for one call.
    deadline: Duration,
    idle: Mutex<Vec<Link>>,
    /// Workers of an earlier generation are not used again.
    generation: AtomicUsize,
    size: AtomicUsize,
    permits: Arc<Semaphore>,
    /// Where the `pcscd` listens that workers spoke to.
    service: OnceLock<PathBuf>,
    /// Workers start one after another: several processes that open a SoftHSM token at the same moment disturb each other.
    starting: tokio::sync::Mutex<()>,
}

/// A worker on loan. It goes back when dropped, unless a call failed or it was discarded.
pub(super) struct Lease {
    link: Option<Link>,
    pool: Arc<Pool>,
    generation: usize,
    /// It served somebody before, and may have died of that in the meantime.
    pub(super) used_before: bool,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    pub(super) fn new(module: PathBuf, env: Vec<(String, String)>, sandbox: Sandbox, deadline: Duration) -> Arc<Self> {
        Arc::new(Self {
            module,
            env,
            sandbox,
            deadline,
            idle: Mutex::default(),
            generation: AtomicUsize::new(0),
            size: AtomicUsize::new(1),
            permits: Arc::new(Semaphore::new(1)),
            service: OnceLock::new(),
            starting: tokio::sync::Mutex::default(),
        })
    }

    /// Allows this many workers, if that is more than before.
    pub(super) fn widen(&self, size: usize) {
        let before = self.size.fetch_max(size, Ordering::Relaxed);
        if size > before {
            self.permits.add_permits(size - before);
        }
    }

    /// A worker said that it speaks to the `pcscd` that listens here.
    pub(super) fn speaks_to(&self, service: PathBuf) {
        // What follows from the same environment is the same each time.
        let _ = self.service.set(service);
    }

    /// Where the `pcscd` listens that workers speak to.
    pub(super) fn service(&self) -> Option<&Path> {
        self.service.get().map(PathBuf::as_path)
    }

    /// Waits for a worker, as [`Self::permit`] and [`Self::take_with`].
    pub(super) async fn take(self: &Arc<Self>) -> Result<Lease, TokenError> {
        let permit = self.permit().await?;
        self.take_with(permit).await
    }

    /// Waits until there may be one more worker in use.
    pub(super) async fn permit(&self) -> Result<OwnedSemaphorePermit, TokenError> {
        // The semaphore is never closed.
        Arc::clone(&self.permits).acquire_owned().await.map_err(|_| TokenError::Spawn {
            module: self.module.display().to_string(),
            reason: "the agent is ending".to_owned(),
        })
    }

    /// A worker; starts one when none is idle.
    pub(super) async fn take_with(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Result<Lease, TokenError> {
        while let Some(mut link) = self.pop() {
            if link.is_alive() {
                return Ok(self.lease(link, true, permit));
            }
            tracing::warn!(module = %self.module.display(), "worker ended while idle; starting another");
        }
        Box::pin(self.start(permit)).await
    }

    async fn start(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Result<Lease, TokenError> {
        let _alone = self.starting.lock().await;
        let start = Call::Start { module: self.module.clone(), sandbox: self.sandbox.clone() };
        let link = Link::start(&self.module, &start, &self.env, self.deadline);
        let link = unless_pulled(self.service(), &self.module, link).await?;
        Ok(self.lease(link, false, permit))
    }

    /// Waits until there may be another worker, and starts it.
    pub(super) async fn take_fresh(self: &Arc<Self>) -> Result<Lease, TokenError> {
        let permit = self.permit().await?;
        self.start(permit).await
    }

    /// A worker that nobody else wants now, started if need be; `None` while requests use all that there may be.
    pub(super) async fn try_take(self: &Arc<Self>) -> Result<Option<Lease>, TokenError> {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return Ok(None) };
        self.take_with(permit).await.map(Some)
    }

    /// As [`Self::try_take`], but one that was started just now.
    pub(super) async fn try_take_fresh(self: &Arc<Self>) -> Result<Option<Lease>, TokenError> {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return Ok(None) };
        self.start(permit).await.map(Some)
    }

    /// Waits until no worker is on loan, and lends none while what is returned is kept.
    pub(super) async fn all_at_home(&self) -> Option<OwnedSemaphorePermit> {
        let size = u32::try_from(self.size.load(Ordering::Relaxed)).ok()?;
        Arc::clone(&self.permits).acquire_many_owned(size).await.ok()
    }

    /// Ends the workers, those on loan when they come back; their logins end with them.
    pub(super) fn retire(&self) {
        let mut idle = self.lock();
        self.generation.fetch_add(1, Ordering::Relaxed);
        idle.clear();
    }

    fn lease(self: &Arc<Self>, link: Link, used_before: bool, permit: OwnedSemaphorePermit) -> Lease {
        let generation = self.generation.load(Ordering::Relaxed);
        Lease { link: Some(link), pool: Arc::clone(self), generation, used_before, _permit: permit }
    }

    fn pop(&self) -> Option<Link> {
        self.lock().pop()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Link>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Makes one call. After an error that the worker caused, and when the caller stops waiting, the worker is gone.
    pub(super) async fn call(&mut self, call: &Call) -> Result<Answer, TokenError> {
        let Some(mut link) = self.link.take() else {
            return Err(TokenError::Crashed {
                module: self.pool.module.display().to_string(),
                status: "in an earlier call".to_owned(),
            });
        };
        let answer = link.call(call, self.pool.deadline).await?;
        self.link = Some(link);
        Ok(answer)
    }

    /// Spares the worker when all others were retired.
    pub(super) fn keep(&mut self) {
        self.generation = self.pool.generation.load(Ordering::Relaxed);
    }

    /// Ends the worker, because only a new one can help.
    pub(super) fn discard(&mut self) {
        self.link = None;
    }

    /// The worker, for what it remembers.
    pub(super) const fn link(&mut self) -> Option<&mut Link> {
        self.link.as_mut()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(mut link) = self.link.take() {
            let mut idle = self.pool.lock();
            if self.generation != self.pool.generation.load(Ordering::Relaxed) {
                return;
            }
            match link.has_grown_beyond(self.pool.sandbox.memory) {
                Some(mebibytes) => tracing::warn!(
                    module = %self.pool.module.display(),
                    "its worker has grown to {mebibytes} MiB and is ended; another one starts at the next use"
                ),
                None => idle.push(link),
            }
        }
    }
}
