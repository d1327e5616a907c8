//! Lines that a shell evaluates: `eval $(hardkey agent)`.

use std::path::Path;

/// Whose syntax.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// sh and its descendants.
    Bourne,
    /// csh and tcsh.
    C,
}

impl Shell {
    /// The user's, by `$SHELL`: one whose name ends in `csh` is a C shell.
    pub fn of_user() -> Self {
        match std::env::var("SHELL") {
            Ok(shell) if shell.ends_with("csh") => Self::C,
            _ => Self::Bourne,
        }
    }

    /// The line that sets and exports a variable.
    pub fn set(self, name: &str, value: &Path) -> String {
        let value = self.quote(&value.to_string_lossy());
        match self {
            Self::Bourne => format!("{name}={value}; export {name};\n"),
            Self::C => format!("setenv {name} {value};\n"),
        }
    }

    /// The line that takes a variable away.
    pub fn unset(self, name: &str) -> String {
        match self {
            Self::Bourne => format!("unset {name};\n"),
            Self::C => format!("unsetenv {name};\n"),
        }
    }

    /// The line that tells the agent's process id.
    pub fn echo_pid(self, pid: u32) -> String {
        format!("echo Agent pid {pid};\n")
    }

    /// The line that tells which agent was ended.
    pub fn echo_killed(self, pid: i32) -> String {
        format!("echo Agent pid {pid} killed;\n")
    }

    /// Plain words stay as they are; everything else goes into single quotes, in which only the quote itself (and in C shells `!` and the
    /// line break) means anything.
    fn quote(self, word: &str) -> String {
        let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+:,@%".contains(character);
        if !word.is_empty() && word.chars().all(plain) {
            return word.to_owned();
        }
        let mut quoted = String::from("'");
        for character in word.chars() {
            match character {
                '\'' => quoted.push_str("'\\''"),
                '!' | '\n' if self == Self::C => quoted.extend(['\\', character]),
                _ => quoted.push(character),
            }
        }
        quoted.push('\'');
        quoted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_shell_reads_back_every_path() {
        for path in ["/tmp/a b", "/tmp/it's", "/tmp/a b's \"c\" $HOME `id` \\ !x;#*", "/tmp/x\ny", "/plain/s.abc-1"] {
            let line = Shell::Bourne.set("S", Path::new(path));
            let output =
                std::process::Command::new("sh").args(["-c", &format!("{line}printf %s \"$S\"")]).output().expect("sh");
            assert_eq!(String::from_utf8_lossy(&output.stdout), path);
        }
    }

    #[test]
    fn plain_paths_are_printed_as_stock_does() {
        assert_eq!(
            Shell::Bourne.set("SSH_AUTH_SOCK", Path::new("/tmp/s")),
            "SSH_AUTH_SOCK=/tmp/s; export SSH_AUTH_SOCK;\n"
        );
        assert_eq!(Shell::C.set("SSH_AUTH_SOCK", Path::new("/tmp/s")), "setenv SSH_AUTH_SOCK /tmp/s;\n");
    }
}
