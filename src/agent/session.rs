//! The user's session, as systemd-logind or elogind tells of it over the system bus (org.freedesktop.login1(5)): a screen that is locked, and a machine that
//! is about to sleep.
//!
//! All of it is optional: where there is no bus or no logind, nothing is told, and a sleep is noticed afterwards by the clocks ([`crate::clock`]).

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream as _;
use zbus::message::Type;
use zbus::{Connection, Message, MessageStream, OwnedFd, OwnedObjectPath, OwnedVariant, Variant};

use super::Agent;
use crate::consent::bus;

const NAME: &str = "org.freedesktop.login1";
const BUS: &str = "org.freedesktop.DBus";
const MANAGER: &str = "org.freedesktop.login1.Manager";
const SESSION: &str = "org.freedesktop.login1.Session";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// What the bus is to pass on.
const RULES: [&str; 4] = [
    "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.freedesktop.login1'",
    "type='signal',sender='org.freedesktop.login1',interface='org.freedesktop.login1.Manager',member='PrepareForSleep'",
    "type='signal',sender='org.freedesktop.login1',interface='org.freedesktop.login1.Session',member='Lock'",
    "type='signal',sender='org.freedesktop.login1',interface='org.freedesktop.DBus.Properties',member='PropertiesChanged',\
     arg0='org.freedesktop.login1.Session'",
];

/// How long after the bus went away it is looked for; doubles as long as it is not there.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Why the person is not there any more, as far as the agent can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Locked,
    Sleeps,
}

/// A connection to the bus at which logind is, was or will be.
struct Logind<'a> {
    agent: &'a Agent,
    connection: Connection,
    /// Its name on the bus, which nobody else can have.
    owner: Option<String>,
    /// As long as it is held, logind waits a moment before it lets the machine sleep.
    delay: Option<OwnedFd>,
}

impl Agent {
    /// Takes back what was allowed to whoever sat here, whenever the screen is locked or the machine is about to sleep. For ever.
    pub(super) async fn follow_session(&self) {
        let address = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").ok().filter(|address| !address.is_empty());
        let address = address.as_deref().unwrap_or("unix:path=/var/run/dbus/system_bus_socket");
        let mut pause = PAUSE;
        loop {
            match Logind::find(self, address).await {
                Ok((logind, signals)) => {
                    pause = PAUSE;
                    logind.follow(signals).await;
                    tracing::debug!("the system bus went away");
                }
                Err(error) => tracing::debug!("the screen's lock is not noticed: {error}"),
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    fn left(&self, left: Left) {
        let why = match left {
            Left::Locked => "the screen was locked",
            Left::Sleeps => "the machine is about to sleep",
        };
        self.providers.release();
        self.end_approvals(None, why);
        tracing::info!("{why}; PINs and approvals are forgotten");
    }
}

impl<'a> Logind<'a> {
    async fn find(agent: &'a Agent, address: &str) -> Result<(Self, MessageStream), String> {
        let connection = bus::connect(address).await?;
        // Before anything is asked for, so that nothing is missed.
        let signals = MessageStream::from(&connection);
        for rule in RULES {
            let added = connection.call_method(Some(BUS), "/org/freedesktop/DBus", Some(BUS), "AddMatch", &rule).await;
            added.map_err(|error| error.to_string())?;
        }
        let owner = connection.call_method(Some(BUS), "/org/freedesktop/DBus", Some(BUS), "GetNameOwner", &NAME).await;
        // It may come later.
        let owner = owner.ok().and_then(|reply| reply.body().deserialize().ok());
        let mut logind = Self { agent, connection, owner, delay: None };
        logind.hold_sleep().await;
        Ok((logind, signals))
    }

    /// Follows what it says until the bus is gone.
    async fn follow(mut self, mut signals: MessageStream) {
        while let Some(Ok(message)) = poll_fn(|context| Pin::new(&mut signals).poll_next(context)).await {
            self.take(&message).await;
        }
    }

    async fn take(&mut self, message: &Message) {
        let header = message.header();
        if header.message_type() != Type::Signal {
            return;
        }
        // Anybody on the bus may send signals that look like these.
        let sender = header.sender().map(|sender| sender.as_str());
        let (interface, member) =
            (header.interface().map(|name| name.as_str()), header.member().map(|name| name.as_str()));
        let (Some(sender), Some(interface), Some(member)) = (sender, interface, member) else { return };
        if sender == BUS {
            if let ("NameOwnerChanged", Ok((NAME, _, owner))) =
                (member, message.body().deserialize::<(&str, &str, &str)>())
            {
                self.owner = Some(owner.to_owned()).filter(|owner| !owner.is_empty());
                self.delay = None;
                self.hold_sleep().await;
            }
            return;
        }
        if self.owner.as_deref() != Some(sender) {
            return;
        }
        match (interface, member) {
            (MANAGER, "PrepareForSleep") => match message.body().deserialize() {
                Ok(false) => self.hold_sleep().await,
                _ => {
                    self.agent.left(Left::Sleeps);
                    self.delay = None;
                }
            },
            (SESSION, "Lock") if self.is_own(message).await => self.agent.left(Left::Locked),
            (PROPERTIES, "PropertiesChanged") if says_locked(message) && self.is_own(message).await => {
                self.agent.left(Left::Locked);
            }
            _ => {}
        }
    }

    /// Whether a signal is about a session of the user. If that cannot be found out it counts as one.
    async fn is_own(&self, message: &Message) -> bool {
        let user = async {
            let header = message.header();
            let (owner, path) = (self.owner.as_deref()?, header.path()?);
            let user =
                self.connection.call_method(Some(owner), path, Some(PROPERTIES), "Get", &(SESSION, "User")).await;
            let user: OwnedVariant = user.ok()?.body().deserialize().ok()?;
            <(u32, OwnedObjectPath)>::try_from(user).ok()
        };
        user.await.is_none_or(|(user, _)| user == rustix::process::getuid().as_raw())
    }

    /// Asks for a moment before each sleep. Where that is refused the PINs are forgotten somewhat later, at the latest when the machine wakes.
    async fn hold_sleep(&mut self) {
        let Some(owner) = self.owner.as_deref() else { return };
        let arguments = ("sleep", "hardkey", "forgets PINs", "delay");
        let held = self
            .connection
            .call_method(Some(owner), "/org/freedesktop/login1", Some(MANAGER), "Inhibit", &arguments)
            .await;
        self.delay = held.ok().and_then(|reply| reply.body().deserialize().ok());
    }
}

fn says_locked(message: &Message) -> bool {
    let body = message.body();
    let Ok((_, changed, _)) = body.deserialize::<(&str, HashMap<&str, Variant<'_>>, Vec<&str>)>() else {
        return false;
    };
    changed.get("LockedHint").is_some_and(|hint| *hint == Variant::Bool(true))
}
