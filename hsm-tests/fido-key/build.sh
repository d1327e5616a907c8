#!/bin/sh
# Builds the software security key where the tests look for it: fido-key/ in the target directory.
set -eu
cd "$(dirname "$0")"
target=${CARGO_TARGET_DIR:-../../target}
exec cargo build --locked --target-dir "$target/fido-key" "$@"
