#!/usr/bin/env bash
# Unit and integration tests under AddressSanitizer and its leak check. Needs a nightly toolchain; says so and ends well without one.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "asan: skipped, there is no nightly toolchain"
    exit 0
fi
target=$(rustc -vV | sed -n 's/^host: //p')
# Fewer histories and peers than on their own: everything takes a few times as long.
export CONNMGR_HISTORIES="${CONNMGR_HISTORIES:-50}" CONNMGR_SOAK_PEERS="${CONNMGR_SOAK_PEERS:-50000}"
export LSAN_OPTIONS="suppressions=$PWD/ci/lsan.supp:print_suppressions=0"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/asan"
RUSTFLAGS="-Zsanitizer=address" cargo +nightly test --target "$target" --features memory,serde --lib --test '*'
