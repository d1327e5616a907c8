//! Google's OpenSK, which has a fingerprint reader; its storage is in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use opensk::api::clock::Clock;
use opensk::api::connection::{HidConnection, RecvStatus, UsbEndpoint};
use opensk::api::crypto::software_crypto::SoftwareCrypto;
use opensk::api::customization::{CustomizationImpl, DEFAULT_CUSTOMIZATION};
use opensk::api::fingerprint::{Ctap2EnrollFeedback, Fingerprint, FingerprintCheckError, FingerprintKind};
use opensk::api::key_store;
use opensk::api::persist::{Persist, PersistIter};
use opensk::api::rng::Rng;
use opensk::api::user_presence::{UserPresence, UserPresenceError, UserPresenceWaitResult};
use opensk::ctap::status_code::{Ctap2StatusCode, CtapResult};
use opensk::ctap::{Channel, CtapState};
use opensk::env::Env;
use rand_chacha::ChaCha8Rng;
use rand_core::{CryptoRng, RngCore, SeedableRng as _};

use super::Call;
use crate::button::{Button, NoTouch};

/// What the reader calls the finger that it knows.
const FINGER: &[u8] = b"thumb";
/// The firmware works for one channel at a time; which one is not its business here.
const CHANNEL: Channel = Channel::MainHid([0, 0, 0, 1]);
/// "Instruction not supported": this build has no U2F.
const NO_U2F: [u8; 2] = [0x6d, 0x00];

/// What distinguishes one such key from the next.
#[derive(Clone, Debug, Default)]
pub struct OpenSk {
    /// It knows a finger.
    pub fingerprint: bool,
    /// It wants verification for everything.
    pub always_verifies: bool,
    /// What is stored on it.
    pub memory: Memory,
}

/// The flash memory of a key; clones are the same memory.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<BTreeMap<usize, Vec<u8>>>>);

impl Memory {
    /// Another memory with the same content, as nobody can make of a real key.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.lock().clone())))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} entries", self.lock().len())
    }
}

/// Runs until nobody can call any more.
pub(super) fn run(model: &OpenSk, button: &Button, calls: &Receiver<Call>, answer: &dyn Fn(u64, Option<Vec<u8>>)) {
    let mut again = true;
    while again {
        again = under_power(model, button, calls, answer);
    }
}

/// Serves calls until the power goes; whether it comes again.
fn under_power(model: &OpenSk, button: &Button, calls: &Receiver<Call>, answer: &dyn Fn(u64, Option<Vec<u8>>)) -> bool {
    let mut board = Board::new(model, button);
    let mut state = CtapState::new(&mut board);
    if model.fingerprint && board.template_infos().is_ok_and(|known| known.is_empty()) {
        board.store_template_id(FINGER.to_vec()).expect("room for a finger");
    }
    while let Ok(call) = calls.recv() {
        match call {
            Call::PowerCycle => return true,
            Call::Cbor(number, request) => {
                button.begin(number);
                let serve = || state.process_command(&mut board, &request, CHANNEL);
                answer(number, catch_unwind(AssertUnwindSafe(serve)).ok());
            }
            Call::Msg(number, _) => answer(number, Some(NO_U2F.to_vec())),
        }
    }
    false
}

struct Board<'a> {
    finger: Finger<'a>,
    memory: Memory,
    random: Random,
    time: Time,
    customization: CustomizationImpl,
}

impl<'a> Board<'a> {
    fn new(model: &OpenSk, button: &'a Button) -> Self {
        Self {
            finger: Finger { button, ended: None },
            memory: model.memory.clone(),
            random: Random(ChaCha8Rng::from_entropy()),
            time: Time,
            customization: CustomizationImpl { enforce_always_uv: model.always_verifies, ..DEFAULT_CUSTOMIZATION },
        }
    }
}

/// Button, fingerprint reader and line to the host: while it waits for the finger the firmware learns by the line alone that it is over.
struct Finger<'a> {
    button: &'a Button,
    ended: Option<Ctap2StatusCode>,
}

impl UserPresence for Finger<'_> {
    fn check_init(&mut self) {}

    fn wait_with_timeout(&mut self, _: &mut [u8; 64], _: usize) -> UserPresenceWaitResult {
        let touched = match self.button.ask(None) {
            Err(NoTouch::Denied) => Err(UserPresenceError::Declined),
            Err(NoTouch::Cancelled) => Err(UserPresenceError::Canceled),
            Err(NoTouch::Timeout) => {
                self.ended = Some(Ctap2StatusCode::CTAP2_ERR_ACTION_TIMEOUT);
                Err(UserPresenceError::Timeout)
            }
            Ok(()) => Ok(()),
        };
        Ok((touched, RecvStatus::Timeout))
    }

    fn check_complete(&mut self) {}
}

impl Fingerprint for Finger<'_> {
    fn prepare_enrollment(&mut self) -> CtapResult<()> {
        Ok(())
    }

    fn capture_sample(&mut self, _: Option<usize>) -> CtapResult<(Ctap2EnrollFeedback, usize, Option<Vec<u8>>)> {
        Ok((Ctap2EnrollFeedback::FpGood, 0, Some(FINGER.to_vec())))
    }

    fn cancel_enrollment(&mut self) -> CtapResult<()> {
        Ok(())
    }

    fn remove_enrollment(&mut self, _: &[u8]) -> CtapResult<()> {
        Ok(())
    }

    fn check_fingerprint_init(&mut self) -> CtapResult<()> {
        Ok(())
    }

    fn check_fingerprint(&mut self, _: usize) -> Result<(), FingerprintCheckError> {
        let ended = match self.button.ask(None) {
            Ok(()) if self.button.is_known_finger() => return Ok(()),
            Ok(()) => return Err(FingerprintCheckError::NoMatch),
            Err(NoTouch::Denied) => Ctap2StatusCode::CTAP2_ERR_OPERATION_DENIED,
            Err(NoTouch::Cancelled) => Ctap2StatusCode::CTAP2_ERR_KEEPALIVE_CANCEL,
            Err(NoTouch::Timeout) => Ctap2StatusCode::CTAP2_ERR_USER_ACTION_TIMEOUT,
        };
        self.ended = Some(ended);
        Err(FingerprintCheckError::Timeout)
    }

    fn check_fingerprint_complete(&mut self) -> CtapResult<()> {
        Ok(())
    }

    fn fingerprint_kind(&self) -> FingerprintKind {
        FingerprintKind::Touch
    }

    fn max_capture_samples_required_for_enroll(&self) -> usize {
        1
    }
}

impl HidConnection for Finger<'_> {
    /// Keep-alives are sent elsewhere.
    fn send(&mut self, _: &[u8; 64], _: UsbEndpoint) -> CtapResult<()> {
        self.ended.take().map_or(Ok(()), Err)
    }

    fn recv(&mut self, _: &mut [u8; 64], _: usize) -> CtapResult<RecvStatus> {
        Ok(RecvStatus::Timeout)
    }
}

impl Persist for Board<'_> {
    fn find(&self, key: usize) -> CtapResult<Option<Vec<u8>>> {
        Ok(self.memory.lock().get(&key).cloned())
    }

    fn insert(&mut self, key: usize, value: &[u8]) -> CtapResult<()> {
        self.memory.lock().insert(key, value.to_vec());
        Ok(())
    }

    fn remove(&mut self, key: usize) -> CtapResult<()> {
        self.memory.lock().remove(&key);
        Ok(())
    }

    fn iter(&self) -> CtapResult<PersistIter<'_>> {
        let keys: Vec<usize> = self.memory.lock().keys().copied().collect();
        Ok(Box::new(keys.into_iter().map(Ok)))
    }
}

struct Random(ChaCha8Rng);

impl RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn fill_bytes(&mut self, octets: &mut [u8]) {
        self.0.fill_bytes(octets);
    }

    fn try_fill_bytes(&mut self, octets: &mut [u8]) -> Result<(), rand_core::Error> {
        self.0.try_fill_bytes(octets)
    }
}

impl CryptoRng for Random {}
impl Rng for Random {}

struct Time;

impl Clock for Time {
    /// When it is over; `None` is a timer that never ran.
    type Timer = Option<Instant>;

    fn make_timer(&mut self, milliseconds: usize) -> Self::Timer {
        Some(Instant::now() + Duration::from_millis(milliseconds as u64))
    }

    fn is_elapsed(&mut self, timer: &Self::Timer) -> bool {
        timer.is_none_or(|end| end <= Instant::now())
    }
}

/// What the firmware says to its developers.
struct Silence;

impl fmt::Write for Silence {
    fn write_str(&mut self, _: &str) -> fmt::Result {
        Ok(())
    }
}

impl key_store::Helper for Board<'_> {}

impl<'a> Env for Board<'a> {
    type Rng = Random;
    type UserPresence = Finger<'a>;
    type Persist = Self;
    type KeyStore = Self;
    type Write = Silence;
    type Customization = CustomizationImpl;
    type HidConnection = Finger<'a>;
    type Clock = Time;
    type Crypto = SoftwareCrypto;
    type Fingerprint = Finger<'a>;

    fn rng(&mut self) -> &mut Random {
        &mut self.random
    }

    fn user_presence(&mut self) -> &mut Finger<'a> {
        &mut self.finger
    }

    fn persist(&mut self) -> &mut Self {
        self
    }

    fn key_store(&mut self) -> &mut Self {
        self
    }

    fn clock(&mut self) -> &mut Time {
        &mut self.time
    }

    fn fingerprint(&mut self) -> &mut Finger<'a> {
        &mut self.finger
    }

    fn write(&mut self) -> Silence {
        Silence
    }

    fn customization(&self) -> &CustomizationImpl {
        &self.customization
    }

    fn hid_connection(&mut self) -> &mut Finger<'a> {
        &mut self.finger
    }

    fn boots_after_soft_reset(&self) -> bool {
        false
    }
}
