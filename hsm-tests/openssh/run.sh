#!/bin/sh
# Runs OpenSSH's own regression tests of ssh-agent, as Debian packages them, against any agent.
#
#   hsm-tests/openssh/run.sh [--agent PATH] [--preset openssh|strict] [TEST…]
#
# PATH is the agent's program, by default this workspace's build; it is called by the name ssh-agent. The preset is what hardkey's
# configuration says. TEST is the name of a test without .sh; by default all that are about the agent.
# The tests want a user who is not root and may use sudo without a password. Called by root this makes one, and removes it afterwards.
# Under the preset strict some steps have to be refused: those in strict.refused, and no others.
# One line a test, and what failed below it; the last line is "N passed, N failed"; the exit status is 0 only if nothing failed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

usage() {
    echo "usage: hsm-tests/openssh/run.sh [--agent PATH] [--preset openssh|strict] [TEST...]" >&2
    exit 2
}

agent=${CARGO_TARGET_DIR:-$here/../../target}/debug/hardkey
preset=
while [ $# -gt 0 ]; do
    case $1 in
    --agent)
        [ $# -ge 2 ] || usage
        agent=$2
        shift 2
        ;;
    --preset)
        case ${2-} in openssh | strict) preset=$2 ;; *) usage ;; esac
        shift 2
        ;;
    -*) usage ;;
    *) break ;;
    esac
done
[ $# -gt 0 ] || set -- agent agent-getpeereid agent-timeout agent-subprocess agent-ptrace agent-restrict agent-pkcs11 \
    hostkey-agent cert-file sshsig
[ -x "$agent" ] || {
    echo "no agent at $agent: run cargo build first, or name one with --agent" >&2
    exit 2
}

"$here/../../softhsm/need.sh" openssh-client openssh-server openssh-tests sudo gdb openssl perl softhsm2
regress=/usr/lib/openssh/regress
for name in "$@"; do
    [ -f "$regress/$name.sh" ] || {
        echo "no test $name in $regress" >&2
        exit 2
    }
done

work=$(mktemp -d /tmp/ossh.XXXXXX)
user=$(id -un)
passed=0
failed=0
number=0

end_processes_of() {
    # shellcheck disable=SC2046 # process ids are words
    if pgrep -u "$1" >/dev/null 2>&1; then kill -9 $(pgrep -u "$1") 2>/dev/null || :; fi
}

finish() {
    if [ "$user" != "$(id -un)" ]; then
        end_processes_of "$user"
        rm -f "/etc/sudoers.d/$user"
        userdel "$user" >/dev/null 2>&1 || echo "the user $user could not be removed" >&2
    fi
    [ "$failed" -gt 0 ] || sudo rm -rf "$work"
    printf '%s passed, %s failed\n' "$passed" "$failed"
}
trap finish EXIT
trap 'failed=$((failed + 1)); exit 1' INT TERM

if [ "$(id -u)" -eq 0 ]; then
    # sshd of root refuses to start without it.
    mkdir -p /run/sshd
    user=ossh$$
    useradd --home-dir "$work/home" --shell /bin/sh --no-create-home "$user"
    printf '%s ALL=(ALL) NOPASSWD: ALL\n' "$user" >"/etc/sudoers.d/$user"
    chmod 0440 "/etc/sudoers.d/$user"
fi

# A copy, because one test changes the program's owner and mode; without debug information, because others sign the file.
mkdir "$work/bin" "$work/home"
name=$(basename "$agent")
strip -o "$work/bin/$name" "$agent" 2>/dev/null || cp "$agent" "$work/bin/$name"
[ "$name" = ssh-agent ] || ln -s "$name" "$work/bin/ssh-agent"
{ [ -z "$preset" ] || printf 'preset = "%s"\n' "$preset"; } >"$work/hardkey.toml"
chmod 0755 "$work" "$work/bin/$name"
chmod 0644 "$work/hardkey.toml"
chown -R "$user" "$work"

as_user() {
    if [ "$user" = "$(id -un)" ]; then "$@"; else sudo -u "$user" -- "$@"; fi
}

# run NAME: one test in a copy of the tests of its own, because it writes into it. The copy has a number instead of the name: its path must
# not hold words that the tests filter configuration lines by, such as hostkey, hostname and pidfile.
run() {
    number=$((number + 1))
    obj=$work/$number
    as_user cp -R "$regress" "$obj"
    # Without ssh-dss, as in OpenSSH 10, which no longer has it.
    as_user sed -i 's/-Q key-plain |/& grep -v ssh-dss |/; s/-Q key-sig |/& grep -v ssh-dss |/' "$obj/test-exec.sh" "$obj/hostkey-agent.sh"
    # SoftHSM is looked for where amd64 has it only.
    as_user sed -i 's|^try_token_libs \\|& /usr/lib/softhsm/libsofthsm2.so \\|' "$obj/agent-pkcs11.sh"
    cd "$obj"
    as_user env -i PATH="$PATH:/usr/sbin:/sbin" HOME="$work/home" LC_ALL=C.UTF-8 SUDO=sudo TEST_SHELL=sh OBJ="$obj" BUILDDIR="$obj" \
        HARDKEY_CONFIG="$work/hardkey.toml" TEST_SSH_SSHAGENT="$work/bin/ssh-agent" TEST_SSH_UNSAFE_PERMISSIONS=1 \
        TEST_SSH_SFTPSERVER=/usr/lib/openssh/sftp-server \
        timeout --kill-after=10 300 sh test-exec.sh "$obj" "$obj/$1.sh" >"$work/$1.out" 2>&1 </dev/null
}

# The steps of a test that failed, as the test words them.
refused() {
    grep -E 'failed|unexpected|^bad ' "$work/$1.out" | sed "s|$work/[0-9]*|OBJ|g; s/^/$1: /" || :
}

# As it should be: passed, or under the preset strict with exactly those steps refused that are listed.
as_expected() {
    if grep -qi '^skipped' "$work/$1.out"; then return 1; fi
    if [ "$preset" != strict ]; then [ "$2" -eq 0 ] && return 0 || return 1; fi
    grep "^$1: " "$here/strict.refused" >"$work/$1.expected" || :
    refused "$1" | diff "$work/$1.expected" - >>"$work/$1.out"
}

for test in "$@"; do
    start=$(date +%s)
    status=0
    run "$test" || status=$?
    took=$(($(date +%s) - start))
    if as_expected "$test" "$status"; then
        passed=$((passed + 1))
        printf 'ok      %s (%s s)\n' "$test" "$took"
    else
        # A test that was skipped has shown nothing.
        failed=$((failed + 1))
        printf 'FAILED  %s (%s s, exit status %s; logs in %s)\n' "$test" "$took" "$status" "$work/$number"
        sed 's/^/        /' "$work/$test.out" | tail -n 400
    fi
done
[ "$failed" -eq 0 ]
