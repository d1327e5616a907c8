//! Which device a key is on: asked in silence first, by a touch only where silence cannot tell, and never by trying a PIN.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::device::Device;
use super::error::FidoError;
use super::key::{Handle, Helpers};
use super::session::Session;
use crate::backend::SignError;
use crate::errand::Errand;
use crate::ipc::fido::{FidoAnswer, FidoCall};

/// How long a person may take to plug the device in.
const INSERTION: Duration = Duration::from_secs(60);
/// How often it is looked whether they did: the agent gets no word from the kernel of new devices.
const LOOK: Duration = Duration::from_millis(300);
/// How long a device may take, after it was plugged in, until this user may open it.
const UNREADY: Duration = Duration::from_secs(2);
/// `CTAP2_ERR_PUAT_REQUIRED`: nothing is told without a PIN.
const PIN_REQUIRED: u8 = 0x36;

/// What a device says of a key in silence.
enum Says {
    /// It holds it.
    Yes(Session),
    /// It may hold it, and tell only who gives its PIN or finger (credProtect 3, alwaysUv); or it says so without a proof.
    Perhaps(Session),
    /// It does not hold it; in words, for people.
    No(String),
    /// It could not be asked.
    Failed(SignError),
}

/// The devices that the key may be used on: those that say they hold it, else the one that it must be on. Where none is plugged in, a
/// notice says which key to insert, and this goes on when it is.
pub(super) async fn holders(key: &Handle, helpers: &Helpers, errand: &Errand) -> Result<Vec<Session>, SignError> {
    let mut notice = None;
    let end = Instant::now() + INSERTION;
    let mut looked_at = None;
    let mut unready_since: Option<Instant> = None;
    let mut tried = Vec::new();
    loop {
        let plugged = Device::all();
        if looked_at.as_ref() != Some(&plugged) {
            let found = look(key, helpers, errand, &plugged).await?;
            if !found.sessions.is_empty() {
                return Ok(found.sessions);
            }
            tried = found.reasons;
            let unready = found.unready.then(|| *unready_since.get_or_insert_with(Instant::now));
            if found.failed || unready.is_some_and(|since| since.elapsed() > UNREADY) {
                return Err(FidoError::NoDevice { key: key.comment.clone(), tried }.into());
            }
            unready_since = unready;
            looked_at = unready.is_none().then_some(plugged);
        }
        if !helpers.notices.reaches_a_person(errand) || Instant::now() >= end {
            return Err(FidoError::NoDevice { key: key.comment.clone(), tried }.into());
        }
        notice.get_or_insert_with(|| {
            helpers.notices.show(&format!("Plug in the security key that holds key {}", key.comment), errand)
        });
        sleep(LOOK).await;
    }
}

/// What came of a look at all devices.
#[derive(Default)]
struct Found {
    sessions: Vec<Session>,
    /// Why each other device does not serve.
    reasons: Vec<String>,
    /// One of them is not, or no longer, to be opened.
    unready: bool,
    /// One of them does not do what it should.
    failed: bool,
}

/// One look at all devices.
async fn look(key: &Handle, helpers: &Helpers, errand: &Errand, plugged: &[Device]) -> Result<Found, SignError> {
    // The one that signed last comes first: the others need not be disturbed.
    if let Some(holder) = helpers.devices.holder(&key.handle)
        && let Some(device) = plugged.iter().find(|device| device.is_same(&holder))
        && let Says::Yes(session) | Says::Perhaps(session) =
            says(key, Session::open(&helpers.devices, device).await).await
    {
        return Ok(Found { sessions: vec![session], ..Found::default() });
    }
    let mut asked = JoinSet::new();
    for device in plugged.iter().cloned() {
        let (key, helpers) = (key.clone(), helpers.clone());
        asked.spawn(async move {
            match Session::open_now(&helpers.devices, &device).await {
                Some(session) => Ok(says(&key, session).await),
                None => Err(device),
            }
        });
    }
    let (mut said, mut at_work) = (Vec::new(), Vec::new());
    while let Some(Ok(one)) = asked.join_next().await {
        match one {
            Ok(one) => said.push(one),
            Err(device) => at_work.push(device),
        }
    }
    // Those that are at work for others are waited for only where no other will do.
    if !said.iter().any(|said| matches!(said, Says::Yes(_))) {
        for device in at_work {
            said.push(says(key, Session::open(&helpers.devices, &device).await).await);
        }
    }
    let (mut found, mut possible) = (Found::default(), Vec::new());
    for said in said {
        match said {
            Says::Yes(session) => found.sessions.push(session),
            Says::Perhaps(session) => possible.push(session),
            Says::No(reason) => found.reasons.push(reason),
            Says::Failed(error) => {
                let is_unready = matches!(&error, SignError::Fido(error) if error.is_of_plugging());
                found.unready |= is_unready;
                found.failed |= !is_unready;
                found.reasons.push(error.to_string());
            }
        }
    }
    match (found.sessions.is_empty(), possible.len()) {
        (false, _) => {}
        (true, 0 | 1) => found.sessions = possible,
        (true, _) => found.sessions = vec![by_touch(key, helpers, errand, possible).await?],
    }
    Ok(found)
}

/// Asks one device.
async fn says(key: &Handle, session: Result<Session, SignError>) -> Says {
    let mut session = match session {
        Ok(session) => session,
        Err(error) => return Says::Failed(error),
    };
    let hides = session.abilities().pin == Some(true) || session.abilities().verification == Some(true);
    let (call, data) = key.preflight();
    match session.call(call, &mut |_| {}).await {
        // A PIN follows where a device says yes, so it has to be more than a word.
        Ok(FidoAnswer::Assertion { raw, flags, counter }) => match key.made(&data, &raw, flags, counter) {
            true => Says::Yes(session),
            false => Says::Perhaps(session),
        },
        // Devices that speak U2F have no proof to give, and get no PIN.
        Ok(FidoAnswer::Holds(true)) if !key.wants_verification() => Says::Yes(session),
        Ok(FidoAnswer::Holds(false)) if key.wants_verification() && hides => Says::Perhaps(session),
        Ok(FidoAnswer::Holds(true)) => Says::No(format!(
            "{}: it speaks U2F alone, and cannot verify its person as the key demands",
            session.device().name
        )),
        Ok(_) => Says::No(format!("{}: it does not hold this key", session.device().name)),
        Err(SignError::Fido(error)) if error.status() == Some(PIN_REQUIRED) => Says::Perhaps(session),
        Err(error) => Says::Failed(error),
    }
}

/// Has all of them blink for a key, and says so.
pub(super) async fn by_touch(
    key: &Handle,
    helpers: &Helpers,
    errand: &Errand,
    sessions: Vec<Session>,
) -> Result<Session, SignError> {
    let _notice = helpers.notices.show(&format!("Touch the security key that holds key {}", key.comment), errand);
    touched(sessions).await
}

/// Has all of them blink; the one that is touched is meant, the others are told that they are not.
///
/// # Errors
/// None was touched; what the last of them said.
pub async fn touched(sessions: Vec<Session>) -> Result<Session, SignError> {
    let tried = sessions.iter().map(|session| session.device().name.clone()).collect();
    let mut blinking = JoinSet::new();
    for mut session in sessions {
        blinking.spawn(async move {
            let touched = session.call(FidoCall::Select, &mut |_| {}).await;
            touched.map(|_| session)
        });
    }
    let mut last = SignError::Fido(FidoError::NoDevice { key: "the key".to_owned(), tried });
    while let Some(touched) = blinking.join_next().await {
        match touched {
            Ok(Ok(session)) => return Ok(session),
            // One no is an answer to all of them.
            Ok(Err(SignError::Fido(error))) if error.is_a_no() => return Err(error.into()),
            Ok(Err(error)) => last = error,
            Err(_) => {}
        }
    }
    Err(last)
}
