//! PKCS#11 providers in use: those of the configuration, those found, and those that `ssh-add -s` named.

mod notes;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use secrecy::{ExposeSecret, SecretSlice};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;

use super::certificates::{Certificates, Certified, Found, Validity};
use super::provider_policy::ProviderPolicy;
use crate::backend::pin::{PinError, PinSource, RefusedPins};
use crate::backend::pkcs11::error::TokenError;
use crate::backend::pkcs11::uri::{BadUri, Uri};
use crate::backend::pkcs11::{Claimants, Module, ModuleSpec, Selector, TokenKey};
use crate::backend::{People, SignError, Signer as _};
use crate::keyring::{Identity, Keyring, Names, Provider};
use crate::pattern::PatternList;
use crate::protocol::public_key::PublicKey;

/// How long the first list waits for modules to show their tokens. Slow ones appear when they are ready.
const FIRST_LOOK: Duration = Duration::from_secs(10);
/// Each provider costs a process or more.
const MOST_PROVIDERS: usize = 64;

/// The set of providers.
pub struct Providers {
    keyring: Arc<Mutex<Keyring>>,
    prompt: Arc<dyn People>,
    refused: Arc<RefusedPins>,
    allowed: PatternList,
    configured: Vec<ModuleSpec>,
    active: Mutex<IndexMap<Provider, Active>>,
    certificates: Certificates,
    changes: UnboundedSender<PathBuf>,
    first_look: watch::Sender<bool>,
}

struct Active {
    module: Arc<Module>,
    policy: ProviderPolicy,
}

/// What a client calls a provider by.
struct Named {
    path: PathBuf,
    /// By a URI; without what only the configuration may say, such as the file of a PIN.
    selector: Option<Selector>,
}

impl Named {
    fn parse(name: &str) -> Result<Self, AddError> {
        if !Uri::is_meant(name) {
            return Ok(Self { path: PathBuf::from(name), selector: None });
        }
        let mut uri = Uri::parse(name)?;
        let path = uri.module_path.take().ok_or(AddError::NoModulePath)?;
        uri.pin_source = None;
        Ok(Self { path, selector: Some(Selector::Uri(uri)) })
    }

    /// The provider's name in the keyring: by the module's real path, so that every link to it means the same.
    fn provider(&self, real: &Path) -> Provider {
        match &self.selector {
            Some(Selector::Uri(uri)) => format!("{uri}?module-path={}", real.display()).into(),
            _ => real.display().to_string().into(),
        }
    }
}

/// Why a provider was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The path is not an existing file.
    #[error("{path}: {reason}; install the package it comes from, or correct the path")]
    Missing {
        /// The path as given.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The allow-list does not name it.
    #[error(
        "{path} is not below an allowed folder ({allowed}); start the agent with -P, or name the module in the configuration"
    )]
    NotAllowed {
        /// The real path.
        path: String,
        /// The allow-list.
        allowed: String,
    },
    /// The URI is out of form.
    #[error(transparent)]
    Uri(#[from] BadUri),
    /// More providers than anybody needs.
    #[error("{MOST_PROVIDERS} providers are in use already; remove one with ssh-add -e")]
    TooMany,
    /// The URI names no module.
    #[error("the URI names no module; add ?module-path=/path/to/module.so")]
    NoModulePath,
    /// The module does not serve.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The PIN was not accepted.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Nothing to offer.
    #[error("no token with a key that can sign; insert the token, or check with `pkcs11-tool --module {path} -O`")]
    NoKeys {
        /// The module's path.
        path: String,
    },
}

impl Providers {
    /// Prepares the providers of the configuration and those found; [`Self::start`] starts them.
    pub fn new(
        keyring: Arc<Mutex<Keyring>>,
        prompt: Arc<dyn People>,
        allowed: PatternList,
        configured: Vec<ModuleSpec>,
        certificates: Option<PathBuf>,
    ) -> (Self, UnboundedReceiver<PathBuf>) {
        let (changes, receiver) = tokio::sync::mpsc::unbounded_channel();
        let first_look = watch::Sender::new(configured.is_empty());
        let refused = Arc::default();
        let certificates = Certificates::of(certificates);
        let active = Mutex::default();
        let providers =
            Self { keyring, prompt, refused, allowed, configured, active, certificates, changes, first_look };
        (providers, receiver)
    }

    /// The PINs that tokens refused.
    pub fn refused_pins(&self) -> &RefusedPins {
        &self.refused
    }

    /// Looks at the configured modules, all at once; then the first list may be answered.
    pub async fn start(&self) {
        self.certificates.refresh();
        let mut looks = tokio::task::JoinSet::new();
        for spec in &self.configured {
            let module =
                Module::new(spec.clone(), Arc::clone(&self.prompt), Arc::clone(&self.refused), self.changes.clone());
            let active = Active { module: Arc::clone(&module), policy: ProviderPolicy::default() };
            self.active().insert(provider_of(&spec.path), active);
            let changes = self.changes.clone();
            looks.spawn(async move {
                let looked = module.scan().await;
                module.watch();
                match looked {
                    // The receiver lives as long as the agent.
                    Ok(()) => drop(changes.send(module.path().clone())),
                    Err(error) => tracing::error!("{error}"),
                }
                module
            });
        }
        let finished = async {
            while let Some(module) = looks.join_next().await {
                module.iter().for_each(|module| self.changed(module.path()));
                self.first_look.send_modify(|_| {});
            }
        };
        // Whoever is still looking then goes on; its keys come through the channel of changes.
        let _ = tokio::time::timeout(FIRST_LOOK, finished).await;
        looks.detach_all();
        let active = self.active();
        // All taken out first, so that the order, and who offers what several show, is the configuration's and not the modules' speed.
        for provider in active.keys() {
            lock(&self.keyring).remove_provider(provider);
        }
        active.iter().for_each(|(provider, active)| self.sync(provider, active));
        drop(active);
        self.first_look.send_replace(true);
    }

    /// Waits until the configured modules had their chance to show their keys.
    pub async fn first_look(&self) {
        self.look_for(|| None::<()>).await;
    }

    /// Looks for something that configured modules may still have to show: now, whenever one has had its first look, and when all had.
    pub async fn look_for<T>(&self, mut find: impl FnMut() -> Option<T>) -> Option<T> {
        let mut progress = self.first_look.subscribe();
        loop {
            let done = *progress.borrow_and_update();
            let found = find();
            if found.is_some() || done || progress.changed().await.is_err() {
                return found;
            }
        }
    }

    /// Takes over the keys of a module whose keys changed.
    pub fn changed(&self, module: &Path) {
        let active = self.active();
        active
            .iter()
            .filter(|(_, active)| active.module.path() == module)
            .for_each(|(provider, active)| self.sync(provider, active));
    }

    /// Follows the folder of certificates. To be called before keys are looked at.
    pub fn follow_certificates(&self) {
        if self.certificates.refresh() {
            self.active().iter().for_each(|(provider, active)| self.sync(provider, active));
        }
    }

    /// Has the certificates read again at the next request.
    pub fn read_certificates_again(&self) {
        self.certificates.forget();
    }

    /// Adds a provider by path or URI, as `ssh-add -s` does. How many keys it offers.
    ///
    /// The PIN goes to the one token that wants it. Where several want one, none gets it: the keys are listed, and the PIN of each token is
    /// asked for when it is used. Adding a provider again is always possible.
    ///
    /// # Errors
    /// The module is not allowed or not usable, the PIN is wrong, or there is no key.
    pub async fn add(&self, name: &str, pin: SecretSlice<u8>, policy: ProviderPolicy) -> Result<usize, AddError> {
        let named = Named::parse(name)?;
        //= RFC 9987 section 5.2.6: The agent MUST also return SSH_AGENT_FAILURE if the "token id" was not recognised,
        //= if the request was against agent policy
        let real = self.permitted(&named.path)?;
        let provider = named.provider(&real);
        let module = self.module_for(&provider, &real, named.selector)?;
        module.scan_afresh().await?;
        let mut proved = false;
        if !pin.expose_secret().is_empty() {
            match &module.tokens_wanting_pin()[..] {
                [] => {}
                [token] => {
                    token.unlock_with(pin).await?;
                    proved = true;
                }
                several => {
                    let tokens: Vec<String> = several.iter().map(|token| token.name().label.clone()).collect();
                    let refusal = PinError::Ambiguous { count: several.len(), tokens: tokens.join(", ") };
                    tracing::warn!("the PIN was presented to no token: {refusal}");
                }
            }
        }
        let policy = match self.active().get(&provider) {
            Some(before) if !proved => policy.at_least(&before.policy),
            _ => policy,
        };
        let active = Active { module, policy };
        let count = active.module.offered().iter().filter(|key| key.is_there()).count();
        if count == 0 {
            if let Some(held) = active.module.held().await {
                return Err(held.into());
            }
            return Err(AddError::NoKeys { path: real.display().to_string() });
        }
        lock(&self.keyring).show_again(&provider);
        self.sync(&provider, &active);
        self.active().insert(provider, active);
        Ok(count)
    }

    /// Removes a provider's keys, forgets its PINs and ends its logins; whether it was there.
    pub fn remove(&self, name: &str) -> bool {
        let Ok(named) = Named::parse(name) else { return false };
        let provider = named.provider(&std::fs::canonicalize(&named.path).unwrap_or_else(|_| named.path.clone()));
        let removed = self.active().shift_remove(&provider);
        //= RFC 9987 section 5.4: SHOULD cause the agent to remove all keys it loaded from the device matching "token
        //= id"
        lock(&self.keyring).remove_provider(&provider);
        if let Some(gone) = &removed {
            //= RFC 9987 section 5.4: Removing a token-hosted key affects the agent only; it SHOULD NOT cause the keys
            //= be deleted from the token itself.
            gone.module.release();
        }
        removed.is_some()
    }

    /// Forgets every PIN and ends every login. The keys come back with `ssh-add -s` or a restart.
    pub fn remove_all(&self) {
        for (_, gone) in self.active().drain(..) {
            gone.module.release();
        }
    }

    /// Forgets every PIN and ends every login; the keys stay.
    pub fn release(&self) {
        self.active().values().for_each(|active| active.module.release());
    }

    /// Forgets the PINs, ends the logins, and looks at all tokens by new workers; modules that are slower than usual go on looking afterwards.
    pub async fn look_anew(&self) {
        self.release();
        let modules: Vec<Arc<Module>> = self.active().values().map(|active| Arc::clone(&active.module)).collect();
        let mut looks = tokio::task::JoinSet::new();
        for module in modules {
            looks.spawn(async move {
                if let Err(error) = module.scan_afresh().await {
                    tracing::info!("looking for tokens: {error}");
                }
                module
            });
        }
        let finished = async {
            while let Some(module) = looks.join_next().await {
                module.iter().for_each(|module| self.changed(module.path()));
            }
        };
        let _ = tokio::time::timeout(FIRST_LOOK, finished).await;
        looks.detach_all();
    }

    /// Removes the providers whose time is over: the PINs that came with them are not to outlive them.
    pub fn expire(&self, now: Duration) {
        self.active().retain(|_, active| {
            let is_over = active.policy.expires.is_some_and(|expires| expires <= now);
            if is_over {
                active.module.release();
            }
            !is_over
        });
    }

    /// The module behind a provider name: the one in use, the one the configuration describes, or a new one.
    ///
    /// Keys that a client selects by a URI are not the configuration's, and so is their PIN: whoever uses them is asked for it.
    fn module_for(
        &self,
        provider: &Provider,
        real: &Path,
        selector: Option<Selector>,
    ) -> Result<Arc<Module>, AddError> {
        if let Some(active) = self.active().get(provider) {
            return Ok(Arc::clone(&active.module));
        }
        if self.active().len() >= MOST_PROVIDERS {
            return Err(AddError::TooMany);
        }
        let configured = self.configured.iter().find(|spec| is_same(&spec.path, real)).cloned();
        let mut spec = configured.unwrap_or_else(|| ModuleSpec { path: real.to_owned(), ..ModuleSpec::default() });
        if let Some(selector) = selector {
            spec = ModuleSpec { keys: vec![selector], pin: PinSource::Ask, claimants: Claimants::default(), ..spec };
        }
        let module = Module::new(spec, Arc::clone(&self.prompt), Arc::clone(&self.refused), self.changes.clone());
        module.watch();
        Ok(module)
    }

    /// The real path of a library, if the configuration or `-P` allows to load it.
    ///
    /// # Errors
    /// It is not there or not allowed.
    pub fn permitted(&self, path: &Path) -> Result<PathBuf, AddError> {
        let real = std::fs::canonicalize(path).map_err(|error| AddError::Missing {
            path: crate::text::escape(path.as_os_str().as_encoded_bytes()),
            reason: error.to_string(),
        })?;
        let configured = self.configured.iter().any(|spec| is_same(&spec.path, &real));
        //= RFC 9987 section 10: agents that support loading token-hosted keys via a library path SHOULD ensure that
        //= only trusted token provider libraries are loadable
        match configured || self.allowed.matches(&real.to_string_lossy()) {
            true => Ok(real),
            false => Err(AddError::NotAllowed {
                path: crate::text::escape(real.as_os_str().as_encoded_bytes()),
                allowed: self.allowed.to_string(),
            }),
        }
    }

    fn sync(&self, provider: &Provider, active: &Active) {
        let identities = identities(provider, active, &self.certificates.read().certificates);
        lock(&self.keyring).replace_provider(provider, identities);
    }

    fn active(&self) -> MutexGuard<'_, IndexMap<Provider, Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a module of the configuration is called in the keyring: by its real path.
fn provider_of(path: &Path) -> Provider {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).display().to_string().into()
}

fn is_same(configured: &Path, real: &Path) -> bool {
    std::fs::canonicalize(configured).is_ok_and(|path| path == real)
}

/// The keys that a provider offers, with the certificates of the folder that are for them.
fn identities(provider: &Provider, active: &Active, certificates: &[Found]) -> Vec<Identity> {
    let Active { module, policy } = active;
    let identity = |public: &PublicKey, key: &Arc<TokenKey>| Identity {
        public: public.clone(),
        comment: key.label().as_bytes().to_vec(),
        signer: Arc::clone(key) as _,
        provider: Some(Arc::clone(provider)),
        confirm: policy.confirm,
        destinations: Arc::clone(&policy.destinations),
        expires: policy.expires,
        names: Names::default(),
    };
    let mut identities = Vec::new();
    for key in module.offered() {
        if !policy.certificates.only {
            identities.push(identity(key.public(), &key));
        }
        // Certificates of other keys came with them: `ssh-add` sends all that it was given.
        let own = policy
            .certificates
            .certificates
            .iter()
            .filter(|certificate| certificate.material() == key.public().material());
        identities.extend(own.map(|certificate| identity(certificate, &key)));
        let in_folder = certificates.iter().filter(|found| found.public.material() == key.public().material());
        identities.extend(in_folder.map(|found| {
            let signer = Certified { key: Arc::clone(&key), validity: Validity::of(&found.public) };
            Identity { signer: Arc::new(signer), ..identity(&found.public, &key) }
        }));
    }
    identities
}

fn lock(keyring: &Mutex<Keyring>) -> MutexGuard<'_, Keyring> {
    keyring.lock().unwrap_or_else(PoisonError::into_inner)
}
