#!/usr/bin/env bash
# Runs the generated tests with other examples than `make test`, a seed a round, until the time is over or a round fails.
# usage: scripts/properties.sh MINUTES FIRST PROCESSES      exit code: 0 nothing found, 1 a round failed
set -euo pipefail
cd "$(dirname "$0")/.."

readonly minutes=$1 first=$2 processes=$3
seed=$first
until [ $SECONDS -ge $((minutes * 60)) ]; do
    .venv/bin/python -m pytest tests --ignore=tests/e2e -m 'hypothesis or property' --quiet --no-header \
        --numprocesses="$processes" --hypothesis-profile=campaign --hypothesis-seed="$seed" || {
        echo "properties: found by make properties MINUTES=1 FIRST=$seed" >&2
        exit 1
    }
    seed=$((seed + 1))
done
echo "properties: $((seed - first)) rounds, seeds $first to $((seed - 1)): nothing found"
