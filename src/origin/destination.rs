//! Where an `ssh` really goes: its own configuration, printed by the trusted `ssh` itself for the same command line (`ssh -G`).
//!
//! This runs the commands that `Match exec` in the user's configuration names, as `ssh` itself has just done. It happens in the
//! peer's environment, less the variables that change what code programs load, and within half a second.

use std::path::Path;
use std::time::Duration;

use super::Unknown;
use super::effective_config::EffectiveConfig;
use super::environment::Environment;
use super::run::run;
use super::ssh_argv::SshCommand;
use super::trust::TrustedFile;

/// How long `ssh -G` may take; 10 ms are usual.
pub const QUERY_TIME: Duration = Duration::from_millis(500);
/// More of an error message is not repeated: characters.
const LONGEST_MESSAGE: usize = 200;

/// Asks `ssh` for the configuration it uses for `command`. `directory` is where the command runs; only relative file names need it.
///
/// # Errors
/// `ssh` refuses the command line or the configuration, does not answer in time, or answers for another host than we read.
pub async fn query(
    ssh: &TrustedFile,
    command: &SshCommand,
    environment: &Environment,
    directory: Option<&Path>,
) -> Result<EffectiveConfig, Unknown> {
    let unknown = |reason: String| Unknown::new(format!("its configuration is unknown: {reason}"));
    let words = command.query(directory).map_err(|error| unknown(error.to_string()))?;
    let mut process = ssh.command();
    process.args(words).env_clear().envs(environment.without_loader());
    let answer = run(process, QUERY_TIME).await.map_err(|error| unknown(format!("ssh -G: {error}")))?;
    if !answer.success {
        return Err(unknown(format!("ssh -G failed: {}", last_line(&answer.stderr))));
    }
    let mut config =
        EffectiveConfig::parse(&String::from_utf8_lossy(&answer.stdout)).map_err(|error| unknown(error.to_string()))?;
    if config.host.as_ref().is_some_and(|host| host != command.host()) {
        return Err(unknown("ssh reads its command line differently than we do".into()));
    }
    config.host.get_or_insert_with(|| command.host().to_owned());
    // Relative names are relative to where the command runs, and name nothing when that is not known.
    config.known_hosts.retain_mut(|file| {
        if let Some(directory) = directory.filter(|_| file.is_relative()) {
            *file = directory.join(&*file);
        }
        file.is_absolute()
    });
    Ok(config)
}

/// The last line of an error message, fit to be shown.
fn last_line(message: &[u8]) -> String {
    let message = String::from_utf8_lossy(message);
    let line = message.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    line.chars().flat_map(char::escape_debug).take(LONGEST_MESSAGE).collect()
}

#[cfg(test)]
#[path = "destination_tests.rs"]
mod tests;
