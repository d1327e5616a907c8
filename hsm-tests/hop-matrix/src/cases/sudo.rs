//! `sudo` with `pam_ssh_agent_auth`, which has the agent sign who may become root.

use crate::case::Case;
use crate::needs::{Need, PAM_AGENT, SUDO};
use crate::uses::{ARRIVE, reached, through};
use crate::world::{Key, World};

const NEEDS: &[Need] = &[Need::Root, PAM_AGENT, SUDO];

pub(super) const CASES: &[Case] = &[
    Case::relayed("A-sudo", "`ssh -A hosta`, there `sudo` with pam_ssh_agent_auth", |world| {
        reached(&world.on_hosta(Key::Entry, &["-A"], &sudo(world)))
    })
    .needs(NEEDS),
    Case::relayed("A-A-sudo", "`ssh -A hosta`, `ssh -A hostb`, there `sudo` with pam_ssh_agent_auth", |world| {
        reached(&world.on_hosta(Key::Entry, &["-A"], &through(world, Key::Carried, "-A", "hostb", &sudo(world))))
    })
    .needs(NEEDS),
];

fn sudo(world: &World) -> String {
    hsm_tests::sudo_by_agent(&world.public_file(Key::Subject), ARRIVE)
}
