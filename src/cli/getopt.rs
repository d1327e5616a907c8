//! Where the options of `agent` end and its command begins.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

/// Puts `--` before the first word, from the index `first` on, that is neither an option of `command` nor the value of one, as getopt(3) of POSIX understands a
/// command line: `ssh-agent -P/lib/* make -j2` runs `make -j2`.
///
/// Left to itself, `clap` takes either no option after the first operand, or no value that is attached to its option.
pub(super) fn mark_operands(command: &clap::Command, words: &mut Vec<OsString>, first: usize) {
    let mut value_follows = false;
    for index in first..words.len() {
        if value_follows {
            value_follows = false;
            continue;
        }
        match words[index].as_bytes() {
            b"--" => return,
            [b'-', b'-', long @ ..] => value_follows = long_wants_value(command, long),
            [b'-', short @ ..] if !short.is_empty() => value_follows = shorts_want_value(command, short),
            _ => {
                words.insert(index, OsString::from("--"));
                return;
            }
        }
    }
}

fn long_wants_value(command: &clap::Command, name: &[u8]) -> bool {
    command.get_arguments().any(|argument| {
        argument.get_long().is_some_and(|long| OsStr::new(long).as_bytes() == name)
            && argument.get_action().takes_values()
    })
}

/// `-dP` wants a value, `-dP/lib/*` has it.
fn shorts_want_value(command: &clap::Command, cluster: &[u8]) -> bool {
    let takes_value = |short: u8| {
        command
            .get_arguments()
            .any(|argument| argument.get_short() == Some(char::from(short)) && argument.get_action().takes_values())
    };
    cluster.iter().position(|short| takes_value(*short)).is_some_and(|at| at + 1 == cluster.len())
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction};

    use super::*;

    #[test]
    fn options_end_at_the_first_word_that_is_none() {
        let command = clap::Command::new("x")
            .arg(Arg::new("debug").short('d').action(ArgAction::SetTrue))
            .arg(Arg::new("allowed").short('P').long("allowed"));
        for (given, marked) in [
            ("make -j2", "-- make -j2"),
            ("-P/* make -d", "-P/* -- make -d"),
            ("-P /* make", "-P /* -- make"),
            ("-dP /* make", "-dP /* -- make"),
            ("-Pd make", "-Pd -- make"),
            ("--allowed /* make", "--allowed /* -- make"),
            ("--allowed=/* make", "--allowed=/* -- make"),
            ("-d -- make -d", "-d -- make -d"),
            ("-d", "-d"),
            ("-", "-- -"),
            ("-x make", "-x -- make"),
        ] {
            let mut words = given.split(' ').map(OsString::from).collect();
            mark_operands(&command, &mut words, 0);
            let marked: Vec<OsString> = marked.split(' ').map(OsString::from).collect();
            assert_eq!(words, marked, "{given}");
        }
    }
}
