#!/usr/bin/env bash
# Injects each named fault into the core and shows that a model fails: the models can see what they are for.
# Usage: ci/mutants.sh [name ...]     (all of them take about 20 minutes on 2 cores)
set -euo pipefail
cd "$(dirname "$0")/.."

names=("$@")
if [ ${#names[@]} -eq 0 ]; then
    mapfile -t names < <(grep -rhoE '(mutant|ordering)!\("[a-z-]+"' src | grep -oE '"[a-z-]+"' | tr -d '"' | sort -u)
fi
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/mutants"
caught=0
for name in "${names[@]}"; do
    # A broken protocol may also spin or abort: either is a failure, and the time is bounded.
    if log=$(CONNMGR_MUTANT=$name timeout 300 cargo test -q -p loom-tests --lib -- --test-threads 2 2>&1); then
        echo "mutant $name: NOT CAUGHT"
    else
        if grep -q 'could not compile' <<<"$log"; then
            echo "$log" | tail -20
            echo "mutant $name: does not build"
            exit 1
        fi
        by=$(grep -oE '^    models::[a-z_:]+' <<<"$log" | sed 's/^ *models:://' | sort -u | head -1 || true)
        echo "mutant $name: caught by ${by:-abort or time limit}"
        caught=$((caught + 1))
    fi
done
echo "mutants: ${#names[@]} injected, $caught caught"
[ "$caught" -eq "${#names[@]}" ]
