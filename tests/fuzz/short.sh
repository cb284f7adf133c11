#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# short.sh TARGET: builds the targets if need be and runs one for 5 seconds from its seeds. TAP.
# From meson: LLAVA_FUZZ_BUILD, where they are built. An input that fails is kept in crashes/ there.
set -uo pipefail
name=$1
build=${LLAVA_FUZZ_BUILD:-$(dirname "$0")/../../build/fuzz}
. "$(dirname "$0")/common.sh"
echo 1..1
said=$("$here/build.sh" "$build" 2>&1)
case $? in
0) ;;
77)
    echo "ok 1 - fuzz_$name # SKIP $said"
    exit 0
    ;;
*)
    printf '%s\n' "$said" | sed 's/^/# /'
    echo "not ok 1 - fuzz_$name: the build with clang"
    exit 0
    ;;
esac
programs=$build/tests/fuzz
work=$(make_scratch)
trap 'rm -rf "$work"' EXIT

if run_target "$name" "$work/corpus" "$build/crashes/$name" 5 -seed=1 >"$work/log"; then
    echo "ok 1 - fuzz_$name: $(sed -n 's/^#[0-9]*\tDONE *//p' "$work/log")"
else
    grep -v -E $'^#[0-9]+\t' "$work/log" | tail -60 | sed 's/^/# /'
    echo "# again: $programs/fuzz_$name $build/crashes/$name/..."
    echo "not ok 1 - fuzz_$name"
fi
