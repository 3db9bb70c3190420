#!/usr/bin/env bash
# Fuzzes each target, where nightly and cargo-fuzz are present. What it finds is in fuzz/artifacts.
# Usage: ci/fuzz.sh [seconds]     (60 for each target, or FUZZ_SECONDS)
set -euo pipefail
cd "$(dirname "$0")/.."
seconds="${1:-${FUZZ_SECONDS:-60}}"

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "fuzz: not run: there is no nightly toolchain"
    exit 0
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz: not run: there is no cargo-fuzz (cargo install cargo-fuzz)"
    exit 0
fi
for target in interleave ops policy; do
    # Under shuttle the reclaimer checks every access; the address sanitizer would only slow it down.
    case $target in interleave) sanitizer=none ;; *) sanitizer=address ;; esac
    found="$(mktemp -d)"
    echo "== $target, $seconds s"
    # New inputs go to a folder of their own, and not into the kept corpus.
    cargo +nightly fuzz run --sanitizer "$sanitizer" "$target" "$found" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -max_len=600 -print_final_stats=1
    rm -r "$found"
done
