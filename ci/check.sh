#!/usr/bin/env bash
# Format, lints with warnings denied on all targets and features, the library without features and with each alone (the tests turn them on), and the
# docs, private items included.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo clippy --workspace --all-targets --all-features -- -D warnings
for features in "" libp2p metrics; do
    cargo clippy --lib --no-default-features --features "$features" -- -D warnings
done
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --all-features --no-deps --document-private-items
