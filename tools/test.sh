#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install, build, and run every test of the short tier; with --long those of the long tier too.
# The last line is "N passed, M failed, K skipped".
set -euo pipefail
cd "$(dirname "$0")/.."

tier=(--no-suite long)
case "${1:-}" in
"") ;;
--long) tier=() ;;
*)
    echo "usage: tools/test.sh [--long]" >&2
    exit 2
    ;;
esac

tools/build.sh --tests
. tools/mpi_env.sh
export OMP_WAIT_POLICY=passive # ranks share the cores

status=0
# Most tests wait more than they compute: twice as many as there are cores run at a time.
meson test -C build "${tier[@]}" --print-errorlogs --timeout-multiplier 4 \
    --num-processes $((2 * $(nproc))) || status=$?

# Tests in C count case by case, scripts as one; a suite that died counts as one failure.
awk '
    match($0, /<testsuite [^>]*>/) {
        suite = substr($0, RSTART, RLENGTH)
        n = split(suite, part, "\"")
        for (i = 1; i < n; i += 2) {
            key = part[i]
            sub(/.* /, "", key)
            count[key] += part[i + 1]
        }
    }
    END {
        failed = count["failures="] + count["errors="]
        skipped = count["skipped="] + 0
        printf "%d passed, %d failed, %d skipped\n", count["tests="] - failed - skipped, failed, skipped
        exit failed > 0
    }' build/meson-logs/testlog.junit.xml || status=1
exit "$status"
