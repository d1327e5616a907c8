//! The running agent: it brings the rooms together.
//!
//! Owns the listener, one task per connection, and the life of the process. Parses nothing and decides nothing itself.

mod account;
pub mod activation;
mod approving;
mod asking;
mod certificates;
pub mod command;
mod connection;
mod crowd;
mod description;
pub mod explanation;
mod forwards;
mod handler;
pub mod inventory;
pub mod log;
mod log_quota;
mod managing;
pub mod policies;
pub mod process;
mod prompting;
mod provider_policy;
mod providers;
mod question;
mod reload;
mod rotating;
mod running;
mod security_keys;
mod session;
mod signing;
pub mod socket;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use rustix::net::{SocketFlags, accept_with};
use tokio::io::Interest;
use tokio::sync::{Notify, Semaphore};

use crate::audit::Audit;
use crate::backend::fido;
use crate::clock;
use crate::consent::Consent;
use crate::consent::approvals::Approvals;
use crate::crypto::fingerprint::FingerprintHash;
use crate::keyring::{Keyring, Lock, Preferences};
use crate::origin::connection::{Assessor, Listener};
use crate::origin::ledger::Socket;
use crate::policy::websafe::Websafe;
use crate::policy::{Preset, Rates};
use crate::stream::Stream;
use crate::sys;
use crowd::Crowd;
use policies::Policies;
pub use provider_policy::ProviderPolicy;
pub use providers::Providers;

/// Descriptors kept free for workers, dialogs and files.
const RESERVED_DESCRIPTORS: u64 = 64;

/// What the agent is told at its start.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The lifetime of keys that are added without one (`-t`), in seconds.
    pub default_lifetime: Option<u32>,
    /// The hash of fingerprints in dialogs (`-E`).
    pub fingerprint_hash: FingerprintHash,
    /// What security keys of the web may sign (`-O websafe-allow`, `-O no-restrict-websafe`).
    pub websafe: Websafe,
    /// Connections that were bound to a session may add providers (`-O allow-remote-pkcs11`).
    pub allow_remote_providers: bool,
}

/// The state that all connections share. No lock is ever held across a wait.
pub struct Agent {
    settings: Settings,
    policies: Arc<Policies>,
    rates: Mutex<Rates>,
    keyring: Arc<Mutex<Keyring>>,
    lock: Mutex<Lock>,
    preferences: Mutex<Preferences>,
    /// How many connections there may be, at all listeners together.
    seats: Arc<Semaphore>,
    crowd: Arc<Crowd>,
    /// How many passphrases are compared at the same time, which takes CPU.
    comparing: Semaphore,
    providers: Providers,
    fido: fido::Helpers,
    residents: security_keys::Residents,
    key_states: rotating::KeyStates,
    consent: Arc<Consent>,
    assessor: Arc<Assessor>,
    audit: Arc<Audit>,
    approvals: Approvals,
    expiry_changed: Notify,
}

impl Agent {
    /// Composes an agent.
    pub fn new(
        settings: Settings,
        policies: Arc<Policies>,
        consent: Arc<Consent>,
        assessor: Arc<Assessor>,
        keyring: Arc<Mutex<Keyring>>,
        providers: Providers,
        audit: Arc<Audit>,
    ) -> Arc<Self> {
        Arc::new(Self {
            settings,
            policies,
            rates: Mutex::default(),
            keyring,
            lock: Mutex::default(),
            preferences: Mutex::default(),
            comparing: Semaphore::new(2),
            providers,
            residents: security_keys::Residents::default(),
            key_states: rotating::KeyStates::default(),
            fido: fido::Helpers {
                devices: Arc::default(),
                notices: Arc::clone(&consent) as _,
                prompt: Arc::clone(&consent) as _,
            },
            consent,
            assessor,
            audit,
            approvals: Approvals::default(),
            expiry_changed: Notify::new(),
            seats: Arc::new(Semaphore::new(connection_limit())),
            crowd: Arc::default(),
        })
    }

    /// Accepts connections until the task is dropped; `place` says what arrives at this listener.
    ///
    /// # Errors
    /// The listener cannot be used.
    pub async fn serve(self: &Arc<Self>, listener: UnixListener, place: Listener) -> std::io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = sys::watch(listener.into(), Interest::READABLE)?;
        let place = Arc::new(place);
        let owner = rustix::process::getuid();
        loop {
            // At the limit clients queue in the listener's backlog, as with stock.
            let Ok(seat) = Arc::clone(&self.seats).acquire_owned().await else { return Ok(()) };
            let accept = |listener: &OwnedFd| Ok(accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?);
            let stream = match listener.async_io(Interest::READABLE, accept).await.and_then(Stream::new) {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            match socket_peercred(&stream).map(|peer| peer.uid) {
                //= RFC 9987 section 6: Access to these endpoints SHOULD be controlled as discussed in Section 10.
                Ok(peer) if peer == owner || peer.is_root() => {
                    let agent = Arc::clone(self);
                    // Now: facts about the peer are the better the earlier they are read.
                    let stream = Arc::new(stream);
                    let origin = Box::new(self.assessor.accept(&(Arc::clone(&stream) as Socket), &place));
                    let visitor = self.crowd.enter();
                    let client = origin.peer().id();
                    tokio::spawn(log_quota::on_behalf_of(client, async move {
                        connection::serve(&agent, stream, origin).await;
                        drop((seat, visitor));
                    }));
                }
                Ok(peer) => log_quota::turned_away(|| {
                    tracing::warn!("uid mismatch: peer euid {} != uid {}", peer.as_raw(), owner.as_raw());
                }),
                Err(error) => log_quota::turned_away(|| {
                    tracing::warn!(%error, "cannot tell who connects; connection closed");
                }),
            }
        }
    }

    /// Removes keys from memory when their time is over, not only at the next request.
    pub async fn expire_keys(self: &Arc<Self>) {
        loop {
            let next = {
                let mut keyring = self.keyring();
                keyring.purge(clock::now());
                keyring.next_expiry()
            };
            self.providers.expire(clock::now());
            let changed = self.expiry_changed.notified();
            match next {
                Some(next) => drop(tokio::time::timeout(next.saturating_sub(clock::now()), changed).await),
                None => changed.await,
            }
        }
    }

    /// Gives memory back whenever a crowd of clients has left.
    pub async fn clean_up_after_crowds(&self) {
        self.crowd.clean_up_after().await;
    }

    /// Removes every key and forgets every PIN.
    pub fn remove_all(&self) {
        self.providers.remove_all();
        self.keyring().clear();
        self.end_approvals(None, "all keys were removed");
    }

    /// Adds the keys whose files the configuration names.
    fn add_security_keys(&self, files: &[PathBuf]) {
        for identity in security_keys::configured(files, &self.fido) {
            self.keyring().add(identity);
        }
    }

    /// Takes over what changed outside: security keys that were plugged in, certificates that were put into their folder.
    fn look_around(&self) {
        self.residents.refresh(&self.keyring, &self.fido);
        self.providers.follow_certificates();
    }

    fn preset(&self) -> Preset {
        self.policies.current().policy.preset()
    }

    fn rates(&self) -> MutexGuard<'_, Rates> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keyring(&self) -> MutexGuard<'_, Keyring> {
        self.keyring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn preferences(&self) -> MutexGuard<'_, Preferences> {
        self.preferences.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Lock> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connection_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1 << 20);
    usize::try_from(limit.saturating_sub(RESERVED_DESCRIPTORS)).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS)
}
