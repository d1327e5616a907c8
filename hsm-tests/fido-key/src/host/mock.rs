//! Keys at pseudo terminals that umockdev shows as `/dev/hidrawN`, to programs that were not changed.
//!
//! `umockdev-run` makes the folder with `/sys` and `/dev`, and answers `ioctl`s. What it made for the node, a terminal of which nobody but itself has the other end, is replaced by one of ours at each plugging in.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;
use std::{env, thread};

use fido_key::packet::{BROADCAST, Packet, REPORT, Report, command};
use fido_key::{Device, PacketSender};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::stdio::dup2_stdout;
use rustix::termios::{OptionalActions, QueueSelector, SpecialCodeIndex, tcflush, tcgetattr, tcsetattr};

use super::Place;

/// How many keys can be plugged in at a time.
const PORTS: usize = 4;
/// The device number that hidraw has on most machines.
const MAJOR: u32 = 240;
/// FIDO's report descriptor (CTAP 2.1 section 11.2.8.2): usage page 0xf1d0, reports of 64 octets in and out.
pub(super) const DESCRIPTOR: [u8; 34] = [
    0x06, 0xd0, 0xf1, 0x09, 0x01, 0xa1, 0x01, 0x09, 0x20, 0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95, 0x40, 0x81,
    0x02, 0x09, 0x21, 0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95, 0x40, 0x91, 0x02, 0xc0,
];
/// `HIDIOCGRDESC` wants room for the longest descriptor there can be.
const DESCRIPTOR_ROOM: usize = 4096;
/// Vendor and product: pid.codes' number for tests.
pub(super) const VENDOR: u16 = 0x1209;
pub(super) const PRODUCT: u16 = 0x0001;

/// Becomes `umockdev-run`, which starts this program again, as `mocked`. Returns only if that fails.
pub(crate) fn run_under_umockdev(directory: &Path) -> io::Error {
    let start = || {
        let arguments = describe(directory)?;
        let program = env::current_exe()?;
        Ok(Command::new("umockdev-run").args(arguments).arg("--").arg(program).arg("mocked").arg(directory).exec())
    };
    start().unwrap_or_else(|error| error)
}

/// Writes the devices and the answers to their `ioctl`s, and returns the options that name the files.
fn describe(directory: &Path) -> io::Result<Vec<OsString>> {
    fs::create_dir_all(directory)?;
    let size = u32::try_from(DESCRIPTOR.len()).unwrap_or_default();
    let mut descriptor = size.to_le_bytes().to_vec();
    descriptor.extend(DESCRIPTOR);
    descriptor.resize(size_of::<u32>() + DESCRIPTOR_ROOM, 0);
    let mut devices = String::new();
    let mut arguments = Vec::new();
    for port in 0..PORTS {
        devices.push_str(&format!(
            "P: {hid}/hidraw/hidraw{port}\nN: hidraw{port}\nE: SUBSYSTEM=hidraw\nE: DEVNAME=/dev/hidraw{port}\nE: MAJOR={MAJOR}\nE: MINOR={port}\n\
             A: dev={MAJOR}:{port}\nL: device=../../../{name}\n\n\
             P: {hid}\nE: SUBSYSTEM=hid\nE: DRIVER=hid-generic\nH: report_descriptor={report}\n\n\
             P: {usb}\nE: SUBSYSTEM=usb\nE: DEVTYPE=usb_device\nA: idVendor={VENDOR:04x}\nA: idProduct={PRODUCT:04x}\n\
             A: manufacturer=hardkey\nA: product=software key\n\n",
            hid = hid(port),
            name = hid_name(port),
            usb = usb(port),
            report = hexadecimal(&DESCRIPTOR),
        ));
        let answers = directory.join(format!("hidraw{port}.ioctl"));
        fs::write(
            &answers,
            format!(
                "@DEV /dev/hidraw{port}\nHIDIOCGRDESCSIZE 0 {}\nHIDIOCGRDESC 0 {}\n",
                hexadecimal(&size.to_le_bytes()),
                hexadecimal(&descriptor)
            ),
        )?;
        let mut option = OsString::from(format!("--ioctl=/dev/hidraw{port}="));
        option.push(answers);
        arguments.push(option);
    }
    let file = directory.join("devices.umockdev");
    fs::write(&file, devices)?;
    arguments.extend(["--device".into(), file.into()]);
    Ok(arguments)
}

fn usb(port: usize) -> String {
    format!("/devices/pci0000:00/0000:00:14.0/usb1/1-{}", port + 1)
}

fn hid_name(port: usize) -> String {
    format!("0003:{VENDOR:04X}:{PRODUCT:04X}.{:04X}", port + 1)
}

fn hid(port: usize) -> String {
    format!("{usb}/1-{}:1.0/{}", port + 1, hid_name(port), usb = usb(port))
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Ports in the folder that umockdev made.
pub(crate) struct Mock {
    root: PathBuf,
    ports: [Option<String>; PORTS],
}

impl Mock {
    /// All ports free.
    ///
    /// # Errors
    /// When this program was not started by umockdev.
    pub(crate) fn new() -> io::Result<Self> {
        let root = env::var_os("UMOCKDEV_DIR").ok_or_else(|| io::Error::other("not started by umockdev-run"))?;
        let mock = Self { root: root.into(), ports: [const { None }; PORTS] };
        for port in 0..PORTS {
            mock.hide(port)?;
        }
        Ok(mock)
    }

    fn link(&self, port: usize) -> PathBuf {
        self.root.join(format!("sys/class/hidraw/hidraw{port}"))
    }

    fn node(&self, port: usize) -> PathBuf {
        self.root.join(format!("dev/hidraw{port}"))
    }

    fn hide(&self, port: usize) -> io::Result<()> {
        fs::remove_file(self.link(port)).and(fs::remove_file(self.node(port)))
    }

    fn show(&self, port: usize, name: &str, terminal: &Path) -> io::Result<()> {
        let hid = hid(port);
        let uevent = format!(
            "DRIVER=hid-generic\nHID_ID=0003:{:08X}:{:08X}\nHID_NAME=hardkey software key\nHID_PHYS=usb-{port}\nHID_UNIQ={name}\n",
            VENDOR, PRODUCT
        );
        fs::write(self.root.join(format!("sys{hid}/uevent")), uevent)?;
        // How umockdev knows the number of an open descriptor.
        let known = terminal.display().to_string().replace('/', "_");
        let known = self.root.join("dev/.ptymap").join(known);
        let _ = fs::remove_file(&known);
        symlink(format!("{MAJOR}:{port}"), known)?;
        symlink(terminal, self.node(port))?;
        symlink(format!("../..{hid}/hidraw/hidraw{port}"), self.link(port))
    }
}

impl Place for Mock {
    fn plug(&mut self, name: &str, key: &Device) -> io::Result<PathBuf> {
        let port =
            self.ports.iter().position(Option::is_none).ok_or_else(|| io::Error::other("all ports are taken"))?;
        let terminal = Terminal::new()?;
        let path = terminal.path.clone();
        let handle = key.open().map_err(io::Error::other)?;
        let (sender, reports) = handle.split();
        let (running, stop) = UnixStream::pair()?;
        let writer = File::from(terminal.ours.try_clone()?);
        thread::spawn(move || send(writer, &reports, running));
        thread::spawn(move || receive(terminal, &sender, &stop));
        self.show(port, name, &path)?;
        self.ports[port] = Some(name.to_owned());
        Ok(format!("/dev/hidraw{port}").into())
    }

    fn unplug(&mut self, name: &str) {
        if let Some(port) = self.ports.iter().position(|taken| taken.as_deref() == Some(name)) {
            // Both are there, because this place made them.
            let _ = self.hide(port);
            self.ports[port] = None;
        }
    }

    fn environment(&self) -> String {
        format!("UMOCKDEV_DIR={}\nLD_PRELOAD={}", self.root.display(), env::var("LD_PRELOAD").unwrap_or_default())
    }
}

/// A pseudo terminal that hands over whole reports.
struct Terminal {
    ours: OwnedFd,
    theirs: OwnedFd,
    path: PathBuf,
}

impl Terminal {
    fn new() -> io::Result<Self> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let path = PathBuf::from(OsString::from_vec(ptsname(&ours, Vec::new())?.into_bytes()));
        // Held open, so that the terminal keeps its settings while no program has it open.
        let theirs = rustix::fs::open(&path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        let mut settings = tcgetattr(&theirs)?;
        settings.make_raw();
        // Nothing is there to be read until a whole report is, as with hidraw.
        settings.special_codes[SpecialCodeIndex::VMIN] = u8::try_from(REPORT).unwrap_or_default();
        settings.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&theirs, OptionalActions::Now, &settings)?;
        let mut holder =
            Command::new(env::current_exe()?).arg("hold").stdin(theirs.try_clone()?).stdout(Stdio::piped()).spawn()?;
        // Says nothing, but closes its output when it is done.
        holder.stdout.take().map_or(Ok(0), |mut output| output.read(&mut [0]))?;
        thread::spawn(move || holder.wait());
        Ok(Self { ours, theirs, path })
    }
}

/// Makes the terminal at standard input this process's own, and keeps it until it hangs up: then the kernel ends the process.
///
/// Otherwise it would become the controlling terminal of the first daemon that opens the node, which takes it for a device: the daemon would be ended by the unplugging, and be asked for passwords there.
///
/// # Errors
/// When there is no terminal, or the process leads others.
pub(crate) fn hold() -> io::Result<Infallible> {
    setsid()?;
    ioctl_tiocsctty(io::stdin())?;
    dup2_stdout(File::open("/dev/null")?)?;
    loop {
        thread::park();
    }
}

/// Carries the key's packets to the programs, until it is unplugged; then hangs up on `running`.
fn send(mut writer: File, reports: &Receiver<Report>, running: UnixStream) {
    while let Ok(report) = reports.recv() {
        if writer.write_all(&report).is_err() {
            break;
        }
    }
    drop(running);
}

/// Carries the programs' packets to the key, until `stop` says that it is unplugged. The terminal goes then, which is the end of whoever has it open.
fn receive(terminal: Terminal, key: &PacketSender, stop: &UnixStream) {
    let mut reader = File::from(match terminal.ours.try_clone() {
        Ok(ours) => ours,
        Err(_) => return,
    });
    // A report number, which is 0, and the report.
    let mut octets = [0; 1 + REPORT];
    let mut filled = 0;
    loop {
        let mut wanted = [PollFd::new(&reader, PollFlags::IN), PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN)];
        if poll(&mut wanted, None).is_err() || !wanted[1].revents().is_empty() {
            return;
        }
        match reader.read(&mut octets[filled..]) {
            Ok(0) | Err(_) => return,
            Ok(read) => filled += read,
        }
        if filled < octets.len() {
            continue;
        }
        filled = 0;
        let mut report = [0; REPORT];
        report.copy_from_slice(&octets[1..]);
        if matches!(Packet::parse(&report), Packet::Initial { channel: BROADCAST, command: command::INIT, .. }) {
            // A program has just opened the node: what an earlier one did not read is not for it.
            let _ = tcflush(&terminal.theirs, QueueSelector::IFlush);
        }
        key.send(report);
    }
}
