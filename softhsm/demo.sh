#!/bin/sh
# Shows hardkey at work on this machine: a SoftHSM token with three keys, the agent, and an SSH server that they log in to.
#
#   softhsm/demo.sh
#
# Installs with apt what is missing, says what it does, and removes everything it started. What is left is the build in target/.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:$HOME/.cargo/bin
export PATH

say() { printf '%s\n' "$*"; }
done_() { printf '  ok  %s\n' "$*"; }

fail() {
    printf 'demo: %s\n' "$1" >&2
    for log in "$dir"/*.log; do
        [ -s "$log" ] && { printf -- '---- %s ----\n' "${log##*/}"; tail -n 20 "$log"; } >&2
    done
    exit 1
}

# Looks for up to ten seconds until a command succeeds.
soon() {
    left=100
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        sleep 0.1
    done
}

# ssh-add says 2 as long as nobody listens.
agent_answers_or_ended() {
    kill -0 "$agent" || return 0
    ssh-add -l || [ $? -ne 2 ]
}

sshd_listens_or_ended() { grep -q 'Server listening' "$dir/sshd.log" || ! kill -0 "$sshd"; }

agent=
sshd=
dir=$(mktemp -d)
clean_up() {
    for process in $agent $sshd; do
        kill "$process" 2>/dev/null || :
        wait "$process" 2>/dev/null || :
    done
    rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

softhsm/need.sh gcc libc6-dev softhsm2 opensc openssh-client openssh-server

say "Building hardkey (some minutes the first time) ..."
cargo build --locked --quiet --package hardkey
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
hardkey=$target/debug/hardkey
done_ "$hardkey"

say "Making a token with an RSA, a P-256 and an Ed25519 key ..."
softhsm/provision.sh "$dir/token" --label demo >"$dir/token.env" 2>"$dir/provision.log" || fail "no token"
. "$dir/token.env"
done_ "$PKCS11_MODULE"

say "Starting the agent with this configuration ..."
cat >"$dir/hardkey.toml" <<TOML
discover = false

[[module]]
path = "$PKCS11_MODULE"
pin  = { file = "$dir/token/pin" }
env  = { SOFTHSM2_CONF = "$SOFTHSM2_CONF" }
TOML
sed 's/^/      /' "$dir/hardkey.toml"
# The agent's workers get the token from the configuration alone.
unset SOFTHSM2_CONF
SSH_AUTH_SOCK=$dir/agent.sock
# Nor do its records belong among those of the user's own agent.
XDG_STATE_HOME=$dir/state
export SSH_AUTH_SOCK XDG_STATE_HOME
"$hardkey" agent -D -a "$SSH_AUTH_SOCK" --config "$dir/hardkey.toml" >"$dir/agent.log" 2>&1 &
agent=$!
soon agent_answers_or_ended || fail "the agent does not answer"
kill -0 "$agent" 2>/dev/null || fail "the agent has ended"
ssh-add -l >"$dir/keys" || fail "the agent has no keys"
sed 's/^/  ok  /' "$dir/keys"

say "Starting an SSH server on loopback that knows these keys ..."
cat "$dir"/token/*.pub >"$dir/authorized_keys"
ssh-keygen -q -t ed25519 -N '' -f "$dir/host_key"
# sshd of root wants this directory, and lets nobody in whose password is locked unless PAM decides.
pam=no
if [ "$(id -u)" -eq 0 ]; then
    mkdir -p /run/sshd
    if grep -q '^root:!' /etc/shadow; then pam=yes; fi
fi
# A random port may be taken: another one then.
for attempt in 1 2 3 4 5; do
    port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
    cat >"$dir/sshd_config" <<CONF
ListenAddress 127.0.0.1
Port $port
HostKey $dir/host_key
AuthorizedKeysFile $dir/authorized_keys
AuthenticationMethods publickey
PermitRootLogin prohibit-password
StrictModes no
UsePAM $pam
PidFile none
CONF
    : >"$dir/sshd.log"
    /usr/sbin/sshd -D -e -f "$dir/sshd_config" 2>"$dir/sshd.log" &
    sshd=$!
    soon sshd_listens_or_ended || fail "the SSH server does not start"
    if kill -0 "$sshd" 2>/dev/null; then break; fi
    sshd=
done
[ -n "$sshd" ] || fail "the SSH server does not start, tried $attempt times"
printf 'demo %s\n' "$(cut -d ' ' -f 1,2 "$dir/host_key.pub")" >"$dir/known_hosts"
done_ "127.0.0.1 port $port"

say "Logging in with each key ..."
for key in rsa p256 ed25519; do
    answer=$(ssh -F /dev/null -p "$port" -i "$dir/token/$key.pub" -o IdentitiesOnly=yes -o BatchMode=yes \
        -o HostKeyAlias=demo -o UserKnownHostsFile="$dir/known_hosts" -o StrictHostKeyChecking=yes -o LogLevel=ERROR \
        127.0.0.1 'echo "logged in as $(id -un)"' 2>"$dir/ssh.log") || fail "the $key key does not log in"
    done_ "$key: $answer"
done

say "Signing a text as git does, and verifying it with ssh-keygen ..."
printf 'tree 4b825dc\n' >"$dir/commit"
for key in rsa p256 ed25519; do
    ssh-keygen -Y sign -n git -f "$dir/token/$key.pub" <"$dir/commit" >"$dir/commit.sig" 2>"$dir/sign.log" || fail "the $key key does not sign"
    printf 'demo@example.org %s\n' "$(cat "$dir/token/$key.pub")" >"$dir/allowed_signers"
    ssh-keygen -Y verify -n git -I demo@example.org -f "$dir/allowed_signers" -s "$dir/commit.sig" <"$dir/commit" >"$dir/verify.log" 2>&1 ||
        fail "the signature of the $key key is not valid"
    done_ "$key: $(cat "$dir/verify.log")"
done

say "All of it worked. Everything that was started is gone when this ends; no key has left the token."
