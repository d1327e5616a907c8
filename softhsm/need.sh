#!/bin/sh
# Installs Debian packages, but only those whose content is missing, and says so.
#
#   softhsm/need.sh PACKAGE…
#
# Knows the packages below; "rust" stands for a compiler new enough for this project, which it never installs.
set -eu

fail() {
    printf 'need: %s\n' "$1" >&2
    exit 1
}

present() {
    look_for "$1" >/dev/null 2>&1
}

look_for() {
    case $1 in
    rust) new_enough ;;
    gcc) command -v cc ;;
    g++) command -v c++ ;;
    autossh | dbus-daemon | dunst | gdb | git | openssl | perl | pinentry-curses | pinentry-qt | pkg-config | socat | sudo | swtpm | tmux | tpm2-abrmd | xdotool | yubico-piv-tool) command -v "$1" ;;
    dbus-bin) command -v dbus-send && command -v dbus-monitor ;;
    imagemagick) command -v convert && command -v import ;;
    pinentry-gnome3) command -v pinentry-gnome3 && [ -x /usr/libexec/gcr-prompter ] ;;
    pinentry-gtk2) command -v pinentry-gtk-2 ;;
    xvfb) command -v Xvfb ;;
    dropbear-bin) command -v dbclient && command -v dropbearconvert ;;
    krb5-admin-server) [ -x /usr/sbin/kadmin.local ] ;;
    krb5-kdc) [ -x /usr/sbin/krb5kdc ] && [ -x /usr/sbin/kdb5_util ] ;;
    krb5-user) command -v kinit ;;
    libpam-ssh-agent-auth) exists /usr/lib/*/security/pam_ssh_agent_auth.so /lib/*/security/pam_ssh_agent_auth.so ;;
    putty-tools) command -v plink && command -v puttygen ;;
    python3-asyncssh) /usr/bin/python3 -W ignore -c 'import asyncssh' ;;
    python3-paramiko) /usr/bin/python3 -W ignore -c 'import paramiko' ;;
    busybox-static) [ -x /bin/busybox ] ;;
    qemu-system-x86) command -v qemu-system-x86_64 ;;
    fido2-tools) command -v fido2-token ;;
    libclang-dev) exists /usr/lib/llvm-*/lib/libclang.so* /usr/lib/llvm-*/lib/libclang-[0-9]*.so* /usr/lib/*/libclang.so* /usr/lib/*/libclang-[0-9]*.so* ;;
    python3) command -v python3 ;;
    systemd) command -v systemd-socket-activate && [ -x /lib/systemd/systemd-logind ] ;;
    umockdev) command -v umockdev-run ;;
    libc6-dev) [ -e /usr/include/stdio.h ] ;;
    opensc) command -v pkcs11-tool && exists /usr/lib*/pkcs11-spy.so /usr/lib*/*/pkcs11-spy.so ;;
    opensc-pkcs11) exists /usr/lib*/opensc-pkcs11.so /usr/lib*/*/opensc-pkcs11.so ;;
    p11-kit) command -v p11-kit && [ -x /usr/libexec/p11-kit/p11-kit-server ] ;;
    p11-kit-modules) exists /usr/lib*/pkcs11/p11-kit-client.so /usr/lib*/*/pkcs11/p11-kit-client.so ;;
    scdaemon) [ -x /usr/lib/gnupg/scdaemon ] && command -v gpg-connect-agent ;;
    pcscd) [ -x /usr/sbin/pcscd ] ;;
    vsmartcard-vpcd) exists /usr/lib*/pcsc/drivers/serial/libifdvpcd.so ;;
    libsqlite3-dev) [ -e /usr/include/sqlite3.h ] ;;
    libssl-dev) [ -e /usr/include/openssl/evp.h ] ;;
    libtpm2-pkcs11-1) exists /usr/lib*/pkcs11/libtpm2_pkcs11.so /usr/lib*/*/pkcs11/libtpm2_pkcs11.so ;;
    libtpm2-pkcs11-tools) command -v tpm2_ptool ;;
    tpm2-tools) command -v tpm2_getcap ;;
    ykcs11) exists /usr/lib*/libykcs11.so /usr/lib*/*/libykcs11.so ;;
    openssh-client) command -v ssh && command -v ssh-add && command -v ssh-keygen && command -v scp && command -v sftp ;;
    openssh-server) [ -x /usr/sbin/sshd ] ;;
    openssh-tests) [ -e /usr/lib/openssh/regress/test-exec.sh ] ;;
    softhsm2) exists /usr/lib*/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so /usr/lib64/pkcs11/libsofthsm2.so ;;
    *) return 1 ;;
    esac
}

exists() {
    for path in "$@"; do
        if [ -e "$path" ]; then return 0; fi
    done
    return 1
}

new_enough() {
    wanted=$(sed -n 's/^rust-version = "1\.\([0-9]*\).*/\1/p' "$(dirname "$0")/../Cargo.toml")
    [ "$(rustc --version | sed -n 's/^rustc 1\.\([0-9]*\).*/\1/p')" -ge "$wanted" ]
}

present rust || fail "Rust is missing or too old: see https://rustup.rs, and rust-version in Cargo.toml"
missing=
for package in "$@"; do
    present "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null 2>&1 || fail "please install what Debian calls$missing, with the tools of this system"
privileged=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || fail "as root, please run: apt-get install$missing"
    privileged=sudo
fi
printf 'Installing%s with apt-get.\n' "$missing" >&2
install() {
    # shellcheck disable=SC2086 # package names are words
    $privileged apt-get update -q && $privileged env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
}
install >&2 || fail "apt-get could not install$missing"
for package in $missing; do
    present "$package" || fail "$package is installed, but what is needed from it is still not there"
done
