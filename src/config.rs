//! The configuration file: TOML in, checked values out.
//!
//! Every key is known or refused, with file and line: a misspelt `pin` must not mean that nobody is asked for one.

pub mod administrator;
mod audit;
mod certificates;
mod fido;
mod listen;
mod pin;
mod release;
mod rules;
mod sandbox;
pub(crate) mod values;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use crate::backend::pin::PinSource;
use crate::backend::pkcs11::uri::Uri;
use crate::backend::pkcs11::{ModuleSpec, Selector};
use crate::ipc::Sandbox;
use crate::policy::{Policy, Preset};
pub use audit::{AuditConfig, AuditPath};
pub use certificates::CertificatesConfig;
pub use fido::{FidoConfig, KeyPath};
pub use listen::{ExtraListener, Label, ListenConfig};
pub use pin::PinConfig;
pub use release::ReleaseConfig;
use rules::{Defaults, Forwarding, KeySection, ProcessSection, RuleSection, Sections, Source};
pub use sandbox::SandboxConfig;

/// A file that is longer than this is not read, in octets.
const LONGEST_FILE: u64 = 1 << 20;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The rules that requests are judged by.
    #[serde(default)]
    pub preset: Preset,
    /// Look for modules in p11-kit's module files.
    pub discover: Option<bool>,
    /// Where the agent listens beside its own socket.
    #[serde(default)]
    pub listen: ListenConfig,
    /// Modules named by the user.
    #[serde(default, rename = "module")]
    pub modules: Vec<ModuleConfig>,
    /// How people are asked.
    #[serde(default)]
    pub prompt: PromptConfig,
    /// Which programs are trusted.
    #[serde(default)]
    pub trust: TrustConfig,
    /// The rules, without the administrator's.
    #[serde(skip)]
    pub policy: Policy,
    #[serde(default)]
    defaults: Defaults,
    #[serde(default)]
    forwarding: Forwarding,
    #[serde(default, rename = "key")]
    keys: Vec<Spanned<KeySection>>,
    #[serde(default, rename = "rule")]
    rules: Vec<Spanned<RuleSection>>,
    #[serde(default, rename = "process")]
    processes: Vec<Spanned<ProcessSection>>,
    /// How decisions are recorded.
    #[serde(default)]
    pub audit: AuditConfig,
    /// Keys on security keys.
    #[serde(default)]
    pub fido: FidoConfig,
    /// Certificates for keys on tokens.
    #[serde(default)]
    pub certificates: CertificatesConfig,
}

/// `[trust]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustConfig {
    /// The programs that are `ssh`, `/usr/bin/ssh` when absent. Each has to belong to root.
    pub ssh: Option<Vec<AbsolutePath>>,
}

impl TrustConfig {
    /// The programs that are `ssh`.
    #[must_use]
    pub fn ssh(&self) -> Vec<PathBuf> {
        let named = self.ssh.as_ref().map(|named| named.iter().map(|path| path.0.clone()).collect());
        named.unwrap_or_else(|| vec!["/usr/bin/ssh".into()])
    }
}

/// A path from the root.
#[derive(Debug, Clone, Deserialize)]
pub struct AbsolutePath(#[serde(deserialize_with = "absolute")] pub PathBuf);

/// One `[[module]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleConfig {
    /// The shared object.
    #[serde(deserialize_with = "absolute")]
    pub path: PathBuf,
    /// Where the PIN comes from.
    #[serde(default)]
    pub pin: Option<PinConfig>,
    /// Which keys are offered.
    #[serde(default)]
    pub keys: Vec<KeySelector>,
    /// Worker processes at most.
    pub workers: Option<std::num::NonZeroUsize>,
    /// The limit for one call.
    pub timeout: Option<Seconds>,
    /// When sessions and logins end that nobody uses.
    #[serde(default)]
    pub release: ReleaseConfig,
    /// What the module may do beside signing.
    #[serde(default)]
    pub sandbox: SandboxConfig,
    /// The memory of each worker, in MiB.
    pub memory: Option<std::num::NonZeroU32>,
    /// Variables for the workers' environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// `[prompt]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptConfig {
    /// The pinentry program.
    pub pinentry: Option<PathBuf>,
    /// How long a dialog stays open.
    pub timeout: Option<Seconds>,
}

/// A key selection: a `pkcs11:` URI or a fingerprint.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct KeySelector(pub Selector);

/// A duration such as `30s`, `5m` or `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Seconds(pub u32);

/// What is wrong in a configuration, and where. The line itself is not shown: people put PINs into such files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct BadConfig {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub reason: String,
}

/// Why there is no configuration. The text names the file and, where there is one, the line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {path}: {reason}")]
    Read {
        /// The file.
        path: String,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// The file is not what it should be.
    #[error("configuration {path}: {error}")]
    Parse {
        /// The file.
        path: String,
        /// Line, column and what is wrong there.
        error: String,
    },
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// It cannot be read, others may write it, or something in it is not known.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let fail = |reason: String| ConfigError::Read { path: path.display().to_string(), reason };
        let metadata = std::fs::metadata(path).map_err(|error| fail(error.to_string()))?;
        if metadata.mode() & 0o022 != 0 {
            return Err(fail("others may write it; chmod go-w it".to_owned()));
        }
        let text = read_text(path).map_err(fail)?;
        let file = path.display().to_string();
        Self::parse_file(&text, &file)
            .map_err(|error| ConfigError::Parse { path: file.clone(), error: error.to_string() })
    }

    /// Checks a text.
    ///
    /// # Errors
    /// Something in it is not known or out of range.
    pub fn parse(text: &str) -> Result<Self, BadConfig> {
        Self::parse_file(text, "config.toml")
    }

    fn parse_file(text: &str, file: &str) -> Result<Self, BadConfig> {
        let mut config: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_at(text, span.start));
            BadConfig { line, reason: error.message().to_owned() }
        })?;
        let sections = Sections {
            defaults: std::mem::take(&mut config.defaults),
            forwarding: std::mem::take(&mut config.forwarding),
            keys: std::mem::take(&mut config.keys),
            rules: std::mem::take(&mut config.rules),
            processes: std::mem::take(&mut config.processes),
        };
        config.policy = sections.compile(config.preset, &Source { file: Arc::from(file), text })?;
        Ok(config)
    }

    /// Finds and reads the user's file: see [`Self::path`].
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn find(explicit: Option<&Path>) -> Result<Self, ConfigError> {
        Self::path(explicit).map_or_else(|| Ok(Self::default()), |path| Self::load(&path))
    }

    /// Where the user's file is: `explicit`, else `$HARDKEY_CONFIG`, else the XDG path, which alone may be missing.
    #[must_use]
    pub fn path(explicit: Option<&Path>) -> Option<PathBuf> {
        let named = || std::env::var_os("HARDKEY_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        let usual = || Self::usual_path().filter(|path| path.exists());
        explicit.map(Path::to_owned).or_else(named).or_else(usual)
    }

    /// Where the file is when nobody says so, whether or not there is one.
    #[must_use]
    pub fn usual_path() -> Option<PathBuf> {
        crate::paths::config_home().map(|home| home.join("hardkey/config.toml"))
    }
}

/// The number of the line, from 1, in which an octet stands.
fn line_at(text: &str, offset: usize) -> usize {
    text.get(..offset).unwrap_or_default().matches('\n').count() + 1
}

/// The text of a regular file that is not too long. Waits for nobody who may be at the other end of one that is not regular.
fn read_text(path: &Path) -> Result<String, String> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let file =
        std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| error.to_string())?;
    if !file.metadata().map_err(|error| error.to_string())?.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let mut text = String::new();
    file.take(LONGEST_FILE + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    match text.len() as u64 > LONGEST_FILE {
        true => Err(format!("it is longer than {LONGEST_FILE} octets, which no configuration is")),
        false => Ok(text),
    }
}

impl ModuleConfig {
    /// What the backend needs to know; a PIN that is given for all modules stands in where the module names none.
    pub fn spec(&self, default_pin: &PinSource) -> ModuleSpec {
        ModuleSpec {
            path: self.path.clone(),
            env: self.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            deadline: self.timeout.map(|timeout| Duration::from_secs(timeout.0.into())),
            workers: self.workers.map(usize::from),
            keys: self.keys.iter().map(|key| key.0.clone()).collect(),
            pin: self.pin.as_ref().and_then(PinConfig::source).unwrap_or_else(|| default_pin.clone()),
            cache: self.pin.as_ref().map(|pin| pin.cache).unwrap_or_default(),
            release: self.release.0,
            sandbox: self.sandbox(),
            ..ModuleSpec::default()
        }
    }
}

impl ModuleConfig {
    fn sandbox(&self) -> Sandbox {
        let sandbox = self.sandbox.0.clone();
        Sandbox { memory: self.memory.map_or(sandbox.memory, |memory| memory.get().into()), ..sandbox }
    }
}

impl TryFrom<String> for KeySelector {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if Uri::is_meant(&text) {
            return Uri::parse(&text).map(|uri| Self(Selector::Uri(uri))).map_err(|error| error.to_string());
        }
        match text.split_once(':') {
            Some(("SHA256" | "MD5", _)) => Ok(Self(Selector::Fingerprint(text))),
            _ => Err(format!("{text:?} is neither a pkcs11: URI nor a fingerprint as `ssh-keygen -l` prints it")),
        }
    }
}

impl TryFrom<String> for Seconds {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
            .filter(|seconds| seconds.0 > 0)
            .ok_or_else(|| format!("{text:?} is not a time such as \"30s\" or \"1h30m\""))
    }
}

impl Seconds {
    /// Reads a time as OpenSSH writes it (sshd_config(5), TIME FORMATS): numbers with units s, m, h, d, w; seconds without.
    pub fn parse(text: &str) -> Option<Self> {
        let mut total = 0_u32;
        let mut number = None::<u32>;
        for character in text.chars() {
            if let Some(digit) = character.to_digit(10) {
                number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit)?);
                continue;
            }
            let unit = match character.to_ascii_lowercase() {
                's' => 1,
                'm' => 60,
                'h' => 3600,
                'd' => 86_400,
                'w' => 604_800,
                _ => return None,
            };
            total = total.checked_add(number.take()?.checked_mul(unit)?)?;
        }
        if text.is_empty() {
            return None;
        }
        total.checked_add(number.unwrap_or(0)).map(Self)
    }
}

fn absolute<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    match path.is_absolute() {
        true => Ok(path),
        false => Err(serde::de::Error::custom(format!("{} is not an absolute path", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_understood() {
        let config = Config::parse(
            r#"
            discover = false
            [[module]]
            path = "/usr/lib/softhsm/libsofthsm2.so"
            pin = { file = "/run/pin" }
            keys = ["pkcs11:token=ci;object=deploy?pin-source=file:/run/pin2", "SHA256:abc"]
            workers = 2
            timeout = "1m30s"
            env = { SOFTHSM2_CONF = "/etc/softhsm2.conf" }
            [[module]]
            path = "/usr/lib/other.so"
            pin = "ask"
            [prompt]
            pinentry = "/usr/bin/pinentry"
            timeout = "60s"
            "#,
        )
        .expect("valid");
        let spec = config.modules[0].spec(&PinSource::Ask);
        assert_eq!(spec.deadline, Some(Duration::from_secs(90)));
        assert_eq!((spec.keys.len(), spec.workers, config.discover), (2, Some(2), Some(false)));
        assert!(matches!(spec.pin, PinSource::File(_)));
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_line() {
        for (text, line) in [
            ("discover = true\npinn = 1", "line 2"),
            ("[[module]]\npath = \"/a\"\npni = \"ask\"", "line 3"),
            ("[[module]]\npath = \"relative.so\"", "line 2"),
            ("[[module]]\npath = \"/a\"\nkeys = [\"pkcs11:tokn=x\"]", "line 3"),
            ("[[module]]\npath = \"/a\"\npin = { fil = \"/b\" }", "line 3"),
            ("[prompt]\ntimeout = \"soon\"", "line 2"),
        ] {
            let error = Config::parse(text).expect_err(text).to_string();
            assert!(error.starts_with(&format!("{line}:")), "{error}");
        }
    }

    #[test]
    fn a_pin_written_into_the_file_is_not_repeated() {
        for pin in ["\"31415\"", "31415", "{ file = \"31415\" }", "{ fil = \"31415\" }", "[\"31415\"]"] {
            let error = Config::parse(&format!("[[module]]\npath = \"/a\"\npin = {pin}")).expect_err("no PIN here");
            assert!(!error.to_string().contains("31415"), "{error}");
        }
    }

    #[test]
    fn times_are_read_as_openssh_reads_them() {
        for (text, seconds) in [("5", 5), ("1m", 60), ("1w2d3h4m5s", 788_645), ("1h30", 3630), ("10M", 600), ("0", 0)] {
            assert_eq!(Seconds::parse(text), Some(Seconds(seconds)), "{text}");
        }
        for text in ["", "s", "5x", "-1", "99999999999", "1hh"] {
            assert_eq!(Seconds::parse(text), None, "{text}");
        }
    }
}
