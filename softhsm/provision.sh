#!/bin/sh
# Makes a SoftHSM token with SSH keys in a private directory.
#
#   softhsm/provision.sh DIR [--label NAME] [--pin PIN] [--keys LIST]
#
# DIR must be new or empty. Afterwards it holds softhsm2.conf, tokens/, pin (mode 0600) and one LABEL.pub a key.
# LIST is a comma-separated choice of rsa, rsa3072, rsa4096, p256, p384, p521 and ed25519 (default rsa,p256,ed25519);
# the keys get these words as labels and the ids 01, 02, 03 … in this order.
# Standard output is shell code that sets SOFTHSM2_CONF and PKCS11_MODULE; what is said to people goes to standard error.
set -eu

fail() {
    printf 'provision: %s\n' "$1" >&2
    exit 1
}

usage() {
    fail "usage: provision.sh DIR [--label NAME] [--pin PIN] [--keys LIST]"
}

need() {
    command -v "$1" >/dev/null 2>&1 || fail "$1 is missing: apt-get install $2"
}

find_module() {
    for candidate in /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so \
        /usr/lib64/softhsm/libsofthsm2.so /usr/lib64/pkcs11/libsofthsm2.so /usr/local/lib/softhsm/libsofthsm2.so; do
        if [ -e "$candidate" ]; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "libsofthsm2.so is missing: apt-get install softhsm2"
}

# Eight random digits: easy to type, and accepted by every token.
random_pin() {
    LC_ALL=C tr -dc 0-9 </dev/urandom | head -c 8
}

# A word for the shell, whatever the path contains.
quoted() {
    printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"
}

# PINs go to pkcs11-tool through the environment, because everyone may read the arguments of a process.
token_tool() {
    HARDKEY_PIN=$pin HARDKEY_SO_PIN=$so_pin pkcs11-tool --module "$module" "$@" >"$dir/tool.log" 2>&1 ||
        fail "pkcs11-tool $1 $2 failed: $(tail -n 3 "$dir/tool.log")"
}

key_type() {
    case $1 in
    rsa) echo rsa:2048 ;;
    rsa3072) echo rsa:3072 ;;
    rsa4096) echo rsa:4096 ;;
    p256) echo EC:prime256v1 ;;
    p384) echo EC:secp384r1 ;;
    p521) echo EC:secp521r1 ;;
    ed25519) echo EC:edwards25519 ;;
    *) fail "unknown key $1: choose from rsa rsa3072 rsa4096 p256 p384 p521 ed25519" ;;
    esac
}

# Reads hexadecimal digits, writes the bytes that they mean.
bytes_of_hex() {
    octal=$(awk '{
        digits = "0123456789abcdef"
        for (i = 1; i < length($0); i += 2)
            printf "\\%03o", (index(digits, substr($0, i, 1)) - 1) * 16 + index(digits, substr($0, i + 1, 1)) - 1
    }')
    # shellcheck disable=SC2059 # the escapes are meant for the format
    printf "$octal"
}

# Base 64 of a key blob (RFC 8709, RFC 5656): a header, and as its last field the point without the DER around it.
# OpenSC lists every point, but cannot export the P-384 and Ed25519 keys of SoftHSM in any form ssh-keygen reads.
blob_of_point() {
    token_tool --list-objects --type pubkey --token-label "$label"
    point=$(awk -v want="$1" '$1 == "EC_POINT:" { point = $2 } $1 == "label:" && $2 == want { print point }' "$dir/tool.log")
    {
        # shellcheck disable=SC2059 # as above
        printf "$2"
        printf '%s\n' "$point" | tail -c "$(($3 * 2 + 1))" | bytes_of_hex
    } | base64 | tr -d '\n'
}

ecdsa_line() {
    header="\\000\\000\\000\\023ecdsa-sha2-nistp$2\\000\\000\\000\\010nistp$2\\000\\000\\000\\$(printf %03o "$3")"
    printf 'ecdsa-sha2-nistp%s %s %s\n' "$2" "$(blob_of_point "$1" "$header" "$3")" "$1"
}

# OpenSC exports RSA keys in DER, ssh-keygen wants PEM.
rsa_line() {
    token_tool --read-object --type pubkey --token-label "$label" --label "$1" --output-file "$dir/key.der"
    {
        echo "-----BEGIN PUBLIC KEY-----"
        base64 "$dir/key.der"
        echo "-----END PUBLIC KEY-----"
    } >"$dir/key.pem"
    printf '%s %s\n' "$(ssh-keygen -i -m PKCS8 -f "$dir/key.pem")" "$1"
}

public_line() {
    case $1 in
    rsa*) rsa_line "$1" ;;
    p256) ecdsa_line "$1" 256 65 ;;
    p384) ecdsa_line "$1" 384 97 ;;
    p521) ecdsa_line "$1" 521 133 ;;
    ed25519) printf 'ssh-ed25519 %s %s\n' "$(blob_of_point "$1" '\000\000\000\013ssh-ed25519\000\000\000\040' 32)" "$1" ;;
    esac
}

[ $# -ge 1 ] || usage
case $1 in -*) usage ;; esac
dir=$1
shift
label=hardkey
pin=$(random_pin)
keys=rsa,p256,ed25519
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
    --label) label=$2 ;;
    --pin) pin=$2 ;;
    --keys) keys=$2 ;;
    *) usage ;;
    esac
    shift 2
done
[ "${#pin}" -ge 4 ] || fail "a PIN has at least 4 characters"
keys=$(printf '%s' "$keys" | tr ',' ' ')
for key in $keys; do key_type "$key" >/dev/null; done

need pkcs11-tool opensc
need ssh-keygen openssh-client
module=$(find_module)

umask 077
if [ -e "$dir" ] && [ -n "$(ls -A "$dir")" ]; then
    fail "$dir is not empty: name a new directory, or remove this one if its keys are no longer needed"
fi
mkdir -p "$dir/tokens"
chmod 0700 "$dir"
dir=$(cd "$dir" && pwd)
so_pin=$(random_pin)
printf '%s\n' "$pin" >"$dir/pin"
printf '%s\n' "$so_pin" >"$dir/so-pin"
cat >"$dir/softhsm2.conf" <<CONF
directories.tokendir = $dir/tokens
objectstore.backend = file
log.level = ERROR
slots.removable = false
CONF
SOFTHSM2_CONF=$dir/softhsm2.conf
export SOFTHSM2_CONF

token_tool --init-token --slot-index 0 --label "$label" --so-pin env:HARDKEY_SO_PIN
token_tool --init-pin --token-label "$label" --login --login-type so --so-pin env:HARDKEY_SO_PIN --new-pin env:HARDKEY_PIN
number=0
for key in $keys; do
    number=$((number + 1))
    token_tool --keypairgen --key-type "$(key_type "$key")" --token-label "$label" --login --pin env:HARDKEY_PIN \
        --id "$(printf %02x $number)" --label "$key" --usage-sign
    public_line "$key" >"$dir/$key.pub"
done
rm -f "$dir/tool.log" "$dir/key.der" "$dir/key.pem"

printf 'Token "%s" with the keys %s is in %s, its PIN in %s.\n' "$label" "$keys" "$dir" "$dir/pin" >&2
printf 'SOFTHSM2_CONF=%s; export SOFTHSM2_CONF;\n' "$(quoted "$dir/softhsm2.conf")"
printf 'PKCS11_MODULE=%s; export PKCS11_MODULE;\n' "$(quoted "$module")"
