//! Relays that the agent is told nothing of: the request arrives as a local one would, byte for byte.

use std::net::TcpListener;
use std::path::Path;

use hsm_tests::{SOON, until};

use crate::case::Case;
use crate::needs::{GIT, Need, SOCAT};
use crate::uses::{self, ARRIVE, quoted, reached};
use crate::world::{Key, World};

pub(super) const CASES: &[Case] = &[
    Case::program("R-own-login", "`ssh -R SOCKET:AGENT hosta`: its own login", |world| {
        relayed(world, Key::Subject, &[], ARRIVE)
    }),
    Case::relayed("R-list", "`ssh -R SOCKET:AGENT hosta`, there `ssh-add -l`", |world| {
        relayed(world, Key::Carried, &[], &uses::list(world))
    })
    .shown(),
    Case::relayed("R-ssh", "`ssh -R SOCKET:AGENT hosta`, there `ssh hostb`", |world| {
        relayed(world, Key::Carried, &[], &uses::login(world, "hostb"))
    }),
    Case::relayed("R-ssh-both", "the same, both logins with one key, each asked about", |world| {
        relayed(world, Key::Subject, &[], &uses::login(world, "hostb"))
    }),
    Case::relayed(
        "R-ssh-later",
        "`ssh -R SOCKET:AGENT hosta`, there `ssh hostb` when the socket is used a second time",
        |world| relayed(world, Key::Carried, &[], &format!("ssh-add -l >/dev/null; {}", uses::login(world, "hostb"))),
    ),
    Case::relayed("R-ssh-back", "`ssh -R SOCKET:AGENT hosta`, there `ssh hosta`", |world| {
        relayed(world, Key::Carried, &[], &uses::login(world, "hosta"))
    }),
    Case::relayed("R-sign-file", "`ssh -R SOCKET:AGENT hosta`, there `ssh-keygen -Y sign`", |world| {
        relayed(world, Key::Carried, &[], &uses::sign_file(world))
    }),
    Case::relayed("R-sign-commit", "`ssh -R SOCKET:AGENT hosta`, there `git commit -S`", |world| {
        relayed(world, Key::Carried, &[], &uses::sign_commit(world))
    })
    .needs(&[GIT]),
    Case::relayed("R-test-key", "`ssh -R SOCKET:AGENT hosta`, there `ssh-add -T` (random data)", |world| {
        relayed(world, Key::Carried, &[], &uses::test_key(world))
    }),
    Case::relayed(
        "R-other-login-back",
        "`ssh -o IdentityAgent=none -R SOCKET:AGENT hosta`, there `ssh hosta`",
        |world| relayed(world, Key::Carried, &["-o", "IdentityAgent=none"], &uses::login(world, "hosta")),
    ),
    Case::relayed("R-other-login-ssh", "the same, there `ssh hostb`", |world| {
        relayed(world, Key::Carried, &["-o", "IdentityAgent=none"], &uses::login(world, "hostb"))
    }),
    Case::relayed("R-other-login-later", "the same, the second time the socket is used", |world| {
        let script = format!("ssh-add -l >/dev/null; {}", uses::login(world, "hosta"));
        relayed(world, Key::Carried, &["-o", "IdentityAgent=none"], &script)
    }),
    Case::relayed("R-other-login-sign-file", "the same, there `ssh-keygen -Y sign`", |world| {
        relayed(world, Key::Carried, &["-o", "IdentityAgent=none"], &uses::sign_file(world))
    }),
    Case::relayed("R-configured", "`RemoteForward` in ssh_config instead of `-R`, there `ssh hosta`", configured),
    Case::relayed("R-background", "`ssh -f -N -R SOCKET:AGENT hosta`, there `ssh hosta`", background),
    Case::relayed(
        "R-restarted",
        "`ssh -R SOCKET:AGENT hosta`, then the agent is restarted; there `ssh hosta`",
        |world| {
            let way = world.relayed_to_hosta(Key::Carried, &[]);
            world.restart_agent();
            with_agent(world, &way, &uses::login(world, "hosta"))
        },
    ),
    Case::relayed("A-restarted", "`ssh -A hosta`, then the agent is restarted; there `ssh hosta`", |world| {
        let way = world.forwarded_to_hosta(Key::Entry, &["-A"]);
        world.restart_agent();
        with_agent(world, &way, &uses::login(world, "hosta"))
    }),
    Case::relayed(
        "R-tcp",
        "`ssh -R SOCKET:127.0.0.1:PORT hosta`, `socat` from that port to the agent; there `ssh hostb`",
        |world| {
            let port = tcp_relay(world).to_string();
            let relay = format!("{}:127.0.0.1:{port}", world.home().path("home/relayed.sock").display());
            there(world, Key::Entry, &["-R", &relay], &uses::login(world, "hostb"))
        },
    )
    .needs(&[SOCAT]),
    Case::relayed("socat", "`socat UNIX-LISTEN:SOCKET UNIX-CONNECT:AGENT`, behind it `ssh hosta`", |world| {
        let socket = unix_relay(world);
        let login = format!("SSH_AUTH_SOCK={socket} {}", uses::login(world, "hosta"));
        reached(&world.command("sh").args(["-c", &login]).run().stdout)
    })
    .needs(&[SOCAT]),
    Case::relayed("socat-sign-file", "the same, behind it `ssh-keygen -Y sign`", |world| {
        let socket = unix_relay(world);
        let script = format!("export SSH_AUTH_SOCK={socket}; {}", uses::sign_file(world));
        reached(&world.command("sh").args(["-c", &script]).run().stdout)
    })
    .needs(&[SOCAT]),
    Case::relayed("tcp", "the agent's socket over TCP, as into a virtual machine; there `ssh hosta`", tcp)
        .needs(&[SOCAT]),
    Case::relayed(
        "inbound-L",
        "from elsewhere `ssh -L SOCKET:AGENT hosta`, hosta being this machine; there `ssh hostb`",
        inbound,
    ),
    Case::relayed("inbound-L-sign-file", "the same, there `ssh-keygen -Y sign`", |world| {
        let socket = inbound_socket(world);
        let script = format!("export SSH_AUTH_SOCK={socket}; {}", uses::sign_file(world));
        reached(&world.command("sh").args(["-c", &script]).run().stdout)
    }),
    Case::relayed(
        "container",
        "the socket mounted into a container (pid, mount, user namespace), there `ssh hosta`",
        |world| {
            contained(
                world,
                &["--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc"],
                &uses::login(world, "hosta"),
            )
        },
    )
    .needs(&[Need::Root]),
    Case::relayed("container-pid", "the same, pid namespace alone", |world| {
        contained(world, &["--pid", "--fork", "--mount-proc"], &uses::login(world, "hosta"))
    })
    .needs(&[Need::Root]),
    Case::relayed("container-user", "the same, user namespace alone", |world| {
        contained(world, &["--user", "--map-root-user"], &uses::login(world, "hosta"))
    })
    .needs(&[Need::Root]),
    Case::relayed("container-sign-file", "in the container `ssh-keygen -Y sign`", |world| {
        contained(world, &["--pid", "--fork", "--mount-proc"], &uses::sign_file(world))
    })
    .needs(&[Need::Root]),
];

/// Runs a script on `hosta`, with the agent's socket relayed there by the `ssh` that went there.
fn relayed(world: &World, key: Key, options: &[&str], script: &str) -> bool {
    let relay = format!("{}:{}", world.home().path("home/relayed.sock").display(), world.socket().display());
    there(world, key, &[&["-R", &relay], options].concat(), script)
}

fn there(world: &World, key: Key, options: &[&str], script: &str) -> bool {
    let socket = world.home().path("home/relayed.sock");
    let script = format!("SSH_AUTH_SOCK={} sh -c {}", socket.display(), quoted(script));
    reached(&world.on_hosta(key, options, &script))
}

fn with_agent(world: &World, way: &Path, script: &str) -> bool {
    reached(&world.command("sh").env("SSH_AUTH_SOCK", way).args(["-c", script]).run().stdout)
}

/// The own login is with another key, so that the relay is the first to use the agent.
fn configured(world: &World) -> bool {
    let socket = world.home().path("home/relayed.sock");
    let relay = format!("RemoteForward={} {}", socket.display(), world.socket().display());
    there(world, Key::Carried, &["-o", "IdentityAgent=none", "-o", &relay], &uses::login(world, "hosta"))
}

fn background(world: &World) -> bool {
    let socket = world.home().path("home/relayed.sock");
    let relay = format!("{}:{}", socket.display(), world.socket().display());
    world.ssh(Key::Carried).args(["-f", "-N", "-R", &relay, "hosta"]).run().succeeds();
    let script = format!("SSH_AUTH_SOCK={} {}", socket.display(), uses::login(world, "hosta"));
    assert!(until(SOON, || socket.exists()), "nothing is relayed\n{}", world.home().logs());
    reached(&world.command("sh").args(["-c", &script]).run().stdout)
}

/// A Unix socket in front of the agent's.
fn unix_relay(world: &World) -> String {
    let socket = world.home().path("home/socat.sock");
    start_socat(world, &format!("UNIX-LISTEN:{},fork", socket.display()), &agent_address(world), "socat");
    assert!(until(SOON, || socket.exists()), "socat does not listen\n{}", world.home().logs());
    socket.display().to_string()
}

/// A TCP port in front of the agent.
fn tcp_relay(world: &World) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    start_socat(world, &format!("TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork"), &agent_address(world), "socat-tcp");
    port
}

fn agent_address(world: &World) -> String {
    format!("UNIX-CONNECT:{}", world.socket().display())
}

/// Runs until the world ends.
fn start_socat(world: &World, from: &str, to: &str, name: &str) {
    let mut process = world.command("socat").args(["-d", "-d", from, to]).start(name);
    process.wait_for_log("listening on", SOON);
    world.keep(process);
}

fn tcp(world: &World) -> bool {
    let (port, socket) = (tcp_relay(world), world.home().path("home/guest.sock"));
    start_socat(
        world,
        &format!("UNIX-LISTEN:{},fork", socket.display()),
        &format!("TCP:127.0.0.1:{port}"),
        "socat-guest",
    );
    let login = format!("SSH_AUTH_SOCK={} {}", socket.display(), uses::login(world, "hosta"));
    reached(&world.command("sh").args(["-c", &login]).run().stdout)
}

fn inbound_socket(world: &World) -> String {
    let socket = world.home().path("home/inbound.sock");
    let relay = format!("{}:{}", socket.display(), world.socket().display());
    let elsewhere = world.ssh(Key::Carried).without_env("SSH_AUTH_SOCK");
    world.keep(elsewhere.args(["-N", "-L", &relay, "hosta"]).start("inbound"));
    assert!(until(SOON, || socket.exists()), "nothing is relayed\n{}", world.home().logs());
    socket.display().to_string()
}

fn inbound(world: &World) -> bool {
    let login = format!("SSH_AUTH_SOCK={} {}", inbound_socket(world), uses::login(world, "hostb"));
    reached(&world.command("sh").args(["-c", &login]).run().stdout)
}

fn contained(world: &World, options: &[&str], script: &str) -> bool {
    reached(&world.command("unshare").args(options).args(["sh", "-c", script]).run().stdout)
}
