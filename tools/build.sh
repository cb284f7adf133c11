#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Packages, then build/llava; with --tests the tests too. Used by quickstart.sh and test.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

for place in . build runs; do
    if [ -e "$place" ] && [ ! -w "$place" ]; then
        echo "$PWD/$place belongs to another user and can not be written; use a clone of your own" >&2
        exit 1
    fi
done
tools/dependencies.sh "$@"
tests=false
if [ "${1:-}" = --tests ]; then
    tests=true
fi
if [ ! -f build/build.ninja ]; then
    meson setup build -Dtests=$tests >/dev/null
elif $tests; then
    meson configure build -Dtests=true >/dev/null
fi
echo "Building"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! ninja -C build >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi
