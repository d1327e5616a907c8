//! Security keys by handle, through a middleware library that the user allowed (`sk-provider@openssh.com`).
//!
//! Each signature has a worker process of its own: it may wait for a touch as long as the user takes, and delays nobody else.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::link::Link;
use super::pin::{Pin, PinPrompt, PinQuestion, TriesLeft};
use super::{BoxFuture, CannotDemand, Place, SignError, Signer};
use crate::crypto::fingerprint::FingerprintHash;
use crate::crypto::verify::Verifier;
use crate::errand::{Demands, Errand};
use crate::field::field;
use crate::ipc::{Answer, Assertion, Call, FaultKind, ModuleFault, SecretOctets};
use crate::protocol::Malformed;
use crate::protocol::private_key::{PrivateKey, Secret};
use crate::protocol::public_key::{Curve, KeyMaterial, PublicKey};
use crate::protocol::signature::{SignatureAlgorithm, Wanted};
use crate::protocol::wire::Put as _;

/// How long a key may wait for its touch.
const TOUCH_DEADLINE: Duration = Duration::from_secs(120);
/// `SSH_SK_USER_PRESENCE_REQD` (OpenSSH PROTOCOL.u2f).
pub(super) const USER_PRESENCE: u8 = 1;
/// `SSH_SK_USER_VERIFICATION_REQD` (OpenSSH PROTOCOL.u2f).
pub(super) const USER_VERIFICATION: u8 = 4;

/// A key that lives on a security key.
pub struct SecurityKey {
    provider: PathBuf,
    public: KeyMaterial,
    verifier: Verifier,
    application: String,
    handle: Vec<u8>,
    flags: u8,
    comment: String,
    notices: Arc<dyn TouchNotice>,
    prompt: Arc<dyn PinPrompt>,
}

/// Tells people to touch a key. Dropping what it returns takes the notice away.
pub trait TouchNotice: Send + Sync {
    /// Shows the notice.
    fn show(&self, text: &str, errand: &Errand) -> Box<dyn Send>;

    /// Whether a notice of this errand can be seen at all, so that waiting for what it says makes sense.
    fn reaches_a_person(&self, errand: &Errand) -> bool;
}

impl SecurityKey {
    /// Takes a handle that `ssh-add` sent.
    ///
    /// # Errors
    /// It is not a security key's.
    pub fn new(
        key: &PrivateKey<'_>,
        comment: &[u8],
        provider: PathBuf,
        notices: Arc<dyn TouchNotice>,
        prompt: Arc<dyn PinPrompt>,
    ) -> Result<Self, Malformed> {
        let public = key.public.material().clone();
        let Secret::SecurityKey { flags, handle } = key.secret else {
            return Err(Malformed::new("not a security key"));
        };
        let (KeyMaterial::SkEd25519 { application, .. } | KeyMaterial::SkEcdsa { application, .. }) = &public else {
            return Err(Malformed::new("not a security key"));
        };
        let verifier = Verifier::new(&public).map_err(|error| Malformed::new(error.to_string()))?;
        Ok(Self {
            provider,
            application: application.clone(),
            handle: handle.to_vec(),
            flags,
            comment: crate::text::excerpt(comment),
            verifier,
            public,
            notices,
            prompt,
        })
    }

    async fn assertion(&self, data: &[u8], pin: Option<&Pin>, errand: &Errand) -> Result<Answer, SignError> {
        let start = Call::StartMiddleware { library: self.provider.clone() };
        let mut link = Link::start(&self.provider, &start, &[], TOUCH_DEADLINE).await?;
        let call = Call::SignAssertion(Assertion {
            is_ed25519: matches!(self.public, KeyMaterial::SkEd25519 { .. }),
            data: data.to_vec(),
            application: self.application.clone(),
            handle: self.handle.clone(),
            flags: self.flags_for(errand),
            pin: pin.map(|pin| SecretOctets(pin.expose_secret().to_vec().into())),
        });
        let _notice =
            (self.flags_for(errand) & USER_PRESENCE != 0).then(|| self.notices.show(&self.touch_text(errand), errand));
        Ok(link.call(&call, TOUCH_DEADLINE).await?)
    }

    /// As stock has it, and which of several keys people call it.
    fn touch_text(&self, errand: &Errand) -> String {
        let fingerprint = FingerprintHash::Sha256.of(&PublicKey::from_material(self.public.clone()));
        let name =
            if self.comment.is_empty() { String::new() } else { format!(" ({})", field(self.comment.as_bytes())) };
        let purpose = if errand.purpose.is_empty() { String::new() } else { format!(", to {}", errand.purpose) };
        let kind = self.public.short_name();
        format!("Confirm user presence for key {kind} {fingerprint}{name}{purpose}: touch the security key")
    }

    async fn compute(&self, data: &[u8], errand: &Errand) -> Result<Vec<u8>, SignError> {
        let mut answer = match errand.demands.pin {
            true => None,
            false => Some(self.assertion(data, None, errand).await?),
        };
        if matches!(answer, None | Some(Answer::Failed(ModuleFault { kind: FaultKind::NotLoggedIn, .. }))) {
            // Asked once: a second wrong PIN in a row has to be the user's own decision.
            let question = PinQuestion {
                token: "security key".to_owned(),
                serial: String::new(),
                key: self.comment.clone(),
                tries: TriesLeft::NoWarning,
                after_refusal: false,
                errand: errand.clone(),
            };
            let pin = self.prompt.ask(question).await?;
            answer = Some(self.assertion(data, Some(&pin), errand).await?);
        }
        let demanded = flags_of(errand.demands);
        let fail = |reason: String| SignError::SecurityKey { provider: self.provider.display().to_string(), reason };
        match answer {
            // What the authenticator did it signs, by the same bits: CTAP 2.1 section 6.1.
            Some(Answer::Assertion { raw, flags, counter }) => {
                if let Some(missing) = left_out(demanded & !flags) {
                    return Err(fail(format!(
                        "the device signed without {missing}, though it was told to wait for that, so its signature was not passed on; \
                         the device or this library is at fault: use another one"
                    )));
                }
                let signature = security_key_blob(&self.public, &raw, flags, counter);
                let verified = self.verifier.verify_blob(data, &signature);
                verified.map_err(|_| fail("its signature does not verify, and was not passed on".to_owned()))?;
                Ok(signature)
            }
            Some(Answer::Failed(fault)) => Err(fail(fault.text)),
            _ => Err(fail("the worker answered another call".to_owned())),
        }
    }

    /// What the key was made to demand, and what the errand demands on top.
    fn flags_for(&self, errand: &Errand) -> u8 {
        self.flags | flags_of(errand.demands)
    }
}

/// What these flags of an assertion stand for, in words; none where nothing is left out.
pub(super) const fn left_out(flags: u8) -> Option<&'static str> {
    match (flags & USER_PRESENCE != 0, flags & USER_VERIFICATION != 0) {
        (true, true) => Some("a touch and without its PIN"),
        (true, false) => Some("a touch"),
        (false, true) => Some("its PIN"),
        (false, false) => None,
    }
}

/// The signature blob (OpenSSH PROTOCOL.u2f): as that of the plain algorithm, then flags and counter.
pub(super) fn security_key_blob(public: &KeyMaterial, raw: &[u8], flags: u8, counter: u32) -> Vec<u8> {
    let plain = match public {
        KeyMaterial::SkEd25519 { .. } => SignatureAlgorithm::Ed25519,
        _ => SignatureAlgorithm::Ecdsa(Curve::P256),
    };
    let mut blob = Vec::new();
    blob.put_string(public.algorithm().as_bytes());
    blob.extend_from_slice(&plain.encode(raw)[4 + plain.name().len()..]);
    blob.push(flags);
    blob.put_u32(counter);
    blob
}

impl Signer for SecurityKey {
    fn sign<'a>(
        &'a self,
        data: &'a [u8],
        _wanted: Wanted,
        errand: &'a Errand,
    ) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        Box::pin(self.compute(data, errand))
    }

    fn demands(&self) -> Demands {
        Demands { touch: self.flags & USER_PRESENCE != 0, pin: self.flags & USER_VERIFICATION != 0 }
    }

    fn can_demand(&self, _: Demands) -> Result<(), CannotDemand> {
        Ok(())
    }

    fn place(&self) -> Place {
        Place {
            token: "security key".to_owned(),
            module: Some(Path::new(&self.provider).display().to_string()),
            state: if self.flags & USER_PRESENCE != 0 { "needs touch" } else { "ready" }.to_owned(),
            ..Place::default()
        }
    }
}

/// The flags of a request for an assertion that demand this (OpenSSH PROTOCOL.u2f).
pub(super) const fn flags_of(demands: Demands) -> u8 {
    let touch = if demands.touch { USER_PRESENCE } else { 0 };
    let pin = if demands.pin { USER_VERIFICATION } else { 0 };
    touch | pin
}
