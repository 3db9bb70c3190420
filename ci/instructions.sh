#!/usr/bin/env bash
# Counts the instructions of each hot operation under callgrind and compares them with benches/instructions.txt: fails if one takes
# over 5 % more than is recorded there. `--update` writes the record anew. Counts differ between compilers and C libraries.
set -euo pipefail
cd "$(dirname "$0")/.."
record=benches/instructions.txt
tolerance=5

if ! command -v valgrind >/dev/null; then
    echo "instructions: SKIPPED, valgrind is not installed"
    exit 0
fi

binary=$(cargo bench --no-run --bench instructions --message-format json |
    sed -n 's/.*"executable":"\([^"]*instructions-[^"]*\)".*/\1/p' | tail -1)
out=$(mktemp -d)
trap 'rm -r "$out"' EXIT
if ! valgrind --tool=callgrind --callgrind-out-file="$out/counts" "$binary" --bench >"$out/times" 2>"$out/log"; then
    cat "$out/log"
    exit 1
fi
# Inclusive counts of the operations' functions, by the number of times that each was done.
callgrind_annotate --inclusive=yes --threshold=100 "$out/counts" 2>>"$out/log" |
    awk 'NR == FNR { times[$1] = $2; next }
         match($0, /::(op|rival)_[a-z_]+/) {
             name = substr($0, RSTART + 2, RLENGTH - 2); count = $1; gsub(",", "", count)
             if (name in times && !(name in done)) { done[name] = 1; printf "%s %.1f\n", name, count / times[name] }
         }' "$out/times" - | sort >"$out/found"

if [ "$(wc -l <"$out/found")" -ne "$(wc -l <"$out/times")" ]; then
    echo "instructions: FAILED, not every operation was found:"
    sort "$out/times" | join -v 1 - "$out/found"
    cat "$out/log"
    exit 1
fi
if [ "${1:-}" = --update ]; then
    {
        echo "# Instructions by operation, from ci/instructions.sh --update; $(rustc --version)."
        echo "# Pairs of calls count as one operation; rival_ is the sharded mutex, for comparison."
        cat "$out/found"
    } >"$record"
    cat "$record"
    exit 0
fi
grep -v '^#' "$record" | sort | join -a 1 -a 2 -e none -o 0,1.2,2.2 - "$out/found" |
    awk -v tolerance="$tolerance" '
        $2 == "none" || $3 == "none" { print $1 ": recorded " $2 ", found " $3; bad++; next }
        { change = ($3 / $2 - 1) * 100; printf "%-26s %10.1f %10.1f %+6.1f %%\n", $1, $2, $3, change }
        change > tolerance && $1 !~ /^rival_/ { print "    more than " tolerance " % over the record"; bad++ }
        change < -tolerance { print "    record it: ci/instructions.sh --update" }
        END { print bad ? "instructions: FAILED" : "instructions: OK"; exit bad > 0 }'
