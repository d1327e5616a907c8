//! The inside of the key: what is done about packets, answers, faults and the plug, on one thread.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crate::button::Button;
use crate::faults::{Fault, Faults};
use crate::firmware::Call;
use crate::hid::{Action, Capabilities, Hid};
use crate::log::Log;
use crate::names::name;
use crate::packet::{HidError, Message, Report, command};

/// How often a key says that it is working (CTAP 2.1 section 11.2.9.1.7: at least that often).
const KEEPALIVE: Duration = Duration::from_millis(100);
/// KEEPALIVE: still working.
const PROCESSING: u8 = 1;
/// KEEPALIVE: waiting for a touch.
const TOUCH_NEEDED: u8 = 2;

/// What happens to a key.
pub(crate) enum Event {
    Plug,
    Unplug,
    Open(Sender<(u64, Receiver<Report>)>),
    Packet(u64, Report),
    Answer(u64, Option<Vec<u8>>),
    Asks,
    Freeze(bool),
    Noise(bool),
    Busy(bool),
    Inject(Vec<Report>),
    Settled(Sender<()>),
}

/// The inside of the key, on its own thread.
pub(crate) struct Works {
    hid: Hid,
    capabilities: Capabilities,
    calls: Sender<Call>,
    button: Arc<Button>,
    faults: Arc<Faults>,
    log: Log,
    readers: Vec<Sender<Report>>,
    /// Counts how often it was plugged in.
    power: u64,
    plugged: bool,
    frozen: bool,
    /// What a frozen key has to say.
    held: Vec<Report>,
    noise: bool,
    task: Option<Task>,
    number: u64,
    keepalive: Option<Instant>,
}

/// The command that runs.
struct Task {
    number: u64,
    name: String,
    fault: Option<Fault>,
}

impl Works {
    /// A key without power.
    pub(crate) const fn new(
        capabilities: Capabilities,
        calls: Sender<Call>,
        button: Arc<Button>,
        faults: Arc<Faults>,
        log: Log,
    ) -> Self {
        Self {
            hid: Hid::new(capabilities),
            capabilities,
            calls,
            button,
            faults,
            log,
            readers: Vec::new(),
            power: 0,
            plugged: false,
            frozen: false,
            held: Vec::new(),
            noise: false,
            task: None,
            number: 0,
            keepalive: None,
        }
    }

    /// Takes events until there is nobody any more who could send one.
    pub(crate) fn run(mut self, inbox: &Receiver<Event>) {
        loop {
            let next = self.hid.deadline().into_iter().chain(self.keepalive).min();
            let event = match next {
                Some(next) => inbox.recv_timeout(next.saturating_duration_since(Instant::now())),
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event {
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.tick();
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Plug => self.plug(),
            Event::Unplug => self.unplug(),
            Event::Open(answer) if self.plugged => {
                let (sender, reports) = channel();
                self.readers.push(sender);
                let _ = answer.send((self.power, reports));
            }
            Event::Packet(power, report) if self.plugged && !self.frozen && power == self.power => {
                for action in self.hid.take(&report, Instant::now()) {
                    self.act(action);
                }
            }
            Event::Answer(number, answer) => self.answered(number, answer),
            Event::Asks => self.keepalive = self.keepalive.map(|_| Instant::now()),
            Event::Freeze(frozen) => {
                self.log.add(if frozen { "freeze" } else { "thaw" });
                self.frozen = frozen;
                let held = if frozen { Vec::new() } else { std::mem::take(&mut self.held) };
                self.transmit(held);
            }
            Event::Noise(noise) => self.noise = noise,
            Event::Busy(busy) => self.hid.serve_another(busy),
            Event::Inject(reports) => self.transmit(reports),
            Event::Settled(sender) => {
                let _ = sender.send(());
            }
            Event::Open(_) | Event::Packet(..) => {}
        }
    }

    fn plug(&mut self) {
        self.log.add("plug");
        self.plugged = true;
        self.power += 1;
        self.hid = Hid::new(self.capabilities);
        let _ = self.calls.send(Call::PowerCycle);
    }

    fn unplug(&mut self) {
        self.abandon();
        self.log.add("unplug");
        self.plugged = false;
        self.frozen = false;
        self.held.clear();
        self.readers.clear();
        self.keepalive = None;
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send(message) => {
                match message.payload.as_slice() {
                    [code] if message.command == command::ERROR && *code == HidError::Busy as u8 => {
                        self.log.add("busy");
                    }
                    [code] if message.command == command::ERROR => self.log.add(format!("error {code:02x}")),
                    _ => self.log.add(name(&message)),
                }
                let fault = self.faults.of(&name(&message));
                self.send(&message, fault.as_ref());
            }
            Action::Run(message) => self.start(message),
            Action::Cancel => {
                self.log.add("cancel");
                match &self.task {
                    Some(Task { fault: Some(Fault::Stall), .. }) => self.finish(vec![0x2d]),
                    Some(Task { fault: Some(Fault::Silence), .. }) | None => {}
                    Some(task) => self.button.cancel(task.number),
                }
            }
            Action::Abandon => self.abandon(),
        }
    }

    fn start(&mut self, message: Message) {
        // A command that was abandoned may still be ending.
        self.number += 1;
        let name = name(&message);
        let fault = self.faults.of(&name);
        self.task = Some(Task { number: self.number, name, fault: fault.clone() });
        if message.command == command::CBOR && fault != Some(Fault::Silence) {
            self.keepalive = Some(Instant::now() + KEEPALIVE);
        }
        match fault {
            Some(Fault::Status(status)) => self.finish(vec![status]),
            Some(Fault::Answer(answer)) => self.finish(answer),
            Some(Fault::Silence | Fault::Stall) => {}
            Some(Fault::Unplug) => self.unplug(),
            _ => {
                let call = if message.command == command::CBOR { Call::Cbor } else { Call::Msg };
                let _ = self.calls.send(call(self.number, message.payload));
            }
        }
    }

    fn answered(&mut self, number: u64, answer: Option<Vec<u8>>) {
        if self.task.as_ref().is_some_and(|task| task.number == number) {
            match answer {
                Some(answer) => self.finish(answer),
                None => self.log.add("the firmware died"),
            }
        }
    }

    fn finish(&mut self, mut answer: Vec<u8>) {
        let Some(task) = self.task.take() else { return };
        self.keepalive = None;
        let status = match (self.hid.running(), answer.as_slice()) {
            (Some((_, command::MSG)), [.., high, low]) => format!("{high:02x}{low:02x}"),
            (_, [status, ..]) => format!("{status:02x}"),
            (_, []) => "empty".into(),
        };
        self.log.add(format!("{} {status}", task.name));
        match task.fault {
            Some(Fault::Cut(length)) => answer.truncate(length),
            Some(Fault::Pad(length)) => answer.resize(answer.len() + length, 0xa5),
            _ => {}
        }
        if let Some(message) = self.hid.done(answer) {
            self.send(&message, task.fault.as_ref());
        }
    }

    /// Gives up the command that runs, if one does.
    fn abandon(&mut self) {
        self.keepalive = None;
        if let Some(task) = self.task.take() {
            self.button.cancel(task.number);
            self.log.add(format!("{} -", task.name));
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if let Some(action) = self.hid.tick(now) {
            self.act(action);
        }
        if self.keepalive.is_some_and(|due| due <= now)
            && let Some((channel, _)) = self.hid.running()
        {
            let status = if self.button.is_asking() { TOUCH_NEEDED } else { PROCESSING };
            self.send(&Message { channel, command: command::KEEPALIVE, payload: vec![status] }, None);
            self.keepalive = Some(now + KEEPALIVE);
        }
    }

    fn send(&mut self, message: &Message, fault: Option<&Fault>) {
        let mut reports = match fault {
            Some(Fault::Announce(length)) => message.reports_announcing(*length),
            _ => message.reports(),
        };
        if fault == Some(&Fault::Gap) && reports.len() > 1 {
            reports.remove(1);
        }
        if fault == Some(&Fault::Silence) {
            return;
        }
        if self.noise {
            let channel = self.hid.foreign_channel();
            let noise = [(command::CBOR, vec![0x2e]), (command::KEEPALIVE, vec![TOUCH_NEEDED])];
            let noise = noise.map(|(command, payload)| Message { channel, command, payload }.reports());
            reports.splice(..0, noise.concat());
        }
        if self.frozen {
            self.held.extend(reports);
        } else {
            self.transmit(reports);
        }
    }

    fn transmit(&mut self, reports: Vec<Report>) {
        for report in reports {
            self.readers.retain(|reader| reader.send(report).is_ok());
        }
    }
}
