#!/bin/sh
# Runs fuzz targets, one after the other.
#
#   fuzz/run.sh [TARGET…]        all targets by default
#
# RUNS (default 10000000) executions each; SANITIZER (default none, else address) as for cargo fuzz. A run fails on a panic, an
# input that takes longer than five seconds, memory above 512 MiB, or memory that has grown by more than GROWTH (default 64) MiB
# since the seeds were read. Inputs found on the way are kept in fuzz/corpus, failures in fuzz/artifacts.
set -eu
cd "$(dirname "$0")"
: "${RUNS:=10000000}" "${SANITIZER:=none}" "${GROWTH:=64}"
[ $# -gt 0 ] || set -- $(cargo +nightly fuzz list)

# What libraries print of nonsense goes to their standard output, libFuzzer's own words to the other.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for target; do
    mkdir -p "corpus/$target"
    echo "== $target"
    status=0
    nice cargo +nightly fuzz run --sanitizer "$SANITIZER" "$target" "corpus/$target" "seeds/$target" -- \
        -runs="$RUNS" -rss_limit_mb=512 -timeout=5 -max_len=4096 -print_final_stats=1 >/dev/null 2>"$log" || status=$?
    if [ "$status" -ne 0 ]; then
        sed -n '/panicked\|ERROR/,$p' "$log" | head -n 40
        exit "$status"
    fi
    # "#1234 INITED … rss: 56Mb", and at the end "#10000000 DONE … rss: 71Mb".
    awk -v limit="$GROWTH" '
        /INITED/ && match($0, /rss: [0-9]+/) { first = substr($0, RSTART + 5, RLENGTH - 5) }
        /DONE/ && match($0, /rss: [0-9]+/) { last = substr($0, RSTART + 5, RLENGTH - 5) }
        /^Done / { print }
        /^stat::average_exec_per_sec/ { print $2 " a second" }
        END {
            printf "%d MiB with the seeds, %d MiB at the end\n", first, last
            exit last - first > limit
        }' "$log" || {
        echo "memory has grown by more than $GROWTH MiB" >&2
        exit 1
    }
done
