#!/usr/bin/env bash
# Format, lints with warnings denied on all targets with all features and with none, the library with each feature alone, and the docs, private
# items included.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo clippy --workspace --all-targets --all-features -- -D warnings
cargo clippy --workspace --all-targets --no-default-features -- -D warnings
features=$(awk '/^\[/ { inside = $0 == "[features]" } inside && /^[a-z0-9_-]+ *=/ { print $1 }' Cargo.toml)
[ -n "$features" ]
for feature in $features; do
    cargo clippy --lib --no-default-features --features "$feature" -- -D warnings
done
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --all-features --no-deps --document-private-items
