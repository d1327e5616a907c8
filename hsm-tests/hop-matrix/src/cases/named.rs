//! Keys that were added for one path only (`ssh-add -h`): the user has named hop and destination, which is consent, if both are proved.

use crate::case::{Case, Stock};
use crate::uses::{self, ARRIVE, reached, through};
use crate::world::{Key, World};

pub(super) const CASES: &[Case] = &[
    Case::local("h-ssh", "key added with `-h hosta`; `ssh hosta`", |world| {
        restrict(world, &["hosta"]);
        reached(&world.on_hosta(Key::Subject, &[], ARRIVE))
    }),
    Case::named("h-A-ssh", "`-h hosta -h 'hosta>hostb'`; `ssh -A hosta`, there `ssh hostb`", |world| {
        restrict(world, &["hosta", "hosta>hostb"]);
        reached(&world.on_hosta(Key::Entry, &["-A"], &uses::login(world, "hostb")))
    }),
    Case::relayed("h-A-ssh-elsewhere", "the same key; `ssh -A hosta`, there `ssh hostc`", |world| {
        restrict(world, &["hosta", "hosta>hostb"]);
        reached(&world.on_hosta(Key::Entry, &["-A"], &uses::login(world, "hostc")))
    })
    .hosts(&["hosta", "hostb", "hostc"])
    .denied()
    .stock(Stock::Refuses),
    Case::relayed("h-A-sign-file", "the same key; `ssh -A hosta`, there `ssh-keygen -Y sign`", |world| {
        restrict(world, &["hosta", "hosta>hostb"]);
        reached(&world.on_hosta(Key::Entry, &["-A"], &uses::sign_file(world)))
    })
    .denied()
    .stock(Stock::Refuses),
    Case::relayed(
        "h-A-A-ssh",
        "`-h hosta -h 'hosta>hostb' -h 'hostb>hostc'`; that path (the middle hop is a claim)",
        |world| {
            restrict(world, &["hosta", "hosta>hostb", "hostb>hostc"]);
            let second = through(world, Key::Carried, "-A", "hostb", &uses::login(world, "hostc"));
            reached(&world.on_hosta(Key::Entry, &["-A"], &second))
        },
    )
    .hosts(&["hosta", "hostb", "hostc"]),
    Case::relayed("h-R-ssh", "`-h hostb`; `ssh -R SOCKET:AGENT hosta`, there `ssh hostb`", |world| {
        restrict(world, &["hostb"]);
        let way = world.relayed_to_hosta(Key::Carried, &[]);
        let login = uses::login(world, "hostb");
        reached(&world.command("sh").env("SSH_AUTH_SOCK", &way).args(["-c", &login]).run().stdout)
    })
    .denied(),
];

/// Adds the key again, for these steps only.
pub(super) fn restrict(world: &World, steps: &[&str]) {
    let known_hosts = world.known_hosts().display().to_string();
    let mut options = vec!["-H", &known_hosts];
    options.extend(steps.iter().flat_map(|step| ["-h", step]));
    world.add_keys(&options, &[Key::Subject]);
}
