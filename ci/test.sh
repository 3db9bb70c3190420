#!/usr/bin/env bash
# The README's test command: unit, integration and documentation tests, and the loom models at their default bounds.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test --workspace
