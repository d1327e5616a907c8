//! A device that is open: locked, read with a deadline, and let go when it is dropped.

use std::cell::RefCell;
use std::ffi::CStr;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::HidResult;
use crate::channel::{Channel, Heard, REPORT, Report};
use crate::operation::{self, Fault};
use crate::played;

/// A device that works says so ten times a second (CTAPHID_KEEPALIVE); simple ones compute in silence, but not for long.
const SILENCE: Duration = Duration::from_secs(3);
/// How long the end of a command is waited for that was withdrawn.
const FAREWELL: Duration = Duration::from_secs(1);
/// The pause before a busy device or a lock is tried again: neither has an event.
const PAUSE: Duration = Duration::from_millis(100);
/// How long another program may hold the lock, or another channel the device.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many reports the kernel keeps for a reader (`HIDRAW_BUFFER_SIZE`).
const KERNEL_QUEUE: usize = 64;

/// An open FIDO device.
pub struct HidDevice {
    /// None for a device that a test plays.
    file: Option<File>,
    channel: RefCell<Channel>,
}

/// What ended a wait.
#[derive(PartialEq, Eq)]
enum Woken {
    Device,
    Interrupt,
    Time,
}

impl HidDevice {
    /// Opens and locks the device at this path.
    ///
    /// # Errors
    /// As [`crate::HidApi::open_path`].
    pub fn open(path: &CStr) -> HidResult<Self> {
        if played::is_on() {
            return Ok(Self { file: None, channel: RefCell::default() });
        }
        let path = Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()));
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open(path);
        let file = file.map_err(|error| operation::failed(fault(&error)))?;
        let device = Self { file: Some(file), channel: RefCell::default() };
        device.lock()?;
        Ok(device)
    }

    /// Writes one report: its number, which is zero, and 64 octets.
    ///
    /// # Errors
    /// The device is gone.
    pub fn write(&self, report: &[u8]) -> HidResult<usize> {
        let octets = report.split_first().and_then(|(_, octets)| Report::try_from(octets).ok());
        let octets = octets.ok_or_else(|| operation::failed(Fault::Garbled))?;
        self.channel.borrow_mut().sent(octets);
        self.put(&octets)?;
        Ok(report.len())
    }

    /// Reads the next report of the answer to what was written. Others' reports are dropped, and what says that the device is at work goes
    /// to the [`crate::Operation`].
    ///
    /// # Errors
    /// There will be no answer, and why.
    pub fn read(&self, buffer: &mut [u8]) -> HidResult<usize> {
        let mut withdrawn: Option<(Fault, Instant)> = None;
        let mut heard_last = Instant::now();
        let mut busy_since = None;
        loop {
            let end = match &withdrawn {
                Some((_, end)) => end.saturating_duration_since(Instant::now()),
                None => operation::time_left(),
            };
            let left = match &withdrawn {
                Some(_) => end,
                None => end.min(SILENCE.saturating_sub(heard_last.elapsed())),
            };
            // A device that never stops talking does not keep the time from being over.
            let woken = match end.is_zero() {
                true => Woken::Time,
                false => self.wait(PollFlags::IN, left, withdrawn.is_none())?,
            };
            match (woken, &withdrawn) {
                (Woken::Device, _) => {}
                (Woken::Time, Some((fault, _))) => return Err(operation::failed(fault.clone())),
                (Woken::Interrupt, _) => {
                    withdrawn = Some(self.withdraw(Fault::Cancelled)?);
                    continue;
                }
                (Woken::Time, None) => {
                    // One that is at work for ever, and waits for nobody, hangs.
                    let is_late = operation::time_left().is_zero() && operation::waits_for_touch();
                    let fault = if is_late { Fault::TimedOut } else { Fault::Silent };
                    withdrawn = Some(self.withdraw(fault)?);
                    continue;
                }
            }
            let Some(report) = self.take()? else { continue };
            let heard = self.channel.borrow_mut().heard(&report);
            if heard != Heard::Foreign {
                heard_last = Instant::now();
            }
            match heard {
                Heard::Foreign => {}
                Heard::Waiting { for_touch } => operation::note_touch(for_touch && withdrawn.is_none()),
                Heard::Busy if busy_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE => {
                    return Err(operation::failed(Fault::Busy));
                }
                Heard::Busy => self.repeat()?,
                Heard::Refused(code) => return Err(operation::failed(Fault::Refused(code))),
                Heard::Garbled => return Err(operation::failed(Fault::Garbled)),
                Heard::Answer { is_last, .. } if withdrawn.is_some() => {
                    // To the end, so that the next command finds a quiet channel.
                    if let (true, Some((fault, _))) = (is_last, &withdrawn) {
                        return Err(operation::failed(fault.clone()));
                    }
                }
                Heard::Answer { status, .. } => {
                    if let Some(status) = status {
                        operation::note_touch(false);
                        match status {
                            0 => operation::succeeded(),
                            status => drop(operation::failed(Fault::Status(status))),
                        }
                    }
                    let length = buffer.len().min(REPORT);
                    buffer[..length].copy_from_slice(&report[..length]);
                    return Ok(length);
                }
            }
        }
    }

    /// Waits a moment for nothing but an interruption.
    ///
    /// # Errors
    /// The operation was withdrawn, or its time is over.
    pub fn pause(&self) -> HidResult<()> {
        match self.wait(PollFlags::empty(), PAUSE.min(operation::time_left()), true)? {
            Woken::Interrupt => Err(operation::failed(Fault::Cancelled)),
            _ if operation::time_left().is_zero() => Err(operation::failed(Fault::TimedOut)),
            _ => Ok(()),
        }
    }

    /// Locks as libfido2 does, so that neither disturbs the other; waits for who has it.
    fn lock(&self) -> HidResult<()> {
        let Some(file) = self.file.as_ref() else { return Ok(()) };
        let end = Instant::now() + PATIENCE;
        while let Err(error) = file.try_lock() {
            match error {
                TryLockError::WouldBlock if Instant::now() < end => self.pause()?,
                TryLockError::WouldBlock => return Err(operation::failed(Fault::Locked)),
                TryLockError::Error(error) => return Err(operation::failed(fault(&error))),
            }
        }
        // What came while others had the device would stand in the way of the answers.
        for _ in 0..KERNEL_QUEUE {
            if self.take()?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn withdraw(&self, reason: Fault) -> HidResult<(Fault, Instant)> {
        operation::note_touch(false);
        let cancellation = self.channel.borrow().cancellation();
        if let Some(report) = cancellation {
            self.put(&report)?;
        }
        Ok((reason, Instant::now() + FAREWELL))
    }

    /// Writes the message once more, after a moment.
    fn repeat(&self) -> HidResult<()> {
        self.pause()?;
        let message = self.channel.borrow().message().to_vec();
        message.iter().try_for_each(|report| self.put(report))
    }

    fn put(&self, report: &Report) -> HidResult<()> {
        let Some(mut file) = self.file.as_ref() else {
            played::hear(report);
            return Ok(());
        };
        let octets = [&[0][..], report].concat();
        loop {
            match file.write(&octets) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.wait(PollFlags::OUT, operation::time_left().min(SILENCE), false)? == Woken::Time {
                        return Err(operation::failed(Fault::Silent));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(operation::failed(fault(&error))),
            }
        }
    }

    /// Reads one report; `None` when there is none yet.
    fn take(&self) -> HidResult<Option<Report>> {
        let Some(mut file) = self.file.as_ref() else { return Ok(played::say()) };
        let mut report = [0; REPORT];
        match file.read(&mut report) {
            Ok(REPORT) => Ok(Some(report)),
            Ok(0) => Err(operation::failed(Fault::Gone)),
            Ok(_) => Err(operation::failed(Fault::Garbled)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(operation::failed(fault(&error))),
        }
    }

    fn wait(&self, events: PollFlags, limit: Duration, interruptible: bool) -> HidResult<Woken> {
        let Some(file) = self.file.as_ref() else {
            let ready = events.contains(PollFlags::IN) && played::has_something_to_say();
            return Ok(if ready { Woken::Device } else { Woken::Time });
        };
        let end = Instant::now() + limit;
        operation::with(|operation| {
            let interrupt = operation.interrupt.as_ref().filter(|_| interruptible);
            let mut watched = vec![PollFd::from_borrowed_fd(file.as_fd(), events)];
            watched.extend(interrupt.map(|interrupt| PollFd::new(interrupt, PollFlags::IN)));
            wait_for(&mut watched, events, end)
        })
        .unwrap_or_else(|| wait_for(&mut [PollFd::from_borrowed_fd(file.as_fd(), events)], events, end))
        .map_err(operation::failed)
    }
}

/// Waits for the first, which is the device, and any other, which interrupts.
fn wait_for(watched: &mut [PollFd<'_>], events: PollFlags, end: Instant) -> Result<Woken, Fault> {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|error| Fault::Kernel(error.to_string()))?;
        match poll(watched, Some(&left)) {
            Ok(0) => return Ok(Woken::Time),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(Fault::Kernel(error.to_string())),
        }
        let (device, interrupt) = watched.split_at(1);
        if interrupt.iter().any(|interrupt| !interrupt.revents().is_empty()) {
            return Ok(Woken::Interrupt);
        }
        let happened = device[0].revents();
        if happened.intersects(events) {
            return Ok(Woken::Device);
        }
        if happened.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            return Err(Fault::Gone);
        }
    }
}

fn fault(error: &io::Error) -> Fault {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO | Errno::IO | Errno::PIPE) => Fault::Gone,
        Some(Errno::ACCESS | Errno::PERM) => Fault::NotPermitted,
        _ => Fault::Kernel(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::Operation;

    #[test]
    fn a_device_that_never_stops_talking_to_others_costs_no_more_than_the_time_of_the_operation() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        ours.set_nonblocking(true).expect("not blocking");
        let talk = std::thread::spawn(move || while theirs.write_all(&[9; REPORT]).is_ok() {});
        let device = HidDevice { file: Some(File::from(OwnedFd::from(ours))), channel: RefCell::default() };
        let begin = Instant::now();
        let failed = Operation::new(Duration::from_millis(200), None, |_| {}).run(|| {
            device.lock().expect("nobody else has it");
            device.read(&mut [0; REPORT])
        });
        assert_eq!(failed, Err(Fault::Silent));
        assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
        drop(device);
        talk.join().expect("it has nobody to talk to any more");
    }
}
