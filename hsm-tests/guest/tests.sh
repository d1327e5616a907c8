#!/bin/sh
# Runs tests of security keys in a virtual machine, where the kernel itself makes their nodes.
#
#   hsm-tests/guest/tests.sh TEST…
#
# TEST is the name of a file in hsm-tests/tests, without its ending. The workspace and the software key are built already.
set -eu
cd "$(dirname "$0")/../.."
status=0
for test in "$@"; do
    program=$(cargo test --locked -p hsm-tests --test "$test" --no-run 2>&1 | sed -n 's/^ *Executable .*(\(.*\))$/\1/p')
    hsm-tests/guest/run.sh FIDO_KEY_PLACE=uhid LC_ALL=C.UTF-8 "$(realpath "$program")" --color never --test-threads 1 || status=1
done
exit "$status"
