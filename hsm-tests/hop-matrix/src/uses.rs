//! What an agent can be used for, as shell scripts that run here or on a hop. Each prints [`REACHED`] on a line if it got what it wanted.

use crate::world::{Key, World};

/// Said by whoever got what was asked for.
const REACHED: &str = "reached";

/// Whether the output of a use says that it got what it wanted.
pub(crate) fn reached(output: &str) -> bool {
    output.lines().any(|line| line == REACHED)
}

/// A script as one word of another script.
pub(crate) fn quoted(script: &str) -> String {
    format!("'{}'", script.replace('\'', r"'\''"))
}

/// Says so.
pub(crate) const ARRIVE: &str = "echo reached";

/// Logs in to a host.
pub(crate) fn login(world: &World, host: &str) -> String {
    through(world, Key::Subject, "", host, ARRIVE)
}

/// Logs in to a host with `ssh` and these options, and runs a script there.
pub(crate) fn through(world: &World, key: Key, options: &str, host: &str, script: &str) -> String {
    format!("ssh -F {} {options} {host} {}", world.configuration(key).display(), quoted(script))
}

/// Signs a file with `ssh-keygen -Y sign`.
pub(crate) fn sign_file(world: &World) -> String {
    format!(
        "{} && echo text >file && ssh-keygen -q -Y sign -n file -f {} file 2>/dev/null && \
         ssh-keygen -q -Y check-novalidate -n file -s file.sig <file >/dev/null && {ARRIVE}",
        scratch(world),
        world.public_file(Key::Subject).display()
    )
}

/// Makes a signed commit.
pub(crate) fn sign_commit(world: &World) -> String {
    format!(
        "{} && git init -q . && git -c user.name=n -c user.email=e@example.org -c gpg.format=ssh \
         -c user.signingkey={} commit -q -S --allow-empty -m m 2>/dev/null && \
         git cat-file commit HEAD | grep -q 'BEGIN SSH SIGNATURE' && {ARRIVE}",
        scratch(world),
        world.public_file(Key::Subject).display()
    )
}

/// Has random data signed with `ssh-add -T`.
pub(crate) fn test_key(world: &World) -> String {
    format!("ssh-add -T {} 2>/dev/null && {ARRIVE}", world.public_file(Key::Subject).display())
}

/// Makes a certificate for another key, with the agent's as authority.
pub(crate) fn sign_certificate(world: &World) -> String {
    format!(
        "{} && cp {} user.pub && ssh-keygen -q -Us {} -I id -n root user.pub 2>/dev/null && \
         [ -s user-cert.pub ] && {ARRIVE}",
        scratch(world),
        world.public_file(Key::Carried).display(),
        world.public_file(Key::Subject).display()
    )
}

/// Lists the keys.
pub(crate) fn list(_: &World) -> String {
    format!("ssh-add -l 2>/dev/null | grep -q ' subject ' && {ARRIVE}")
}

fn scratch(world: &World) -> String {
    format!("cd \"$(mktemp -d {})\"", world.home().path("tmp/use.XXXXXX").display())
}
