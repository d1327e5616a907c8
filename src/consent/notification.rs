//! Desktop notifications: org.freedesktop.Notifications of the Desktop Notifications Specification 1.2.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream as _;
use tokio::time::Instant;
use zbus::Variant;
use zbus::message::Type;
use zbus::{Connection, MatchRule, Message, MessageStream};

use super::bus;
use super::dialog::Allowed;
use super::view::{Broken, Reply, View};

const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";
/// Longer texts are not shown as a whole by any daemon.
const LONGEST_BODY: usize = 2000;

/// How a notification stands out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Urgency {
    Normal = 1,
    /// Stays until it is closed.
    Critical = 2,
}

/// A notification daemon.
pub(super) struct Daemon {
    connection: Connection,
    capabilities: Vec<String>,
    /// Its name on the bus, which nobody else can have.
    owner: String,
}

/// A notification on the screen; closed when dropped, if it does not close by itself.
struct Shown {
    connection: Connection,
    number: u32,
    urgency: Urgency,
}

impl Daemon {
    /// Finds the daemon of the bus at this address.
    ///
    /// # Errors
    /// A text: there is none, or it does not answer.
    pub(super) async fn find(address: &str) -> Result<Self, Broken> {
        let broken = |error: String| Broken::of("notification daemon", error);
        let connection = bus::connect(address).await.map_err(broken)?;
        let reply = call(&connection, "GetCapabilities", &()).await?;
        let capabilities = reply.body().deserialize().map_err(|error| broken(error.to_string()))?;
        let owner = reply.header().sender().map(ToString::to_string);
        let owner = owner.ok_or_else(|| broken("its answer has no sender".to_owned()))?;
        Ok(Self { connection, capabilities, owner })
    }

    /// Asks by buttons; with the moment at which the notification appeared. Only its button "Allow" is a yes: not a click on it, and not
    /// its end.
    pub(super) async fn confirm(&self, view: &View) -> Result<(Reply, Instant), Broken> {
        if !self.can("actions") {
            return Err(Broken("the notification daemon shows no buttons".to_owned()));
        }
        let mut buttons = vec!["deny", "Deny", "allow", "Allow"];
        if let Some(offer) = &view.offer {
            buttons.extend(["offer", offer]);
        }
        if view.can_mute {
            buttons.extend(["mute", "Deny and mute"]);
        }
        let rule = MatchRule::builder().msg_type(Type::Signal).interface(NAME).sender(&*self.owner).build();
        let rule = rule.map_err(|error| Broken::of("notification daemon", error))?;
        let signals = MessageStream::for_match_rule(rule, &self.connection, None).await;
        let mut signals = signals.map_err(|error| Broken::of("notification daemon", error))?;
        let shown = self.show(&view.text, &buttons, Urgency::Critical).await?;
        let since = Instant::now();
        loop {
            let signal = std::future::poll_fn(|context| Pin::new(&mut signals).poll_next(context)).await;
            let Some(Ok(signal)) = signal else { return Err(Broken("the notification daemon went away".to_owned())) };
            if let Some(reply) = shown.reply(&signal) {
                return Ok((reply, since));
            }
        }
    }

    /// Shows a text until what is returned is dropped.
    pub(super) async fn hold(&self, text: &str) -> Result<impl Send + use<>, Broken> {
        self.show(text, &[], Urgency::Critical).await
    }

    /// Shows a text for as long as the daemon shows such things.
    pub(super) async fn tell(&self, text: &str) -> Result<(), Broken> {
        self.show(text, &[], Urgency::Normal).await.map(drop)
    }

    async fn show(&self, text: &str, buttons: &[&str], urgency: Urgency) -> Result<Shown, Broken> {
        let (summary, body) = text.split_once('\n').unwrap_or((text, ""));
        let body: String = body.chars().take(LONGEST_BODY).collect();
        let hints = HashMap::from([("urgency", Variant::from(urgency as u8)), ("transient", Variant::from(true))]);
        let lasts: i32 = if urgency == Urgency::Critical { 0 } else { -1 };
        let arguments = ("hardkey", 0_u32, "dialog-password", summary, self.plain(&body), buttons, hints, lasts);
        let reply = call(&self.connection, "Notify", &arguments).await?;
        let number = reply.body().deserialize().map_err(|error| Broken::of("notification daemon", error))?;
        Ok(Shown { connection: self.connection.clone(), number, urgency })
    }

    fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|own| own == capability)
    }

    /// Text that is not taken for markup. Daemons that know no markup would show the entities, and are asked to ignore tags.
    fn plain(&self, text: &str) -> String {
        match self.can("body-markup") {
            true => text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"),
            false => text.replace('<', "‹").replace('>', "›"),
        }
    }
}

impl Shown {
    fn reply(&self, signal: &Message) -> Option<Reply> {
        let header = signal.header();
        match header.member().map(|member| member.as_str()) {
            Some("ActionInvoked") => {
                let (number, action): (u32, String) = signal.body().deserialize().ok()?;
                (number == self.number).then_some(match action.as_str() {
                    "allow" => Reply::Allow(Allowed::Once),
                    "offer" => Reply::Allow(Allowed::AsOffered),
                    "mute" => Reply::Mute,
                    _ => Reply::Deny,
                })
            }
            Some("NotificationClosed") => {
                let (number, _reason): (u32, u32) = signal.body().deserialize().ok()?;
                (number == self.number).then_some(Reply::Deny)
            }
            _ => None,
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let (connection, number) = (self.connection.clone(), self.number);
        if self.urgency == Urgency::Critical
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // One that is closed already is closed.
            runtime.spawn(async move { drop(call(&connection, "CloseNotification", &number).await) });
        }
    }
}

async fn call<B: serde::Serialize + zbus::zvariant::DynamicType>(
    connection: &Connection,
    method: &str,
    arguments: &B,
) -> Result<Message, Broken> {
    let reply = connection.call_method(Some(NAME), PATH, Some(NAME), method, arguments);
    let reply = tokio::time::timeout(bus::PROMPTLY + Duration::from_millis(100), reply).await;
    let reply = reply.map_err(|_| Broken("the notification daemon does not answer".to_owned()))?;
    reply.map_err(|error| Broken::of("notification daemon", error))
}
