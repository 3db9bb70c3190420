#!/usr/bin/env bash
# Four models over crossbeam-epoch itself, compiled over loom's atomics, in place of the checked reclaimer.
# CONNMGR_LOOM_BOUND is the bound (2), CONNMGR_LOOM_SECONDS the time for each model (120).
set -euo pipefail
cd "$(dirname "$0")/.."
export CONNMGR_LOOM_BOUND="${CONNMGR_LOOM_BOUND:-2}"
export CONNMGR_LOOM_SECONDS="${CONNMGR_LOOM_SECONDS:-120}"
# The flags reach every dependency: a folder of their own keeps the others' builds.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom-epoch"
export RUSTFLAGS="--cfg crossbeam_loom --cfg crossbeam_sanitize"
models=(
    updates::an_upsert_is_not_lost_to_a_new_tag
    cut::two_cuts_each_hold_their_own_past
    cut::a_cut_holds_what_its_writer_did_before_under_one_pin
    reclamation::a_pinned_reader_keeps_what_it_reads
)
for model in "${models[@]}"; do
    log=$(cargo test -p loom-tests --lib -- --nocapture --exact "models::$model" 2>&1) || { echo "$log"; exit 1; }
    # A name that is nobody's runs nothing, and that is no success.
    grep '^running 1 test' <<<"$log" >/dev/null || { echo "there is no model $model"; exit 1; }
    grep 'executions' <<<"$log"
done
