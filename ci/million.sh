#!/usr/bin/env bash
# The release check: a million peers, 64 threads, snapshots every second; ends with exact counts.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --release --example million
