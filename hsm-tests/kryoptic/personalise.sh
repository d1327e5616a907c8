#!/bin/sh
# Makes a Kryoptic token with keys where $KRYOPTIC_CONF says.
#
#   personalise.sh MODULE PIN
set -eu
module=$1
pin=$2
tool() { pkcs11-tool --module "$module" --slot 1 "$@" >/dev/null; }

tool --init-token --label kryoptic --so-pin administrator
tool --init-pin --login --login-type so --so-pin administrator --new-pin "$pin"
number=0
for type in rsa:2048 rsa:4096 EC:prime256v1 EC:secp384r1 EC:secp521r1; do
    number=$((number + 1))
    tool --keypairgen --key-type "$type" --login --pin "$pin" --id "0$number" --label "$type" --usage-sign
done
