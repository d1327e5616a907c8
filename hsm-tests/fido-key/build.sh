#!/bin/sh
# Builds the software security key where the tests look for it: fido-key/ in the target directory.
#
#   hsm-tests/fido-key/build.sh [--test|--clippy]
#
# --test runs its own tests, --clippy its lints.
set -eu
cd "$(dirname "$0")"
case ${1-} in
'') set -- build ;;
--test) set -- test ;;
--clippy) set -- clippy --all-targets ;;
*)
    echo "usage: hsm-tests/fido-key/build.sh [--test|--clippy]" >&2
    exit 2
    ;;
esac
deny=
[ "$1" != clippy ] || deny='-- --deny warnings'
# shellcheck disable=SC2086 # two words
exec cargo "$@" --locked --target-dir "${CARGO_TARGET_DIR:-../../target}/fido-key" $deny
