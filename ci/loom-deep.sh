#!/usr/bin/env bash
# The loom models at deep bounds, with a scheduling point after every fence, too; prints the executions of each, and whether they were all.
# CONNMGR_LOOM_BOUND is the bound (4), CONNMGR_LOOM_SECONDS the time for each model (60): half an hour on 2 cores.
set -euo pipefail
cd "$(dirname "$0")/.."
export CONNMGR_LOOM_BOUND="${CONNMGR_LOOM_BOUND:-4}"
export CONNMGR_LOOM_SECONDS="${CONNMGR_LOOM_SECONDS:-60}"
export CONNMGR_LOOM_FENCES=1
cargo test -q -p loom-tests --lib -- --test-threads 2 --nocapture
