//! The firmware of Solo 2 and Nitrokey 3: `fido-authenticator` on `trussed`, with its storage in memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use ctaphid_app::{App as _, Command};
use fido_authenticator::{Authenticator, Config, Error, TrussedRequirements, UserPresence};
use heapless_bytes::Bytes;
use littlefs2_core::{DynFilesystem, path};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use trussed::ClientImplementation;
use trussed::backend::BackendId;
use trussed::pipe::{ServiceEndpoint, TrussedChannel};
use trussed::platform::{Platform, Syscall};
use trussed::service::Service;
use trussed::types::CoreContext;
use trussed::virt::{Store, StoreConfig, UserInterface};
use trussed_staging::StagingContext;
use trussed_staging::virt::{BackendIds, Dispatcher};

use super::{Call, older};
use crate::button::{Button, NoTouch};
use crate::packet::LONGEST;

/// A certificate and its key that say "hardkey tests", self-signed; firmware without them has no U2F.
const CERTIFICATE: &[u8] = include_bytes!("attestation.der");
const KEY: &[u8] = include_bytes!("attestation.key");
/// `authenticatorGetInfo`
const GET_INFO: u8 = 0x04;
const BACKENDS: &[BackendId<BackendIds>] = &[BackendId::Custom(BackendIds::StagingBackend), BackendId::Core];

/// What distinguishes one such key from the next.
#[derive(Clone, Debug)]
pub(crate) struct Solo {
    /// How many resident credentials fit; as many as the storage holds if `None`.
    pub(crate) residents: Option<u32>,
    /// It knows nothing that came after CTAP 2.0.
    pub(crate) is_old: bool,
}

/// Runs until nobody can call any more.
pub(super) fn run(model: &Solo, button: &Button, calls: &Receiver<Call>, answer: &dyn Fn(u64, Option<Vec<u8>>)) {
    let mut storage = StoreConfig::ram();
    let mut again = true;
    while again {
        again = storage.with_store(|store| {
            provision(store.internal);
            under_power(model, button, store, calls, answer)
        });
        storage.internal.format = false;
        storage.external.format = false;
    }
}

/// Serves calls until the power goes; whether it comes again.
fn under_power(
    model: &Solo,
    button: &Button,
    store: Store<'_>,
    calls: &Receiver<Call>,
    answer: &dyn Fn(u64, Option<Vec<u8>>),
) -> bool {
    let channel = TrussedChannel::new();
    let (requester, responder) = channel.split().expect("a new channel");
    let service = Service::with_dispatch(Board::new(store), Dispatcher::default());
    let endpoint = ServiceEndpoint::new(responder, CoreContext::new(path!("fido").into()), BACKENDS);
    let client = ClientImplementation::<_, Dispatcher>::new(requester, Direct { service, endpoint: [endpoint] }, None);
    let config = Config {
        max_resident_credential_count: model.residents,
        firmware_version: Some(1.into()),
        ..Config::new(LONGEST)
    };
    let mut authenticator = Authenticator::new(client, Finger(button), config);
    while let Ok(call) = calls.recv() {
        let (number, command, request) = match call {
            Call::PowerCycle => return true,
            Call::Cbor(number, request) => (number, Command::Cbor, request),
            Call::Msg(number, request) => (number, Command::Msg, request),
        };
        button.begin(number);
        if let (true, Command::Cbor, Some(status)) = (model.is_old, command, older::refuses(&request)) {
            answer(number, Some(vec![status]));
            continue;
        }
        let request = if model.is_old { older::translated(&request) } else { request };
        let mut response = Bytes::<LONGEST>::new();
        let outcome = catch_unwind(AssertUnwindSafe(|| authenticator.call(command, &request, &mut response)));
        let response = match request.as_slice() {
            [GET_INFO] if model.is_old => older::info(&response),
            _ => response.to_vec(),
        };
        answer(number, outcome.is_ok_and(|outcome| outcome.is_ok()).then_some(response));
    }
    false
}

/// What a factory writes into the key.
fn provision(internal: &dyn DynFilesystem) {
    for (folder, file, content) in
        [(path!("fido/x5c"), path!("fido/x5c/00"), CERTIFICATE), (path!("fido/sec"), path!("fido/sec/00"), KEY)]
    {
        internal.create_dir_all(folder).expect("room for a folder");
        internal.write(file, content).expect("room for a file");
    }
}

/// Asks the button instead of the board's pins.
#[derive(Clone, Copy)]
struct Finger<'a>(&'a Button);

impl UserPresence for Finger<'_> {
    fn user_present<T: TrussedRequirements>(self, _: &mut T, milliseconds: u32) -> Result<(), Error> {
        // U2F's quarter of a second is the firmware's; how long CTAP2 waits is for the test to say.
        let limit = (milliseconds == fido_authenticator::constants::U2F_UP_TIMEOUT)
            .then(|| Duration::from_millis(milliseconds.into()));
        self.0.ask(limit).map_err(|reason| match reason {
            NoTouch::Timeout => Error::UserActionTimeout,
            NoTouch::Denied => Error::OperationDenied,
            NoTouch::Cancelled => Error::KeepaliveCancel,
        })
    }
}

/// A system call into the service on the same thread.
struct Direct<'a> {
    service: Service<Board<'a>, Dispatcher>,
    endpoint: [ServiceEndpoint<'a, BackendIds, StagingContext>; 1],
}

impl Syscall for Direct<'_> {
    fn syscall(&mut self) {
        self.service.process(&mut self.endpoint);
    }
}

struct Board<'a> {
    random: ChaCha8Rng,
    store: Store<'a>,
    interface: UserInterface,
}

impl<'a> Board<'a> {
    fn new(store: Store<'a>) -> Self {
        Self { random: ChaCha8Rng::from_entropy(), store, interface: UserInterface::new() }
    }
}

impl<'a> Platform for Board<'a> {
    type R = ChaCha8Rng;
    type S = Store<'a>;
    type UI = UserInterface;

    fn user_interface(&mut self) -> &mut UserInterface {
        &mut self.interface
    }

    fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.random
    }

    fn store(&self) -> Store<'a> {
        self.store
    }
}
