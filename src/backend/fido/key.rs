//! A key on a FIDO device, by its handle.

use std::sync::{Arc, Mutex, PoisonError};

use secrecy::ExposeSecret as _;
use tokio::task::JoinSet;

use super::choose;
use super::device::Devices;
use super::error::FidoError;
use super::residents;
use super::session::Session;
use crate::backend::middleware::{
    TouchNotice, USER_PRESENCE, USER_VERIFICATION, flags_of, left_out, security_key_blob,
};
use crate::backend::pin::{Pin, PinPrompt, PinQuestion, TriesLeft};
use crate::backend::{BoxFuture, CannotDemand, Place, SignError, Signer};
use crate::crypto::verify::Verifier;
use crate::errand::{Demands, Errand};
use crate::field::field;
use crate::ipc::SecretOctets;
use crate::ipc::fido::{FidoAnswer, FidoAssertion, FidoCall, FidoCause, FidoFault};
use crate::protocol::Malformed;
use crate::protocol::private_key::{PrivateKey, Secret};
use crate::protocol::public_key::{KeyMaterial, PublicKey};
use crate::protocol::signature::Wanted;

/// `SSH_SK_RESIDENT_KEY`
const RESIDENT: u8 = 0x20;
/// The most PIN tries that a device may give (CTAP 2.1 section 6.5.1): fewer are left after a wrong PIN.
const ALL_TRIES: u8 = 8;
/// `CTAP2_ERR_PIN_BLOCKED`
const PIN_BLOCKED: u8 = 0x32;
/// `CTAP2_ERR_PIN_NOT_SET`
const PIN_NOT_SET: u8 = 0x35;
/// `CTAP2_ERR_PUAT_REQUIRED`
const PIN_REQUIRED: u8 = 0x36;
/// `CTAP2_ERR_UV_BLOCKED`, `CTAP2_ERR_UV_INVALID`: the finger will not do.
const FINGER_REFUSED: [u8; 2] = [0x3c, 0x3f];

/// What names a key to its device.
#[derive(Clone)]
pub struct Handle {
    pub(super) public: KeyMaterial,
    pub(super) application: String,
    pub(super) handle: Vec<u8>,
    pub(super) flags: u8,
    /// Safe to show.
    pub(super) comment: String,
}

impl Handle {
    /// Takes a handle that `ssh-add` sent.
    ///
    /// # Errors
    /// It is not a security key's.
    pub fn new(key: &PrivateKey<'_>, comment: &[u8]) -> Result<Self, Malformed> {
        let public = key.public.material().clone();
        let (
            Secret::SecurityKey { flags, handle },
            KeyMaterial::SkEd25519 { application, .. } | KeyMaterial::SkEcdsa { application, .. },
        ) = (&key.secret, &public)
        else {
            return Err(Malformed::new("not a security key"));
        };
        let (application, handle, comment) = (application.clone(), handle.to_vec(), crate::text::excerpt(comment));
        Ok(Self { application, handle, flags: *flags, comment, public })
    }

    /// A key that a device showed itself; `None` if the public half is not a security key's.
    pub(super) fn of_resident(public: &PublicKey, handle: Vec<u8>, verify: bool, comment: &str) -> Option<Self> {
        let public = public.material().clone();
        let (KeyMaterial::SkEd25519 { application, .. } | KeyMaterial::SkEcdsa { application, .. }) = &public else {
            return None;
        };
        let flags = USER_PRESENCE | RESIDENT | if verify { USER_VERIFICATION } else { 0 };
        let (application, comment) = (application.clone(), crate::text::excerpt(comment.as_bytes()));
        Some(Self { application, handle, flags, comment, public })
    }

    /// The credential id.
    pub fn id(&self) -> &[u8] {
        &self.handle
    }

    /// What the key is called; safe to show.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    pub(super) const fn wants_verification(&self) -> bool {
        self.flags & USER_VERIFICATION != 0
    }

    /// The same key with what is demanded on top of what it was made to demand.
    fn demanding(&self, demands: Demands) -> Self {
        Self { flags: self.flags | flags_of(demands), ..self.clone() }
    }

    const fn wants_touch(&self) -> bool {
        self.flags & USER_PRESENCE != 0
    }

    /// The call by which a device shows that it holds the key, without touch or verification, and the data that it is to sign for that.
    pub(super) fn preflight(&self) -> (FidoCall, [u8; 32]) {
        let mut data = [0; 32];
        // Without random numbers an old proof would do; nothing but the choice of a device hangs on it.
        let _ = aws_lc_rs::rand::fill(&mut data);
        let call = FidoCall::Preflight(FidoAssertion {
            is_ed25519: self.is_ed25519(),
            data: data.to_vec(),
            application: self.application.clone(),
            handle: self.handle.clone(),
            touch: false,
            verify: false,
            pin: None,
        });
        (call, data)
    }

    /// Whether this assertion over these data was made by the key.
    pub(super) fn made(&self, data: &[u8], raw: &[u8], flags: u8, counter: u32) -> bool {
        let signature = security_key_blob(&self.public, raw, flags, counter);
        Verifier::new(&self.public).is_ok_and(|verifier| verifier.verify_blob(data, &signature).is_ok())
    }

    const fn is_ed25519(&self) -> bool {
        matches!(self.public, KeyMaterial::SkEd25519 { .. })
    }
}

/// What keys share: the devices, and the ways to people.
#[derive(Clone)]
pub struct Helpers {
    /// The devices.
    pub devices: Arc<Devices>,
    /// Says what to touch and what to plug in.
    pub notices: Arc<dyn TouchNotice>,
    /// Asks for PINs.
    pub prompt: Arc<dyn PinPrompt>,
}

/// A key on a FIDO device.
pub struct FidoKey {
    key: Handle,
    verifier: Verifier,
    helpers: Helpers,
}

impl FidoKey {
    /// Takes a key.
    ///
    /// # Errors
    /// Its public half is not on its curve.
    pub fn new(key: Handle, helpers: Helpers) -> Result<Self, Malformed> {
        let verifier = Verifier::new(&key.public).map_err(|error| Malformed::new(error.to_string()))?;
        Ok(Self { key, verifier, helpers })
    }

    async fn compute(&self, key: &Handle, data: &[u8], errand: &Errand) -> Result<Vec<u8>, SignError> {
        let mut sessions = choose::holders(key, &self.helpers, errand).await?;
        let touch = Touch::new(key, &self.helpers, errand);
        let wants_person = |session: &Session| key.wants_verification() || session.abilities().always_verify;
        if sessions.len() > 1 && sessions.iter().any(wants_person) {
            sessions = vec![choose::by_touch(key, &self.helpers, errand, sessions).await?];
        }
        let (session, answer, pin) = match sessions.pop() {
            Some(session) if sessions.is_empty() => self.sign_on(key, session, data, &touch, errand).await?,
            last => {
                let (session, answer) = sign_on_first(key, sessions.into_iter().chain(last), data, &touch).await?;
                (session, answer, None)
            }
        };
        let FidoAnswer::Assertion { raw, flags, counter } = answer else { return Err(session.nonsense().into()) };
        let demanded = flags_of(errand.demands);
        // What the authenticator did it signs, by the same bits: CTAP 2.1 section 6.1.
        if let Some(missing) = left_out(demanded & !flags) {
            return Err(FidoError::Hasty { device: session.device().name.clone(), missing }.into());
        }
        let signature = security_key_blob(&key.public, &raw, flags, counter);
        let device = session.device().name.clone();
        self.verifier.verify_blob(data, &signature).map_err(|_| FidoError::BadSignature { device })?;
        self.helpers.devices.note_holder(&key.handle, session.device());
        if let Some(pin) = pin {
            residents::learn(&self.helpers.devices, session, &pin);
        }
        Ok(signature)
    }

    /// Signs on one device, with its PIN or finger where the key or the device wants that. The PIN that was given comes back, accepted.
    async fn sign_on(
        &self,
        key: &Handle,
        mut session: Session,
        data: &[u8],
        touch: &Touch,
        errand: &Errand,
    ) -> Result<(Session, FidoAnswer, Option<Pin>), SignError> {
        let wanted = key.wants_verification() || session.abilities().always_verify;
        let verify = wanted && session.abilities().verification == Some(true);
        let mut pin = match wanted && !verify {
            true => Some(self.ask_pin(&session, errand).await?),
            false => None,
        };
        let mut answer = session.call(assertion(key, data, verify, pin.as_ref()), &mut touch.teller()).await;
        if let (None, Err(SignError::Fido(error))) = (&pin, &answer)
            && let Some(status) = error.status()
            && (status == PIN_REQUIRED || verify && FINGER_REFUSED.contains(&status))
        {
            // Asked once: a second wrong PIN in a row has to be the user's own decision. A touch that was declined is a refusal.
            pin = Some(self.ask_pin(&session, errand).await?);
            answer = session.call(assertion(key, data, false, pin.as_ref()), &mut touch.teller()).await;
        }
        Ok((session, answer?, pin))
    }

    async fn ask_pin(&self, session: &Session, errand: &Errand) -> Result<Pin, SignError> {
        let (device, abilities) = (session.device(), session.abilities());
        let failed = |cause| {
            let fault = FidoFault { cause, tries: None };
            SignError::from(FidoError::Fault { device: device.name.clone(), fault })
        };
        let refused = |status| failed(FidoCause::Status(status));
        let tries = match (abilities.pin, abilities.tries) {
            (Some(true), Some(0)) => return Err(refused(PIN_BLOCKED)),
            (Some(true), Some(1)) => TriesLeft::Final,
            (Some(true), Some(tries)) if tries < ALL_TRIES => TriesLeft::Left(tries),
            (Some(true), _) => TriesLeft::NoWarning,
            (Some(false), _) => return Err(refused(PIN_NOT_SET)),
            (None, _) => {
                let reason = "it knows no PIN, so it cannot verify its person, which is demanded";
                return Err(failed(FidoCause::Unable(reason.to_owned())));
            }
        };
        let question = PinQuestion {
            token: device.name.clone(),
            serial: device.serial.clone(),
            key: self.key.comment.clone(),
            tries,
            // A right one sets the counter back.
            after_refusal: tries != TriesLeft::NoWarning,
            errand: errand.clone(),
        };
        Ok(self.helpers.prompt.ask(question).await?)
    }
}

impl Signer for FidoKey {
    fn sign<'a>(
        &'a self,
        data: &'a [u8],
        _wanted: Wanted,
        errand: &'a Errand,
    ) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        Box::pin(async move { self.compute(&self.key.demanding(errand.demands), data, errand).await })
    }

    fn demands(&self) -> Demands {
        Demands { touch: self.key.wants_touch(), pin: self.key.wants_verification() }
    }

    fn can_demand(&self, _: Demands) -> Result<(), CannotDemand> {
        Ok(())
    }

    fn place(&self) -> Place {
        let holder = self.helpers.devices.holder(&self.key.handle);
        let state = match (self.key.wants_touch(), self.key.wants_verification()) {
            (true, true) => "needs PIN and touch",
            (true, false) => "needs touch",
            (false, true) => "needs PIN",
            (false, false) => "ready",
        };
        Place {
            token: holder.as_ref().map_or_else(|| "security key".to_owned(), |holder| holder.name.clone()),
            serial: holder.map(|holder| holder.serial).filter(|serial| !serial.is_empty()),
            state: state.to_owned(),
            ..Place::default()
        }
    }
}

/// Has several devices that say they hold the key ask for a touch; the first that signs wins, and the others are told to stop.
async fn sign_on_first(
    key: &Handle,
    sessions: impl Iterator<Item = Session>,
    data: &[u8],
    touch: &Touch,
) -> Result<(Session, FidoAnswer), SignError> {
    let mut signing = JoinSet::new();
    for mut session in sessions {
        let (call, mut tell) = (assertion(key, data, false, None), touch.teller());
        signing.spawn(async move { session.call(call, &mut tell).await.map(|answer| (session, answer)) });
    }
    let mut last = SignError::Fido(FidoError::NoDevice { key: key.comment.clone(), tried: Vec::new() });
    while let Some(signed) = signing.join_next().await {
        match signed {
            Ok(Ok(signed)) => return Ok(signed),
            // One no is an answer to all of them.
            Ok(Err(SignError::Fido(error))) if error.is_a_no() => return Err(error.into()),
            Ok(Err(error)) => last = error,
            Err(_) => {}
        }
    }
    Err(last)
}

fn assertion(key: &Handle, data: &[u8], verify: bool, pin: Option<&Pin>) -> FidoCall {
    FidoCall::Sign(FidoAssertion {
        is_ed25519: key.is_ed25519(),
        data: data.to_vec(),
        application: key.application.clone(),
        handle: key.handle.clone(),
        touch: key.wants_touch(),
        verify,
        pin: pin.map(|pin| SecretOctets(pin.expose_secret().to_vec().into())),
    })
}

/// The notice that a device waits for its touch: there from the moment when the first says so until none does any more.
struct Touch {
    text: String,
    errand: Errand,
    notices: Arc<dyn TouchNotice>,
    shown: Arc<Mutex<Shown>>,
}

#[derive(Default)]
struct Shown {
    waiting: usize,
    notice: Option<Box<dyn Send>>,
}

impl Touch {
    fn new(key: &Handle, helpers: &Helpers, errand: &Errand) -> Self {
        // It begins as stock's, by which some askpass programs know it.
        let purpose = if errand.purpose.is_empty() { String::new() } else { format!(", to {}", errand.purpose) };
        let key = field(key.comment.as_bytes());
        let text = format!("Confirm user presence for key {key}{purpose}: touch the security key");
        Self { text, errand: errand.clone(), notices: Arc::clone(&helpers.notices), shown: Arc::default() }
    }

    /// What is told of one device.
    fn teller(&self) -> impl FnMut(bool) + Send + 'static {
        let (text, errand) = (self.text.clone(), self.errand.clone());
        let (notices, shown) = (Arc::clone(&self.notices), Arc::clone(&self.shown));
        move |waits| {
            let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
            shown.waiting = if waits { shown.waiting + 1 } else { shown.waiting.saturating_sub(1) };
            match shown.waiting {
                0 => shown.notice = None,
                _ if shown.notice.is_none() => shown.notice = Some(notices.show(&text, &errand)),
                _ => {}
            }
        }
    }
}
