//! A security key with its plug, its button and its faults.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::button::Button;
use crate::faults::Faults;
use crate::firmware::{self, Model, OpenSk, Solo};
use crate::hid::Capabilities;
use crate::log::Log;
use crate::packet::Report;
use crate::works::{Event, Works};

/// What kind of key it is.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether it knows CTAP2.
    pub ctap2: bool,
    /// Whether it knows U2F.
    pub u2f: bool,
    /// How many resident credentials fit; as many as the storage holds if `None`.
    pub residents: Option<u32>,
    /// Whether it knows nothing that came after CTAP 2.0: PIN protocol 1 only, no choice by touch.
    pub old: bool,
    /// It has OpenSK's firmware, and so no U2F; what counts beside this is only `ctap2`.
    pub opensk: Option<OpenSk>,
}

impl Default for Options {
    fn default() -> Self {
        Self { ctap2: true, u2f: true, residents: None, old: false, opensk: None }
    }
}

/// A security key. It begins unplugged; clones are handles to the same key.
#[derive(Clone)]
pub struct Device {
    events: Sender<Event>,
    /// The finger.
    pub button: Arc<Button>,
    /// What goes wrong.
    pub faults: Arc<Faults>,
    /// What happened.
    pub log: Log,
    plugged: Arc<Mutex<bool>>,
}

/// One opening of the device node: packets in, packets out.
pub struct Handle {
    sender: PacketSender,
    reports: Receiver<Report>,
}

/// The half of a [`Handle`] that sends.
#[derive(Clone)]
pub struct PacketSender {
    events: Sender<Event>,
    power: u64,
}

/// The key was unplugged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the key is unplugged")
    }
}

impl std::error::Error for Gone {}

impl Device {
    /// A new key, with nothing on it and without a PIN.
    #[must_use]
    pub fn new(options: Options, log: Log) -> Self {
        let (events, inbox) = channel();
        let button = Arc::new(Button::new());
        let faults = Arc::new(Faults::default());
        let asks = Mutex::new(events.clone());
        button.on_ask(log.clone(), move || {
            let _ = asks.lock().unwrap_or_else(PoisonError::into_inner).send(Event::Asks);
        });
        let answers = Mutex::new(events.clone());
        let u2f = options.u2f && options.opensk.is_none();
        let model = match options.opensk {
            Some(model) => Model::OpenSk(model),
            None => Model::Solo(Solo { residents: options.residents, is_old: options.old }),
        };
        let calls = firmware::start(model, button.clone(), move |number, answer| {
            let _ = answers.lock().unwrap_or_else(PoisonError::into_inner).send(Event::Answer(number, answer));
        });
        let capabilities = Capabilities { cbor: options.ctap2, msg: u2f };
        let works = Works::new(capabilities, calls, button.clone(), faults.clone(), log.clone());
        thread::Builder::new().name("ctaphid".into()).spawn(move || works.run(&inbox)).expect("start a thread");
        Self { events, button, faults, log, plugged: Arc::default() }
    }

    /// Gives it power; nothing if it has some.
    pub fn plug(&self) {
        self.switch(true);
    }

    /// Takes its power: handles are [`Gone`], what it did not store is lost, and with it the count of wrong PINs in a row.
    pub fn unplug(&self) {
        self.switch(false);
    }

    /// Whether it has power.
    #[must_use]
    pub fn is_plugged(&self) -> bool {
        *self.plugged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens it, as a program opens `/dev/hidraw0`.
    ///
    /// # Errors
    /// [`Gone`] when it is not plugged in.
    pub fn open(&self) -> Result<Handle, Gone> {
        let (sender, answer) = channel();
        self.send(Event::Open(sender));
        let (power, reports) = answer.recv().map_err(|_| Gone)?;
        Ok(Handle { sender: PacketSender { events: self.events.clone(), power }, reports })
    }

    /// Frozen, it takes packets and says nothing; what it wanted to say comes when it thaws.
    pub fn freeze(&self, frozen: bool) {
        self.send(Event::Freeze(frozen));
        self.settle();
    }

    /// With noise, each message is preceded by two for another client: an answer and a keep-alive.
    pub fn noise(&self, noise: bool) {
        self.send(Event::Noise(noise));
        self.settle();
    }

    /// Busy, it serves another application, and tells everybody else to wait.
    pub fn busy(&self, busy: bool) {
        self.send(Event::Busy(busy));
        self.settle();
    }

    /// Sends these packets now, whatever goes on.
    pub fn inject(&self, reports: Vec<Report>) {
        self.send(Event::Inject(reports));
        self.settle();
    }

    fn switch(&self, on: bool) {
        let mut plugged = self.plugged.lock().unwrap_or_else(PoisonError::into_inner);
        if *plugged != on {
            *plugged = on;
            self.send(if on { Event::Plug } else { Event::Unplug });
            self.settle();
        }
    }

    /// Waits until all earlier events were taken in.
    fn settle(&self) {
        let (sender, settled) = channel();
        self.send(Event::Settled(sender));
        let _ = settled.recv();
    }

    fn send(&self, event: Event) {
        // The other side lives as long as there is a device.
        let _ = self.events.send(event);
    }
}

impl Handle {
    /// Sends a packet to the key.
    pub fn send(&self, report: Report) {
        self.sender.send(report);
    }

    /// The next packet from the key; `None` if there is none within `limit`.
    ///
    /// # Errors
    /// [`Gone`] when it was unplugged.
    pub fn receive(&self, limit: Duration) -> Result<Option<Report>, Gone> {
        match self.reports.recv_timeout(limit) {
            Ok(report) => Ok(Some(report)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Gone),
        }
    }

    /// Both directions by themselves, for two threads. The receiver hangs up when the key is unplugged.
    #[must_use]
    pub fn split(self) -> (PacketSender, Receiver<Report>) {
        (self.sender, self.reports)
    }
}

impl PacketSender {
    /// Sends a packet to the key; one that was unplugged since does not get it.
    pub fn send(&self, report: Report) {
        let _ = self.events.send(Event::Packet(self.power, report));
    }
}
