//! A stand-in of systemd-logind (org.freedesktop.login1(5)): as much of it as tells of locked screens and sleep.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io::PipeReader;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use futures_core::Stream as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc;
use zbus::connection::Builder;
use zbus::message::Type;
use zbus::{Connection, Fd, Message, MessageStream, ObjectPath, Variant};

use crate::bus::Bus;
use crate::wait::SOON;

const MANAGER: &str = "org.freedesktop.login1.Manager";
const SESSION: &str = "org.freedesktop.login1.Session";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// What logind says.
#[derive(Debug, Clone, Copy)]
pub enum Said {
    /// The signal by which it asks a session, by its number, to lock its screen.
    Lock(u32),
    /// The property by which a session says whether its screen is locked.
    LockedHint(u32, bool),
    /// The machine is about to sleep, or awake again.
    PrepareForSleep(bool),
}

/// A client that wants a moment before the machine sleeps: its name on the bus, and the end of a pipe whose other end it holds.
type Delay = (String, PipeReader);

/// The stand-in, until it is dropped. Session 1 is of the user who runs the tests, session 2 another user's.
pub struct Logind {
    orders: Option<mpsc::UnboundedSender<Said>>,
    delays: Arc<Mutex<Vec<Delay>>>,
    thread: Option<JoinHandle<()>>,
}

impl Logind {
    /// Starts it on a bus.
    ///
    /// # Panics
    /// When the bus does not let it.
    #[must_use]
    pub fn start(bus: &Bus) -> Self {
        let address = bus.address().to_owned();
        let (orders, receiver) = mpsc::unbounded_channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let delays: Arc<Mutex<Vec<Delay>>> = Arc::default();
        let kept = Arc::clone(&delays);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let connection = Builder::address(&*address).build().await.expect("a bus");
                let calls = MessageStream::from(&connection);
                connection.request_name("org.freedesktop.login1").await.expect("its name");
                ready.send(()).expect("the test waits");
                serve(&connection, calls, receiver, &kept).await;
            });
        });
        is_ready.recv_timeout(SOON).expect("a stand-in of logind");
        Self { orders: Some(orders), delays, thread: Some(thread) }
    }

    /// Says something.
    ///
    /// # Panics
    /// When the bus is gone.
    pub fn says(&self, said: Said) {
        self.orders.as_ref().and_then(|orders| orders.send(said).ok()).expect("the stand-in runs");
    }

    /// How many clients want a moment before the machine sleeps.
    #[must_use]
    pub fn delays(&self) -> usize {
        self.clients().len()
    }

    /// Their names on the bus.
    #[must_use]
    pub fn clients(&self) -> Vec<String> {
        let mut delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody writes into the pipe, so there is news only when its other end is closed.
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        delays.retain(|(_, pipe)| poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&now)) == Ok(0));
        delays.iter().map(|(name, _)| name.clone()).collect()
    }
}

impl Drop for Logind {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn serve(
    connection: &Connection,
    mut calls: MessageStream,
    mut orders: mpsc::UnboundedReceiver<Said>,
    delays: &Mutex<Vec<Delay>>,
) {
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(said) => said.emit(connection).await.expect("a signal"),
                None => return,
            },
            call = next(&mut calls) => match call {
                Some(Ok(call)) if call.header().message_type() == Type::MethodCall => answer(connection, &call, delays).await.expect("an answer"),
                Some(Ok(_)) => {}
                _ => return,
            },
        }
    }
}

async fn next(calls: &mut MessageStream) -> Option<zbus::Result<Message>> {
    poll_fn(|context| Pin::new(&mut *calls).poll_next(context)).await
}

impl Said {
    async fn emit(self, connection: &Connection) -> zbus::Result<()> {
        let nobody = None::<&str>;
        match self {
            Self::Lock(session) => connection.emit_signal(nobody, path(session), SESSION, "Lock", &()).await,
            Self::PrepareForSleep(begins) => {
                connection.emit_signal(nobody, "/org/freedesktop/login1", MANAGER, "PrepareForSleep", &begins).await
            }
            Self::LockedHint(session, hint) => {
                let changed = HashMap::from([("LockedHint", Variant::from(hint))]);
                let body = (SESSION, changed, Vec::<&str>::new());
                connection.emit_signal(nobody, path(session), PROPERTIES, "PropertiesChanged", &body).await
            }
        }
    }
}

async fn answer(connection: &Connection, call: &Message, delays: &Mutex<Vec<Delay>>) -> zbus::Result<()> {
    let header = call.header();
    match header.member().map(|member| member.as_str()) {
        Some("Inhibit") => {
            let asked: (String, String, String, String) = call.body().deserialize()?;
            assert_eq!((asked.0.as_str(), asked.3.as_str()), ("sleep", "delay"));
            let name = header.sender().expect("a sender").to_string();
            let (ours, theirs) = std::io::pipe()?;
            delays.lock().unwrap_or_else(PoisonError::into_inner).push((name, ours));
            connection.reply(&header, &Fd::from(OwnedFd::from(theirs))).await
        }
        Some("Get") => {
            let own = rustix::process::getuid().as_raw();
            let user = if header.path().is_some_and(|at| *at == path(1)) { own } else { own + 1 };
            let user = (user, ObjectPath::try_from("/org/freedesktop/login1/user/self").expect("a path"));
            connection.reply(&header, &Variant::from(user)).await
        }
        _ => connection.reply_error(&header, "org.freedesktop.DBus.Error.UnknownMethod", &"not here").await,
    }
}

/// Where a session is: the first digit of its number is escaped, as logind does.
fn path(session: u32) -> ObjectPath<'static> {
    ObjectPath::try_from(format!("/org/freedesktop/login1/session/_3{session}")).expect("a path")
}
