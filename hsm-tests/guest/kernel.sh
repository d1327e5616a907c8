#!/bin/sh
# Fetches Debian's kernel package without installing it, and prints the folder that has its boot/vmlinuz-* and lib/modules/*.
#
#   hsm-tests/guest/kernel.sh
#
# Keeps it in guest/ in the target directory; a newer one is fetched when that is removed.
set -eu
cd "$(dirname "$0")/../.."
mkdir -p "${CARGO_TARGET_DIR:-target}/guest"
cd "${CARGO_TARGET_DIR:-target}/guest"

if [ ! -e kernel/complete ]; then
    # The cloud flavour lacks 9p.
    architecture=$(dpkg --print-architecture)
    package=$(apt-cache depends --no-recommends --no-suggests "linux-image-$architecture" | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
    [ -n "$package" ] || {
        echo "kernel: apt-cache knows no linux-image-$architecture; run apt-get update" >&2
        exit 1
    }
    rm -rf kernel
    mkdir kernel
    (cd kernel && apt-get download -qq -o APT::Sandbox::User=root "$package" && dpkg-deb --extract ./*.deb . && rm ./*.deb) >&2
    busybox depmod -b kernel "$(basename kernel/lib/modules/*)"
    touch kernel/complete
fi
printf '%s\n' "$PWD/kernel"
