#!/bin/sh
# All checks and tests, the fast ones first.
#
#   hsm-tests/run.sh [--full]
#
# --full adds the slow tests, OpenSSH's own tests of ssh-agent, its agent in the hop matrix, security keys in a virtual machine and the demo. Installs with apt what the tests need and this machine lacks.
# The last line is "N passed, N failed"; the exit status is 0 only if nothing failed.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:$HOME/.cargo/bin
export PATH

full=
case ${1-} in
'') ;;
--full) full=yes ;;
*)
    echo "usage: hsm-tests/run.sh [--full]" >&2
    exit 2
    ;;
esac

passed=0
failed=0
scratch=$(mktemp -d)
finish() {
    rm -rf "$scratch"
    printf '%s passed, %s failed\n' "$passed" "$failed"
}
trap finish EXIT
trap 'failed=$((failed + 1)); exit 1' INT TERM

# step MINUTES COMMAND…: runs it with a time limit and adds its tests to the count; something other than a test that fails counts as one.
step() {
    minutes=$1
    shift
    printf '\n== %s\n' "$*"
    began=$(date +%s)
    # Plain text, because it is read below; tee, because people want to see it now.
    { NO_COLOR=1 CARGO_TERM_COLOR=never timeout --foreground --kill-after=30 "${minutes}m" "$@" 2>&1 && echo 0 >"$scratch/status" || echo $? >"$scratch/status"; } |
        tee "$scratch/output"
    status=$(cat "$scratch/status")
    printf '== %s s\n' "$(($(date +%s) - began))"
    [ "$status" -ne 124 ] || echo "stopped after $minutes minutes: $*"
    counts=$(awk '
        $1 == "Summary" { for (i = 2; i <= NF; i++) { if ($i ~ /^tests?$/) run = $(i - 1); if ($i == "passed" || $i == "passed,") good = $(i - 1) }
                          passed += good; failed += run - good }
        /^test result:/ { for (i = 2; i <= NF; i++) { if ($i == "passed;") passed += $(i - 1); if ($i == "failed;") failed += $(i - 1) } }
        /^[0-9]+ passed, [0-9]+ failed$/ { passed += $1; failed += $3 }
        END { print passed + 0, failed + 0 }' "$scratch/output")
    passed=$((passed + ${counts% *}))
    failed=$((failed + ${counts#* }))
    if [ "$status" -ne 0 ] && [ "${counts#* }" -eq 0 ]; then failed=$((failed + 1)); fi
    return "$status"
}

# A step without which the rest makes no sense.
must() { step "$@" || exit 1; }

softhsm/need.sh autossh gcc libc6-dev softhsm2 opensc openssh-client openssh-server openssh-tests git pinentry-curses putty-tools python3 socat sudo systemd || {
    failed=1
    exit 1
}
# For smartcards and other tokens.
softhsm/need.sh libclang-dev opensc-pkcs11 openssl p11-kit p11-kit-modules pcscd scdaemon vsmartcard-vpcd ykcs11 yubico-piv-tool || {
    failed=1
    exit 1
}
# For tokens of other kinds: a TPM in software, and what Kryoptic is built with.
softhsm/need.sh dbus-daemon libsqlite3-dev libssl-dev libtpm2-pkcs11-1 libtpm2-pkcs11-tools pkg-config swtpm tpm2-abrmd tpm2-tools || {
    failed=1
    exit 1
}
# For dialogs on real screens and terminals.
softhsm/need.sh dbus-bin dbus-daemon dunst imagemagick pinentry-curses pinentry-gnome3 pinentry-gtk2 pinentry-qt tmux xdotool xvfb || {
    failed=1
    exit 1
}
# For the hop matrix.
softhsm/need.sh dropbear-bin krb5-admin-server krb5-kdc krb5-user libpam-ssh-agent-auth putty-tools python3-asyncssh python3-paramiko \
    socat sudo || {
    failed=1
    exit 1
}

# For the software security key: what its firmware is built with, and where unmodified programs find it.
softhsm/need.sh gcc libc6-dev libclang-dev fido2-tools umockdev || {
    failed=1
    exit 1
}

[ -z "$full" ] || softhsm/need.sh busybox-static g++ qemu-system-x86 || {
    failed=1
    exit 1
}

must 2 cargo fmt --all --check
must 2 cargo fmt --manifest-path hsm-tests/fido-key/Cargo.toml --check
must 2 cargo fmt --manifest-path hsm-tests/kryoptic/Cargo.toml --check
must 20 cargo clippy --workspace --all-targets --locked -- --deny warnings
must 20 cargo build --workspace --locked
built=${CARGO_TARGET_DIR:-target}
must 20 cargo build --manifest-path hsm-tests/virtual-card/Cargo.toml --locked --target-dir "$built/virtual-card"
must 20 cargo build --manifest-path hsm-tests/kryoptic/Cargo.toml --locked --target-dir "$built/kryoptic"
must 20 hsm-tests/fido-key/build.sh

if cargo nextest --version >/dev/null 2>&1; then
    step 20 cargo nextest run --workspace --locked --lib --bins --no-tests pass || :
    step 25 cargo nextest run --workspace --locked --test '*' ${full:+--run-ignored all} || :
else
    # The limit for each file of tests that nextest would give to each test.
    set -- --config 'target."cfg(all())".runner = ["timeout", "--foreground", "--kill-after=10", "600"]'
    step 20 cargo test --workspace --locked --lib --bins --no-fail-fast "$@" || :
    step 25 cargo test --workspace --locked --test '*' --no-fail-fast "$@" -- ${full:+--include-ignored} || :
fi
step 10 cargo test --workspace --locked --doc || :
# Each micro-benchmark once: that it works, not how fast.
step 10 cargo test --locked -p hsm-tests --bench core -- --test || :
step 10 hsm-tests/fido-key/build.sh --test || :

step 10 hsm-tests/openssh/run.sh --preset openssh || :
step 10 hsm-tests/openssh/run.sh --preset strict || :
built=${CARGO_TARGET_DIR:-target}/debug
step 15 "$built/hop-matrix" --agent "$built/hardkey" || :

if [ -n "$full" ]; then
    # Shows that each of its cases is a way to a signature.
    step 10 "$built/hop-matrix" --agent /usr/bin/ssh-agent || :
    must 10 hsm-tests/fido-key/build.sh --clippy
    # Fuzzing takes another compiler and hours; that it could begin is seen without.
    step 10 cargo check --manifest-path fuzz/Cargo.toml --locked --target-dir "${CARGO_TARGET_DIR:-target}/fuzz" || :
    step 20 hsm-tests/guest/tests.sh fido_key fido_sign || :
    if step 20 softhsm/demo.sh; then passed=$((passed + 1)); fi
fi

[ "$failed" -eq 0 ]
