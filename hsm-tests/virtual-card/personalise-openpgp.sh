#!/bin/sh
# Gives the OpenPGP card in the reader a P-256 key to sign and an Ed25519 key to authenticate (OpenPGP card 3.4).
#
#   personalise-openpgp.sh FOLDER
set -eu
: "$1"
tries=0
until opensc-tool --name 2>/dev/null | grep -q OpenPGP; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { opensc-tool --name; exit 1; }
    sleep 0.05
done

# Each key is taken for one only if it has a fingerprint and a date (sections 4.4.3.9 and 4.4.3.10); what they are is up to OpenPGP's programs.
fingerprint=14:$(printf '%040d' 1 | sed 's/../&:/g; s/:$//')
date=04:60:00:00:00
# In this order: the administrator's PIN; the kind of each key (4.4.3.10), fingerprints and dates; and the keys are made (7.2.14).
opensc-tool \
    --send-apdu 00:20:00:83:08:31:32:33:34:35:36:37:38 \
    --send-apdu 00:DA:00:C1:09:13:2A:86:48:CE:3D:03:01:07 \
    --send-apdu 00:DA:00:C3:0A:16:2B:06:01:04:01:DA:47:0F:01 \
    --send-apdu "00:DA:00:C7:$fingerprint" --send-apdu "00:DA:00:C9:$fingerprint" \
    --send-apdu "00:DA:00:CE:$date" --send-apdu "00:DA:00:D0:$date" \
    --send-apdu 00:47:80:00:02:B6:00:00 --send-apdu 00:47:80:00:02:A4:00:00 >"$1/answers"
if grep Received "$1/answers" | grep -v SW1=0x90; then exit 1; fi
