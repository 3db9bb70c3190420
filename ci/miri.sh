#!/usr/bin/env bash
# Unit tests under Miri: tree borrows, and permissive provenance for crossbeam-epoch. Needs nightly with the components miri and rust-src;
# says so and ends well without them.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! cargo +nightly miri --version >/dev/null 2>&1; then
    echo "miri: skipped, there is no nightly toolchain with miri (rustup +nightly component add miri rust-src)"
    exit 0
fi
export MIRIFLAGS="-Zmiri-tree-borrows -Zmiri-permissive-provenance -Zmiri-ignore-leaks -Zmiri-disable-isolation"
cargo +nightly miri test --lib
