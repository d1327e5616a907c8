#!/bin/sh
# Renews the seeds of the fuzz targets: records what real clients, servers and tokens say, into fuzz/seeds.
set -eu
cd "$(dirname "$0")/.."
cargo build --workspace --locked
HARDKEY_SEEDS=$PWD/fuzz/seeds exec cargo test --package hsm-tests --locked --test seeds
