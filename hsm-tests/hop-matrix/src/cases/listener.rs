//! The second listener: whatever arrives there is forwarded, whoever brings it and whatever it says.

use crate::case::{Case, Stock, Wants};
use crate::uses::{self, ARRIVE, reached};
use crate::world::{Key, World};

pub(super) const CASES: &[Case] = &[
    Case::relayed("F-list", "`ssh -o ForwardAgent=FORWARD-SOCKET hosta`, there `ssh-add -l`", |world| {
        on_hop(world, &uses::list(world))
    })
    .wants(Wants::Keys)
    .stock(Stock::Lacks),
    Case::relayed("F-ssh", "the same, there `ssh hostb`", |world| on_hop(world, &uses::login(world, "hostb")))
        .stock(Stock::Lacks),
    Case::relayed("F-sign-file", "the same, there `ssh-keygen -Y sign`", |world| {
        on_hop(world, &uses::sign_file(world))
    })
    .stock(Stock::Lacks),
    Case::relayed("F-test-key", "the same, there `ssh-add -T` (random data)", |world| {
        on_hop(world, &uses::test_key(world))
    })
    .denied()
    .stock(Stock::Lacks),
    Case::relayed("F-R", "`ssh -R SOCKET:FORWARD-SOCKET hosta`, there `ssh hosta`", |world| {
        let socket = world.home().path("home/relayed.sock");
        let relay = format!("{}:{}", socket.display(), world.forward_socket().display());
        let login = format!("SSH_AUTH_SOCK={} {}", socket.display(), uses::login(world, "hosta"));
        reached(&world.on_hosta(Key::Carried, &["-o", "IdentityAgent=none", "-R", &relay], &login))
    })
    .stock(Stock::Lacks),
    Case::relayed("F-direct", "`ssh hosta` on this machine, with `SSH_AUTH_SOCK=FORWARD-SOCKET`", |world| {
        let socket = world.forward_socket();
        reached(&world.ssh(Key::Subject).env("SSH_AUTH_SOCK", socket).args(["hosta", ARRIVE]).run().stdout)
    })
    .stock(Stock::Lacks),
    Case::relayed(
        "F-direct-sign-file",
        "`ssh-keygen -Y sign` on this machine, with `SSH_AUTH_SOCK=FORWARD-SOCKET`",
        |world| {
            let script = uses::sign_file(world);
            reached(
                &world.command("sh").env("SSH_AUTH_SOCK", world.forward_socket()).args(["-c", &script]).run().stdout,
            )
        },
    )
    .stock(Stock::Lacks),
];

fn on_hop(world: &World, script: &str) -> bool {
    let option = format!("ForwardAgent={}", world.forward_socket().display());
    reached(&world.on_hosta(Key::Entry, &["-o", &option], script))
}
