//! The firmware's operating system (trussed) and its two applications, with storage in files.

use std::io;
use std::path::Path;

use heapless::VecView;
use iso7816::Status;
use iso7816::command::CommandView;
use rand_chacha::ChaCha8Rng;
use rand_core::{OsRng, SeedableRng as _};
use trussed::backend::{Backend as _, BackendId};
use trussed::pipe::TrussedChannel;
use trussed::platform::Platform;
use trussed::serde_extensions::{ExtensionDispatch, ExtensionId, ExtensionImpl as _};
use trussed::service::ServiceResources;
use trussed::types::Context;
use trussed::virt::{Client, Runner, StorageConfig, Store, StoreConfig, UserInterface};
use trussed_auth::AuthExtension;
use trussed_auth_backend::{AuthBackend, AuthContext, FilesystemLayout};
use trussed_chunked::ChunkedExtension;
use trussed_core::Error;
use trussed_core::api::{Reply, Request, reply, request};
use trussed_core::types::{Bytes, Location};
use trussed_hpke::HpkeExtension;
use trussed_rsa_alloc::SoftwareRsa;
use trussed_staging::{StagingBackend, StagingContext};
use trussed_wrap_key_to_file::WrapKeyToFileExtension;

use crate::commands::{Application, Commands};
use crate::reader::{Event, Reader};

/// Serves a PIV card until the reader is gone.
pub(crate) fn piv(folder: &Path, reader: Reader) -> io::Result<()> {
    let options = piv_authenticator::Options::default();
    run("piv", folder, reader, |client| Box::new(Piv(piv_authenticator::Authenticator::new(client, options.clone()))))
}

/// Serves an OpenPGP card until the reader is gone.
pub(crate) fn openpgp(folder: &Path, reader: Reader) -> io::Result<()> {
    run("opcard", folder, reader, |client| Box::new(OpenPgp(opcard::Card::new(client, opcard::Options::default()))))
}

type Trussed<'a> = Client<'a, Services>;

struct Piv<'a>(piv_authenticator::Authenticator<Trussed<'a>>);

impl Application for Piv<'_> {
    fn name(&self) -> &'static [u8] {
        &[0xa0, 0, 0, 3, 8, 0, 0, 0x10, 0, 1, 0]
    }

    fn serve(&mut self, command: CommandView<'_>, answer: &mut VecView<u8>) -> Result<(), Status> {
        self.0.respond(command, answer)
    }
}

struct OpenPgp<'a>(opcard::Card<Trussed<'a>>);

impl Application for OpenPgp<'_> {
    fn name(&self) -> &'static [u8] {
        &[0xd2, 0x76, 0, 1, 0x24, 1]
    }

    fn serve(&mut self, command: CommandView<'_>, answer: &mut VecView<u8>) -> Result<(), Status> {
        self.0.handle(command, answer)
    }
}

/// Runs an application, anew after each reset, until the reader is gone.
fn run(
    name: &str,
    folder: &Path,
    mut reader: Reader,
    application: impl for<'a> Fn(Trussed<'a>) -> Box<dyn Application + 'a>,
) -> io::Result<()> {
    let file = |name| StorageConfig::filesystem(folder.join(name));
    let mut storage =
        StoreConfig { internal: file("internal"), external: file("external"), volatile: StorageConfig::ram() };
    loop {
        let next: io::Result<Option<Event>> = storage.with_store(|store| {
            let channel = TrussedChannel::new();
            let mut runner = Runner::new();
            let (requester, responder) =
                channel.split().ok_or_else(|| io::Error::other("the channel to the firmware is in use"))?;
            runner.add_endpoint(responder, name, BACKENDS);
            let client = Client::new(requester, runner.syscall(), None);
            let device = Device {
                random: ChaCha8Rng::from_rng(OsRng).map_err(|error| io::Error::other(error.to_string()))?,
                store,
                buttons: UserInterface::new(),
            };
            runner.run(device, Services::new(), || {
                let mut application = application(client);
                let mut commands = Commands::new(folder);
                loop {
                    match reader.next()? {
                        Some(Event::Command(octets)) => reader.answer(&commands.serve(&octets, &mut *application))?,
                        other => return Ok(other),
                    }
                }
            })
        });
        if next?.is_none() {
            return Ok(());
        }
        storage.internal.format = false;
        storage.external.format = false;
    }
}

/// The device below the firmware. Unlike the one that trussed brings for its own tests no two are alike.
struct Device<'a> {
    random: ChaCha8Rng,
    store: Store<'a>,
    buttons: UserInterface,
}

impl<'a> Platform for Device<'a> {
    type R = ChaCha8Rng;
    type S = Store<'a>;
    type UI = UserInterface;

    fn rng(&mut self) -> &mut Self::R {
        &mut self.random
    }

    fn store(&self) -> Self::S {
        self.store
    }

    fn user_interface(&mut self) -> &mut Self::UI {
        &mut self.buttons
    }
}

const BACKENDS: &[BackendId<Service>] = &[
    BackendId::Custom(Service::Staging),
    BackendId::Custom(Service::Auth),
    BackendId::Custom(Service::Rsa),
    BackendId::Core,
];

/// A service beside trussed's own.
#[derive(Clone, Copy)]
enum Service {
    Auth,
    Rsa,
    Staging,
}

/// The services that the applications need.
struct Services {
    auth: AuthBackend,
    staging: StagingBackend,
}

#[derive(Default)]
struct Contexts {
    auth: AuthContext,
    staging: StagingContext,
}

/// What the applications ask of a service.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Extension {
    Auth,
    Chunked,
    Hpke,
    WrapKeyToFile,
}

impl From<Extension> for u8 {
    fn from(extension: Extension) -> Self {
        extension as Self
    }
}

impl TryFrom<u8> for Extension {
    type Error = Error;

    fn try_from(number: u8) -> Result<Self, Error> {
        let all = [Self::Auth, Self::Chunked, Self::Hpke, Self::WrapKeyToFile];
        all.into_iter().find(|extension| u8::from(*extension) == number).ok_or(Error::InternalError)
    }
}

impl Services {
    fn new() -> Self {
        let key = Bytes::try_from(&b"not a secret"[..]).unwrap_or_default();
        Self {
            auth: AuthBackend::with_hw_key(Location::Internal, key, FilesystemLayout::V1),
            staging: StagingBackend::new(),
        }
    }
}

impl ExtensionDispatch for Services {
    type BackendId = Service;
    type Context = Contexts;
    type ExtensionId = Extension;

    fn core_request<P: Platform>(
        &mut self,
        service: &Service,
        context: &mut Context<Contexts>,
        request: &Request,
        resources: &mut ServiceResources<P>,
    ) -> Result<Reply, Error> {
        let Context { core, backends, .. } = context;
        match service {
            Service::Auth => self.auth.request(core, &mut backends.auth, request, resources),
            Service::Staging => self.staging.request(core, &mut backends.staging, request, resources),
            Service::Rsa => SoftwareRsa.request(core, &mut (), request, resources),
        }
    }

    fn extension_request<P: Platform>(
        &mut self,
        service: &Service,
        extension: &Extension,
        context: &mut Context<Contexts>,
        request: &request::SerdeExtension,
        resources: &mut ServiceResources<P>,
    ) -> Result<reply::SerdeExtension, Error> {
        let Context { core, backends, .. } = context;
        macro_rules! staging {
            ($extension:ty) => {
                trussed::serde_extensions::ExtensionImpl::<$extension>::extension_request_serialized(
                    &mut self.staging,
                    core,
                    &mut backends.staging,
                    request,
                    resources,
                )
            };
        }
        match (service, extension) {
            (Service::Auth, Extension::Auth) => {
                self.auth.extension_request_serialized(core, &mut backends.auth, request, resources)
            }
            (Service::Staging, Extension::Chunked) => staging!(ChunkedExtension),
            (Service::Staging, Extension::Hpke) => staging!(HpkeExtension),
            (Service::Staging, Extension::WrapKeyToFile) => staging!(WrapKeyToFileExtension),
            _ => Err(Error::RequestNotAvailable),
        }
    }
}

macro_rules! offers {
    ($($extension:ty => $id:ident),*) => {
        $(impl ExtensionId<$extension> for Services {
            type Id = Extension;
            const ID: Extension = Extension::$id;
        })*
    };
}

offers!(AuthExtension => Auth, ChunkedExtension => Chunked, HpkeExtension => Hpke, WrapKeyToFileExtension => WrapKeyToFile);
