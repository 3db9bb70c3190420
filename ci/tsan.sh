#!/usr/bin/env bash
# Tests of real threads under ThreadSanitizer: the index, histories without trims, the soak; and the same with two orderings weakened,
# which it has to report. Needs a nightly toolchain; says so and ends well without one.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "tsan: skipped, there is no nightly toolchain"
    exit 0
fi
target=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/tsan"
# The standard library is as it comes, so it is not compiled for ThreadSanitizer: ci/tsan.supp says what that makes of it. The collector
# has a cfg by which it does without fences, which ThreadSanitizer does not know; ours guard nothing but cuts.
export RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg crossbeam_sanitize_thread --cfg connmgr_mutants"
export TSAN_OPTIONS="suppressions=$PWD/ci/tsan.supp"
export CONNMGR_HISTORIES="${CONNMGR_HISTORIES:-50}" CONNMGR_SOAK_PEERS="${CONNMGR_SOAK_PEERS:-20000}"
run() { cargo +nightly test -q --target "$target" "$@"; }

run --lib index::
run --test soak
# Not those with trims: a joined trim hands its report over by a lock, whose waiting part is compiled already.
run --test linearizability -- peers_that_come_and_go snapshots_are
for mutant in state-publish slot-publish; do
    log=$(mktemp)
    if CONNMGR_MUTANT=$mutant run --test soak >"$log" 2>&1 || ! grep -q 'WARNING: ThreadSanitizer: data race' "$log"; then
        echo "tsan: does not see the mutant $mutant"
        exit 1
    fi
    rm -f "$log"
    echo "tsan: reports the mutant $mutant"
done
