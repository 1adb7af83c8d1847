#!/usr/bin/env bash
# Write requirements/main.txt, iec61850.txt and interop.txt anew: exact versions with the digests of all their wheels.
# No index address goes into the locks: pip's own configuration says where packages come from.
set -euo pipefail
cd "$(dirname "$0")/.."

compile() {
    CUSTOM_COMPILE_COMMAND="make lock" .venv/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
        --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options --annotation-style=line "$@"
}

compile --extra agent --extra master --extra sim --extra client --extra test --extra dev \
    --output-file requirements/main.txt setup.cfg
# Beside main.txt, not in it: only who reads IEC 61850 devices installs it, and what both name has one version.
compile --extra iec61850 --constraint requirements/main.txt --output-file requirements/iec61850.txt setup.cfg
compile --output-file requirements/interop.txt requirements/interop.in
