#!/bin/sh
# Gives the PIV card in the reader a key and a certificate in each slot, and a serial number.
#
#   personalise.sh FOLDER
#
# FOLDER gets a public key for each slot, in OpenSSH's form: 9a.pub, 9c.pub, 9d.pub, 9e.pub.
set -eu
folder=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Each look at a card that was put in just now may be too early.
tool() { yubico-piv-tool --reader Yubico "$@"; }
tries=0
until tool --action version >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { tool --action version; exit 1; }
    sleep 0.05
done

openssl ecparam -name prime256v1 -genkey -noout -out "$scratch/ca.key"
openssl req -new -x509 -key "$scratch/ca.key" -subj "/CN=issuer" -out "$scratch/ca.pem"
holder=$(od -An -N4 -tx1 /dev/urandom | tr -d ' ')
for slot in 9a 9c 9d 9e; do
    tool --action generate --slot "$slot" --algorithm ECCP256 --output "$scratch/$slot.pem"
    openssl x509 -new -force_pubkey "$scratch/$slot.pem" -CA "$scratch/ca.pem" -CAkey "$scratch/ca.key" -subj "/CN=card $holder" \
        -days 3650 -out "$scratch/$slot.crt"
    tool --action import-certificate --slot "$slot" --input "$scratch/$slot.crt"
    ssh-keygen -i -m PKCS8 -f "$scratch/$slot.pem" >"$folder/$slot.pub"
done
tool --action set-chuid
