//! `sudo` that lets in whom an agent vouches for.

use std::path::Path;

/// A shell script that becomes a user who is not root, and root again by `sudo` with `pam_ssh_agent_auth` and the agent at
/// `$SSH_AUTH_SOCK`, and runs a command if that worked. The user, `sudo`'s configuration and the host's name, `devbox`, are there in its namespaces only, for which it
/// takes root. `keys` is a file of public keys that may become root.
#[must_use]
pub fn sudo_by_agent(keys: &Path, then: &str) -> String {
    let script = format!(
        "set -e
        hostname devbox
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
        cd /mnt
        [ \"$(setpriv --reuid 54321 --regid 54321 --clear-groups sudo -S id -un </dev/null)\" = root ]
        {then}",
        keys.display()
    );
    format!("unshare --mount --uts sh -c '{}'", script.replace('\'', r"'\''"))
}
