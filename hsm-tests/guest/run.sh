#!/bin/sh
# Runs a program as root in a virtual machine with Debian's kernel, whose files are this machine's. What it writes there is lost.
#
#   hsm-tests/guest/run.sh [NAME=VALUE…] PROGRAM ARGUMENT…
#
# Prints what the program prints, and ends with its exit status. Needs qemu-system-x86 and busybox-static, and fetches a kernel.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kernel=$("$here/kernel.sh")
vmlinuz=$(echo "$kernel"/boot/vmlinuz-*)
modules=$(echo "$kernel"/lib/modules/*)

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM
mkdir -p "$scratch/root/modules" "$scratch/root/bin"
cp /bin/busybox "$scratch/root/bin/"
cp "$here/init.sh" "$scratch/root/init"

# The modules with what they need, in the order in which they can be loaded.
needs() {
    line=$(grep "/$1\.ko:" "$modules/modules.dep") || return 0
    for file in $(echo "$line" | tr -d : | awk '{ for (i = NF; i > 0; i--) print $i }'); do
        name=$(basename "$file")
        [ -e "$scratch/root/modules/$name" ] || {
            cp "$modules/$file" "$scratch/root/modules/$name"
            echo "$name" >>"$scratch/root/modules/order"
        }
    done
}
for module in virtio_pci 9pnet_virtio 9p overlay hid-generic uhid; do needs "$module"; done

realpath "$PWD" "${CARGO_TARGET_DIR:-$PWD}" >"$scratch/root/places"

# The command, in words that the guest's shell takes as they are.
{
    printf 'cd %s\nexec env' "'$PWD'"
    for word in "PATH=$PATH" "HOME=/root" "$@"; do printf " '%s'" "$(printf '%s' "$word" | sed "s/'/'\\\\''/g")"; done
    echo
} >"$scratch/root/job"
(cd "$scratch/root" && find . | busybox cpio -o -H newc 2>/dev/null) >"$scratch/initramfs"

# /dev/kvm alone says nothing: some kinds of it interpret the guest, which is slower than doing without.
acceleration=tcg
if [ -w /dev/kvm ] && { [ -e /sys/module/kvm_intel ] || [ -e /sys/module/kvm_amd ]; }; then acceleration=kvm; fi

qemu-system-x86_64 -accel "$acceleration" -cpu max -smp 2 -m 1024 -nodefaults -no-user-config -no-reboot -display none -serial stdio \
    -kernel "$vmlinuz" -initrd "$scratch/initramfs" -append 'console=ttyS0 quiet loglevel=3 panic=-1 random.trust_cpu=on' \
    -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap </dev/null | tr -d '\r' | tee "$scratch/output"
status=$(sed -n 's/^guest: status //p' "$scratch/output")
[ -n "$status" ] || echo "the guest has not come to its end"
exit "${status:-1}"
