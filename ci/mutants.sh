#!/usr/bin/env bash
# Injects each named fault into the shipped source and shows that what its row names fails: a model, and for some the histories of
# real threads. The rows stand in docs/VERIFYING.md, those of weakened orderings in docs/ORDERINGS.md.
# Usage: ci/mutants.sh [name ...]     (without names: all of them, and the histories)
set -euo pipefail
cd "$(dirname "$0")/.."

# A fault may also make a model spin or abort: either is a failure, and the time of each is bounded.
seconds=${CONNMGR_MUTANT_SECONDS:-120}

# Lines "name model test" of both tables; "-" where there is none.
rows() {
    awk -F'|' '
        function code(text, pattern) { return match(text, pattern) ? substr(text, RSTART + 1, RLENGTH - 2) : "-" }
        /^\| `[a-z-]+` \|/ {
            name = code($2, "`[a-z-]+`")
            if (FILENAME ~ /ORDERINGS/) print name, code($(NF - 1), "`[a-z_]+`"), "-"
            else print name, code($4, "`[a-z_]+`"), code($5, "`[a-z_]+`")
        }' docs/VERIFYING.md docs/ORDERINGS.md
}

# The line in which a run that failed says why, if it failed for a reason that counts.
reason() {
    local log=$1 status=$2
    if [ "$status" -eq 124 ]; then
        echo "no end within $seconds s"
    elif grep -q 'executions only, of at least' "$log"; then
        return 1
    else
        grep -m1 -A1 'panicked at' "$log" | tail -1 || echo "status $status"
    fi
}

# Whether `program test` fails with the fault; says why.
fails() {
    local name=$1 program=$2 test=$3 log status=0
    log=$(mktemp)
    # (The shell that waits for it says that it aborted, which is no news.)
    { CONNMGR_MUTANT=$name RUST_BACKTRACE=0 timeout "$seconds" "$program" --exact "$test" >"$log" 2>&1; } 2>/dev/null || status=$?
    if ! grep -q '^running 1 test' "$log"; then
        echo "there is no $test"
        exit 1
    fi
    why=""
    [ "$status" -ne 0 ] && why=$(reason "$log" "$status")
    rm -f "$log"
    [ -n "$why" ]
}

executable() { sed -nE 's/^ *Executable .*\((.*)\)$/\1/p'; }

mapfile -t injected < <(grep -rhoE '(mutant|ordering)!\("[a-z-]+"' src | grep -oE '[a-z]+(-[a-z]+)+' | sort -u)
names=("$@")
[ ${#names[@]} -gt 0 ] || names=("${injected[@]}")

models=$(cargo test -p loom-tests --lib --no-run 2>&1 | executable)
declare -A model history
while read -r name of_models of_histories; do
    model[$name]=$of_models
    [ "$of_histories" = - ] || history[$name]=$of_histories
done < <(rows)

# Without a fault each of them passes, in the same time: else the faults would show nothing.
control() {
    local program=$1 test=$2
    if ! timeout "$seconds" "$program" --exact "$test" >/dev/null 2>&1; then
        echo "without a fault, $test fails or takes more than $seconds s"
        exit 1
    fi
}

caught=0
declare -A controlled
for name in "${names[@]}"; do
    test=$("$models" --list 2>/dev/null | sed -nE "s/^(.*::${model[$name]:--}): test$/\1/p")
    if [ -z "$test" ]; then
        echo "mutant $name: no row names a model for it"
        continue
    fi
    [ -n "${controlled[$test]:-}" ] || control "$models" "$test"
    controlled[$test]=1
    if fails "$name" "$models" "$test"; then
        echo "mutant $name: caught by ${model[$name]}: $why"
        caught=$((caught + 1))
    else
        echo "mutant $name: NOT CAUGHT by ${model[$name]}"
    fi
done

# The crate itself, as programs get it but for the faults.
if [ $# -eq 0 ]; then
    histories=$(RUSTC_WORKSPACE_WRAPPER=$PWD/ci/with-mutants.sh cargo test --test linearizability --no-run 2>&1 | executable)
    found=0
    for name in "${!history[@]}"; do
        [ -n "${controlled[${history[$name]}]:-}" ] || control "$histories" "${history[$name]}"
        controlled[${history[$name]}]=1
        if fails "$name" "$histories" "${history[$name]}"; then
            echo "mutant $name: found by histories: ${history[$name]}: $why"
            found=$((found + 1))
        else
            echo "mutant $name: NOT FOUND by ${history[$name]}"
        fi
    done
    echo "histories: ${#history[@]} injected, $found found"
    [ "$found" -eq "${#history[@]}" ] && [ "$found" -ge 3 ]
fi
echo "mutants: ${#names[@]} injected, $caught caught"
[ "$caught" -eq "${#names[@]}" ]
