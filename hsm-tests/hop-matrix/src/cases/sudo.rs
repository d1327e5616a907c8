//! `sudo` with `pam_ssh_agent_auth`, which has the agent sign who may become root.

use crate::case::Case;
use crate::needs::{Need, PAM_AGENT, SUDO};
use crate::uses::{ARRIVE, quoted, reached, through};
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

/// Becomes a user who is not root, and root again by `sudo`. The user, and `sudo`'s configuration, are there in a mount namespace only.
fn sudo(world: &World) -> String {
    let key = world.public_file(Key::Subject);
    let script = format!(
        "set -e
        mount -t tmpfs -o mode=755 none /mnt
        cp {} /mnt/keys
        chmod 644 /mnt/keys
        cp /etc/passwd /mnt/passwd
        echo 'hopper:x:54321:54321::/:/bin/sh' >>/mnt/passwd
        printf '%s\\n' 'Defaults env_keep += SSH_AUTH_SOCK' 'hopper ALL=(ALL) ALL' >/mnt/sudoers
        chmod 440 /mnt/sudoers
        printf '%s\\n' 'auth sufficient pam_ssh_agent_auth.so file=/mnt/keys' 'auth requisite pam_deny.so' \
            'account required pam_permit.so' 'session required pam_permit.so' >/mnt/pam
        mount --bind /mnt/passwd /etc/passwd
        mount --bind /mnt/sudoers /etc/sudoers
        mount --bind /mnt/pam /etc/pam.d/sudo
        chown 54321 \"$SSH_AUTH_SOCK\" \"$(dirname \"$SSH_AUTH_SOCK\")\"
        [ \"$(setpriv --reuid 54321 --regid 54321 --clear-groups sudo -S id -un </dev/null)\" = root ]
        {ARRIVE}",
        key.display()
    );
    format!("unshare --mount sh -c {}", quoted(&script))
}
