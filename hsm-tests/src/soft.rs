//! Tokens in software as kinds of tokens: what they compute their module computes, in a worker of the agent, and they go when their files do.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use faulty_module::{BACKEND, CallLog, LOG, RULES, Rules};

use crate::binary::cache_directory;
use crate::faulty;
use crate::home::Home;
use crate::kind::TokenKind;
use crate::module::Module;
use crate::template::{self, copy_tree, made_once};
use crate::token::{Key, Token};

/// A token in files, with the faulty module before its own, which holds signatures and writes down what came of logins.
pub struct Soft {
    files: PathBuf,
    library: PathBuf,
    environment: Vec<(&'static str, OsString)>,
    rules: Rules,
    calls: CallLog,
}

impl Soft {
    /// SoftHSM.
    #[must_use]
    pub fn softhsm(home: &Home) -> Self {
        let token = Token::new(home, "token", &Key::ALL);
        Self::new(home, home.path("token/tokens"), token.library(), token.environment())
    }

    /// Kryoptic, which `hsm-tests/kryoptic` builds.
    ///
    /// # Panics
    /// When it is not built.
    #[must_use]
    pub fn kryoptic(home: &Home) -> Self {
        let library = kryoptic();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kryoptic/personalise.sh");
        let ready = made_once("kryoptic", &script, |folder| {
            let configuration = configure_kryoptic(folder);
            let personalise = home.command(&script).arg(&library).arg(template::PIN);
            personalise.env("KRYOPTIC_CONF", configuration).run().succeeds();
        });
        let folder = home.path("kryoptic");
        copy_tree(&ready, &folder).expect("copy the template of a token");
        let environment = vec![("KRYOPTIC_CONF", configure_kryoptic(&folder).into())];
        Self::new(home, folder.join("database"), library, environment)
    }

    fn new(home: &Home, files: PathBuf, library: PathBuf, environment: Vec<(&'static str, OsString)>) -> Self {
        let (rules, calls) = (Rules::at(home.path("rules")), CallLog::at(home.log_file("calls")));
        Self { files, library, environment, rules, calls }
    }

    fn away(&self) -> PathBuf {
        self.files.with_extension("away")
    }
}

impl TokenKind for Soft {
    fn module(&self) -> Module {
        let module = Module::at(faulty::library()).env(BACKEND, &self.library).env(RULES, self.rules.path());
        let module = module.env(LOG, self.calls.path());
        self.environment.iter().fold(module, |module, (name, value)| module.env(name, value))
    }

    fn pin(&self) -> &'static str {
        template::PIN
    }

    fn hold(&mut self) {
        self.rules.set("C_Sign hold").expect("a rule");
    }

    /// The worker computes it, and may be past the point where it needs the files.
    fn says_of_a_pending_signature(&self) -> Option<&'static str> {
        None
    }

    /// Moves the files away. Their folder stays: a module whose configuration leads nowhere is another story.
    fn remove(&mut self) {
        fs::rename(&self.files, self.away()).expect("move the token away");
        fs::create_dir(&self.files).expect("make an empty folder");
        self.rules.clear().expect("withdraw the rule");
    }

    fn put_back(&mut self) {
        fs::remove_dir_all(&self.files).expect("remove what was made meanwhile");
        fs::rename(self.away(), &self.files).expect("move the token back");
    }

    fn pins_refused(&self) -> usize {
        let refused = ["CKR_PIN_INCORRECT", "CKR_PIN_LOCKED"];
        refused.into_iter().map(|value| self.calls.count_returned("C_Login", value)).sum()
    }
}

fn configure_kryoptic(folder: &Path) -> PathBuf {
    let database = folder.join("database");
    fs::create_dir_all(&database).expect("make a folder");
    let file = folder.join("kryoptic.conf");
    let database = database.join("token.sql");
    let text = format!("[[slots]]\nslot = 1\ndbtype = \"sqlite\"\ndbargs = \"{}\"\n", database.display());
    fs::write(&file, text).expect("write kryoptic.conf");
    file
}

fn kryoptic() -> PathBuf {
    let folder = cache_directory().join("../kryoptic");
    let built = folder.join("debug/libkryoptic.so");
    assert!(
        built.exists(),
        "{} is missing: cargo build --manifest-path hsm-tests/kryoptic/Cargo.toml --target-dir {}",
        built.display(),
        folder.display()
    );
    built
}
