//! A TPM 2.0 in software with its resource manager, and the module tpm2-pkcs11.
//!
//! A TPM has room for a handful of objects, so programs share it through a resource manager: the kernel's, or tpm2-abrmd as here.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::background::Background;
use crate::home::Home;
use crate::kind::{Stopped, TokenKind};
use crate::module::Module;
use crate::ports::two_in_a_row;
use crate::processes::signal;
use crate::run::Task;
use crate::template::{self, copy_tree, made_once};
use crate::token::library;
use crate::wait::{SOON, until};
use rustix::process::Signal;

/// The TPM and what leads to it. See the module.
pub struct Tpm {
    home: Home,
    folder: PathBuf,
    bus: Option<Background>,
    running: Option<Running>,
    stopped: Stopped,
}

struct Running {
    chip: Background,
    manager: Background,
    port: u16,
}

impl Tpm {
    /// A token with its keys.
    #[must_use]
    pub fn new(home: &Home) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tpm.sh");
        let ready = made_once("tpm", &script, |folder| {
            let mut tpm = Self::at(home, folder);
            tpm.tool(&script.display().to_string()).arg(template::PIN).within(Duration::from_secs(60)).run().succeeds();
            tpm.stop();
        });
        let folder = home.path("tpm");
        copy_tree(&ready, &folder).expect("copy the template of a TPM");
        Self::at(home, &folder)
    }

    /// A TPM whose state is, or is to be, in the folder.
    fn at(home: &Home, folder: &Path) -> Self {
        for name in ["state", "store"] {
            fs::create_dir_all(folder.join(name)).expect("make a folder");
        }
        let mut tpm = Self {
            home: home.clone(),
            folder: folder.to_owned(),
            bus: None,
            running: None,
            stopped: Stopped::default(),
        };
        let bus = home.command("dbus-daemon").args(["--session", "--nofork", "--nopidfile", "--address"]);
        tpm.bus = Some(bus.arg(tpm.bus_address()).start("tpm-bus"));
        assert!(until(SOON, || tpm.bus_socket().exists()), "no bus\n{}", home.logs());
        tpm.start();
        tpm
    }

    /// Switches it on.
    fn start(&mut self) {
        let port = two_in_a_row();
        let chip = self.home.command("swtpm").args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
        let chip = chip.arg("--tpmstate").arg(format!("dir={}", self.folder.join("state").display()));
        let chip = chip.arg("--server").arg(format!("type=tcp,port={port}"));
        let chip = chip.arg("--ctrl").arg(format!("type=tcp,port={}", port + 1)).start("swtpm");
        assert!(
            until(SOON, || std::net::TcpStream::connect(("127.0.0.1", port + 1)).is_ok()),
            "no TPM\n{}",
            self.home.logs()
        );
        let manager = self.home.command("tpm2-abrmd").args(["--session", "--allow-root", "--flush-all", "--tcti"]);
        let manager = manager.arg(format!("swtpm:port={port}"));
        let manager = manager.env("DBUS_SESSION_BUS_ADDRESS", self.bus_address()).start("tpm2-abrmd");
        self.running = Some(Running { chip, manager, port });
        let answers = || self.tool("tpm2_getcap").arg("properties-fixed").run().code() == Some(0);
        assert!(until(SOON, answers), "no resource manager\n{}", self.home.logs());
    }

    /// Switches it off as a system does that shuts down: a TPM that just loses its power counts that as a wrong PIN.
    fn stop(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        // First, lest a chip that was held ends what is to be cut off.
        signal(running.manager.pid(), Signal::KILL);
        running.manager.ends(SOON);
        self.stopped.go_on();
        let shutdown = self.home.command("tpm2_shutdown").arg("--clear");
        shutdown.env("TPM2TOOLS_TCTI", format!("swtpm:port={}", running.port)).run().succeeds();
        signal(running.chip.pid(), Signal::TERM);
        running.chip.ends(SOON);
    }

    fn tool(&self, program: &str) -> Task {
        self.environment().into_iter().fold(self.home.command(program), |task, (name, value)| task.env(name, value))
    }

    fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("DBUS_SESSION_BUS_ADDRESS", self.bus_address()),
            ("TPM2TOOLS_TCTI", "tabrmd:bus_type=session".to_owned()),
            ("TPM2_PKCS11_TCTI", "tabrmd:bus_type=session".to_owned()),
            ("TPM2_PKCS11_STORE", self.folder.join("store").display().to_string()),
        ]
    }

    fn bus_address(&self) -> String {
        format!("unix:path={}", self.bus_socket().display())
    }

    fn bus_socket(&self) -> PathBuf {
        self.home.path("run/tpm-bus")
    }
}

impl TokenKind for Tpm {
    fn module(&self) -> Module {
        let module = Module::at(library("pkcs11/libtpm2_pkcs11.so", "libtpm2-pkcs11-1"));
        self.environment().into_iter().fold(module, |module, (name, value)| module.env(name, value))
    }

    fn pin(&self) -> &'static str {
        template::PIN
    }

    fn hold(&mut self) {
        self.stopped.stop(self.running.iter().map(|running| running.chip.pid()));
    }

    fn says_of_a_pending_signature(&self) -> Option<&'static str> {
        Some("C_Sign answered CKR_GENERAL_ERROR")
    }

    /// Ends the resource manager, and the TPM after it.
    fn remove(&mut self) {
        self.stop();
    }

    fn put_back(&mut self) {
        self.start();
    }

    /// By the TPM's lock-out counter, which only time takes back.
    fn pins_refused(&self) -> usize {
        let properties = self.tool("tpm2_getcap").arg("properties-variable").run().succeeds().stdout;
        let counter = properties.lines().find_map(|line| line.strip_prefix("TPM2_PT_LOCKOUT_COUNTER: 0x"));
        usize::from_str_radix(counter.expect("a counter"), 16).expect("a number")
    }
}
