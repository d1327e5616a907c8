#!/bin/sh
# Makes a token with keys in the store of tpm2-pkcs11.
#
#   tpm.sh PIN
set -eu
tool() { tpm2_ptool "$@" --path "$TPM2_PKCS11_STORE" >/dev/null; }

tool init
tool addtoken --pid 1 --label tpm --sopin administrator --userpin "$1"
for algorithm in rsa2048 rsa3072 ecc256 ecc384; do
    tool addkey --label tpm --userpin "$1" --algorithm "$algorithm" --key-label "$algorithm"
done
