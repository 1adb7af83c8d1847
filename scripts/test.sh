#!/usr/bin/env bash
# All parts of `make test`, each to its end; then, in the last lines, what failed and why.
# usage: scripts/test.sh PROCESSES      exit code: 0 all fine, 1 something failed
# Every part's whole output stays in build/test.
set -uo pipefail
cd "$(dirname "$0")/.."

readonly processes=$1 output=build/test
# What must be covered to the last branch, and the tests that do: to count coverage doubles the time of all others.
readonly core='wire/*,rules/*,master/consensus/*,master/ledger/*'
readonly covering=(tests/unit/{wire,rules,consensus,ledger,contracts,store})
# Whole networks of programs: one at a time.
readonly networks=tests/e2e
# Each file in one process; long ones first, as they are collected.
readonly shared=(--numprocesses="$processes" --dist=loadfile --no-loadscope-reorder)

failed=()
# part NAME COMMAND...
part() {
    local name=$1
    shift
    "$@" 2>&1 | tee "$output/$name.txt" || failed+=("$name")
}

rm -rf "$output"
mkdir -p "$output" build/coverage
part lint make lint
part covering .venv/bin/python -m pytest "${shared[@]}" "${covering[@]}" --cov --cov-report=
part coverage .venv/bin/coverage report --include="$core" --fail-under=100 --skip-covered --show-missing
part alone .venv/bin/python -m pytest "${shared[@]}" tests "${covering[@]/#/--ignore=}" --ignore="$networks"
part networks .venv/bin/python -m pytest "$networks"

if [ ${#failed[@]} -eq 0 ]; then
    echo 'test: all parts passed'
    exit 0
fi
for name in "${failed[@]}"; do
    printf '\ntest: %s failed; all of it is in %s\n' "$name" "$output/$name.txt"
    case $name in
        lint | coverage) tail -n 12 "$output/$name.txt" ;;
        *) grep -E '^(FAILED|ERROR|E  )' "$output/$name.txt" | tail -n 12 ;;
    esac
done
exit 1
