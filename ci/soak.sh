#!/usr/bin/env bash
# The long soak: CONNMGR_SOAK_PEERS distinct peers (20 million) come and go; bytes return to the bound, everything is dropped once.
set -euo pipefail
cd "$(dirname "$0")/.."
export CONNMGR_SOAK_PEERS="${CONNMGR_SOAK_PEERS:-20000000}"
cargo test --release --test soak -- --nocapture
