#!/usr/bin/env bash
# The README's test command: unit, integration and documentation tests with every feature, and the loom models at their default bounds.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test --workspace --all-features
