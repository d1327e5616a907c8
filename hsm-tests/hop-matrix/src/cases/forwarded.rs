//! `ssh -A`: the hop's programs, further hops, and hops with clients that announce nothing.

use crate::case::{Case, Wants};
use crate::needs::{DROPBEAR, GIT, PUTTY, SOCAT};
use crate::tap::{Binds, Tap};
use crate::uses::{self, quoted, reached, through};
use crate::world::{Key, World};

pub(super) const CASES: &[Case] = &[
    Case::relayed("A-list", "`ssh -A hosta`, there `ssh-add -l`", |world| on_hop(world, &uses::list(world)))
        .wants(Wants::Keys),
    Case::relayed("A-ssh", "`ssh -A hosta`, there `ssh hostb`", |world| on_hop(world, &uses::login(world, "hostb"))),
    Case::relayed("A-ssh-back", "`ssh -A hosta`, there `ssh hosta`", |world| {
        on_hop(world, &uses::login(world, "hosta"))
    }),
    Case::relayed("A-sign-file", "`ssh -A hosta`, there `ssh-keygen -Y sign`", |world| {
        on_hop(world, &uses::sign_file(world))
    }),
    Case::relayed("A-sign-commit", "`ssh -A hosta`, there `git commit -S`", |world| {
        on_hop(world, &uses::sign_commit(world))
    })
    .needs(&[GIT]),
    Case::relayed("A-sign-certificate", "`ssh -A hosta`, there `ssh-keygen -Us`", |world| {
        on_hop(world, &uses::sign_certificate(world))
    }),
    Case::relayed("A-test-key", "`ssh -A hosta`, there `ssh-add -T` (random data)", |world| {
        on_hop(world, &uses::test_key(world))
    })
    .denied(),
    Case::relayed("A-jump", "`ssh -A -J hosta hostb`, there `ssh hostc`", |world| {
        let script = uses::login(world, "hostc");
        reached(&world.ssh(Key::Entry).args(["-A", "-J", "hosta", "hostb", &script]).run().stdout)
    })
    .hosts(&["hosta", "hostb", "hostc"]),
    Case::relayed("A-A-ssh", "`ssh -A hosta`, `ssh -A hostb`, `ssh hostc`", |world| {
        on_hop(world, &through(world, Key::Carried, "-A", "hostb", &uses::login(world, "hostc")))
    })
    .hosts(&["hosta", "hostb", "hostc"]),
    Case::relayed("A-A-sign-file", "`ssh -A hosta`, `ssh -A hostb`, there `ssh-keygen -Y sign`", |world| {
        on_hop(world, &through(world, Key::Carried, "-A", "hostb", &uses::sign_file(world)))
    }),
    Case::relayed("A-A-A-ssh", "`ssh -A hosta`, `ssh -A hostb`, `ssh -A hostc`, `ssh hostd`", |world| {
        let third = through(world, Key::Carried, "-A", "hostc", &uses::login(world, "hostd"));
        on_hop(world, &through(world, Key::Carried, "-A", "hostb", &third))
    })
    .hosts(&["hosta", "hostb", "hostc", "hostd"]),
    Case::relayed("A-A-A-back", "`ssh -A hosta`, `ssh -A hostb`, `ssh -A hostc`, back to `hosta`", |world| {
        let third = through(world, Key::Carried, "-A", "hostc", &uses::login(world, "hosta"));
        on_hop(world, &through(world, Key::Carried, "-A", "hostb", &third))
    })
    .hosts(&["hosta", "hostb", "hostc"]),
    Case::relayed("A-no-binds", "`ssh -A hosta`, there a client that announces nothing (OpenSSH before 8.9)", no_binds),
    Case::relayed("A-socat", "`ssh -A hosta`, there `socat`, behind it `ssh hostb`", socat).needs(&[SOCAT]),
    Case::relayed("A-plink", "`ssh -A hosta`, there `plink hostb`", plink).needs(&[PUTTY]),
    Case::relayed("A-dbclient", "`ssh -A hosta`, there `dbclient hostb`", dbclient).needs(&[DROPBEAR]),
];

fn on_hop(world: &World, script: &str) -> bool {
    reached(&world.on_hosta(Key::Entry, &["-A"], script))
}

fn no_binds(world: &World) -> bool {
    let way = world.forwarded_to_hosta(Key::Entry, &["-A"]);
    let tap = Tap::new(world.home().path("home/tap.sock"), &way, Binds::Swallow);
    let script = format!("SSH_AUTH_SOCK={} {}", tap.socket().display(), uses::login(world, "hostb"));
    reached(&world.command("sh").args(["-c", &script]).run().stdout)
}

fn socat(world: &World) -> bool {
    let socket = world.home().path("home/socat.sock");
    let login = uses::login(world, "hostb");
    let script = format!(
        "socat UNIX-LISTEN:{0},fork UNIX-CONNECT:$SSH_AUTH_SOCK & trap \"kill $!\" EXIT; \
         until [ -S {0} ]; do sleep 0.02; done; SSH_AUTH_SOCK={0} sh -c {1}",
        socket.display(),
        quoted(&login)
    );
    on_hop(world, &script)
}

fn plink(world: &World) -> bool {
    let host = world.host("hostb");
    let script = format!(
        "plink -batch -agent -hostkey {} -P {} $(id -un)@127.0.0.1 echo reached 2>/dev/null",
        host.host_key().public().fingerprint(),
        host.port()
    );
    on_hop(world, &script)
}

fn dbclient(world: &World) -> bool {
    let port = world.host("hostb").port();
    on_hop(world, &format!("dbclient -y -y -p {port} $(id -un)@127.0.0.1 echo reached 2>/dev/null"))
}
