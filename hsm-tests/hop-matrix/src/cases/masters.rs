//! Connections that several sessions share: the master's process outlives logins, changes its number, and forwards for everybody.

use std::path::PathBuf;

use hsm_tests::{Background, SOON, until};

use crate::case::Case;
use crate::uses::{self, ARRIVE, reached};
use crate::world::{Key, World};

pub(super) const CASES: &[Case] = &[
    Case::local("master", "`ssh -M -N hosta`, then `ssh hosta` through it", |world| {
        let _master = foreground(world, Key::Subject, &[]);
        reached(&client(world, &["hosta", ARRIVE]))
    }),
    Case::local("master-persist", "`ssh -o ControlPersist=yes hosta`, then `ssh hosta` through it", |world| {
        let first = first_session(world, Key::Subject, &[], ARRIVE);
        reached(&first) && reached(&client(world, &["hosta", ARRIVE]))
    }),
    Case::relayed("master-A", "`ssh -A -M -N hosta`; through it `ssh -A hosta`, there `ssh hostb`", |world| {
        let _master = foreground(world, Key::Entry, &["-A"]);
        reached(&client(world, &["-A", "hosta", &uses::login(world, "hostb")]))
    }),
    Case::relayed("master-persist-A", "`ssh -A -o ControlPersist=yes hosta`, there `ssh hostb`", |world| {
        reached(&first_session(world, Key::Entry, &["-A"], &uses::login(world, "hostb")))
    }),
    Case::relayed(
        "master-persist-A-sign-file",
        "`ssh -A -o ControlPersist=yes hosta`, there `ssh-keygen -Y sign`",
        |world| reached(&first_session(world, Key::Entry, &["-A"], &uses::sign_file(world))),
    ),
    Case::relayed("master-persist-A-client", "the same, in a later session through it with `-A`", |world| {
        first_session(world, Key::Entry, &["-A"], "true");
        reached(&client(world, &["-A", "hosta", &uses::login(world, "hostb")]))
    }),
    Case::relayed("master-persist-A-client-a", "the same, in a later session through it with `-a`", |world| {
        first_session(world, Key::Entry, &["-A"], "true");
        reached(&client(world, &["-a", "hosta", &uses::login(world, "hostb")]))
    }),
    Case::relayed("master-persist-A-ended", "the same, after the last session has ended", |world| {
        let socket = first_session(world, Key::Entry, &["-A"], "echo $SSH_AUTH_SOCK");
        let login = format!("SSH_AUTH_SOCK={} {}", socket.trim(), uses::login(world, "hostb"));
        reached(&world.command("sh").args(["-c", &login]).run().stdout)
    }),
    Case::relayed(
        "master-O-forward",
        "`ssh -M -N hosta`, then `ssh -O forward -R SOCKET:AGENT`; there `ssh hostb`",
        |world| {
            let _master = foreground(world, Key::Entry, &[]);
            forward_later(world, "hostb")
        },
    ),
    Case::relayed("master-persist-O-forward", "the same with `ControlPersist=yes`", |world| {
        first_session(world, Key::Entry, &[], "true");
        forward_later(world, "hostb")
    }),
    Case::relayed(
        "master-other-login-O-forward",
        "`ssh -M -N -o IdentityAgent=none hosta`, then `ssh -O forward -R SOCKET:AGENT`; there `ssh hosta`",
        |world| {
            let _master = foreground(world, Key::Carried, &["-o", "IdentityAgent=none"]);
            forward_later(world, "hosta")
        },
    ),
    Case::relayed(
        "master-persist-R",
        "`ssh -o ControlPersist=yes -R SOCKET:AGENT hosta`, there `ssh hostb`",
        |world| {
            let relay = format!("{}:{}", relayed(world).display(), world.socket().display());
            reached(&first_session(world, Key::Carried, &["-R", &relay], &login_there(world, "hostb")))
        },
    ),
];

fn control(world: &World) -> String {
    format!("ControlPath={}", world.home().path("home/control").display())
}

/// A master that stays in the foreground.
fn foreground(world: &World, key: Key, options: &[&str]) -> Background {
    let ssh = world.ssh(key).args(["-M", "-N", "-o", &control(world)]).args(options).arg("hosta").start("master");
    let there = until(SOON, || world.home().path("home/control").exists());
    assert!(there, "no master\n{}", world.home().logs());
    ssh
}

/// Runs a script in the session that leaves a master behind.
fn first_session(world: &World, key: Key, options: &[&str], script: &str) -> String {
    let master = ["-o", "ControlMaster=yes", "-o", "ControlPersist=yes", "-o", &control(world)];
    world.ssh(key).args(master).args(options).args(["hosta", script]).run().stdout
}

/// Uses the master that runs.
fn client(world: &World, arguments: &[&str]) -> String {
    world.ssh(Key::Carried).args(["-o", &control(world)]).args(arguments).run().stdout
}

fn relayed(world: &World) -> PathBuf {
    world.home().path("home/relayed.sock")
}

fn login_there(world: &World, host: &str) -> String {
    format!("SSH_AUTH_SOCK={} {}", relayed(world).display(), uses::login(world, host))
}

fn forward_later(world: &World, host: &str) -> bool {
    let relay = format!("{}:{}", relayed(world).display(), world.socket().display());
    client(world, &["-O", "forward", "-R", &relay, "hosta"]);
    reached(&client(world, &["hosta", &login_there(world, host)]))
}
