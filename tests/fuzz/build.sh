#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# build.sh [DIR]: the libFuzzer targets with ASan and UBSan in DIR (build/fuzz); the second and
# later calls build only what changed. Several may run at once. Exit 77 where clang or its
# sanitizers are not installed.
# From the environment: LLAVA_FUZZ_FLAGS, more flags for compiler and linker.
set -euo pipefail
root=$(realpath "$(dirname "$0")/../..")
dir=$(realpath -m "${1:-$root/build/fuzz}")

probe=$(mktemp -d)
trap 'rm -rf "$probe"' EXIT
echo 'int LLVMFuzzerTestOneInput(const char *d, long n); int LLVMFuzzerTestOneInput(const char *d, long n) { return d && n < 0; }' >"$probe/probe.c"
if ! clang -fsanitize=fuzzer,address,undefined -fopenmp "$probe/probe.c" -o "$probe/probe" \
    >/dev/null 2>&1; then
    echo "clang, libclang-rt or libomp is not installed (tools/dependencies.sh --tests)"
    exit 77
fi

mkdir -p "$dir"
exec 9>"$dir/lock"
flock 9
flags="-fsanitize=fuzzer-no-link -fno-sanitize-recover=all -fno-omit-frame-pointer -gline-tables-only -Wno-pass-failed ${LLAVA_FUZZ_FLAGS:-}"
if [ ! -f "$dir/build.ninja" ]; then
    CC=clang meson setup "$dir" "$root" -Dfuzz=true -Dtests=false -Dbuildtype=plain \
        -Doptimization=1 -Db_sanitize=address,undefined -Db_lundef=false \
        -Dc_args="$flags" -Dc_link_args="-fsanitize=fuzzer-no-link ${LLAVA_FUZZ_FLAGS:-}" >"$dir/setup.log" 2>&1 || {
        cat "$dir/setup.log"
        exit 1
    }
fi
ninja -C "$dir" fuzz >"$dir/build.log" 2>&1 || {
    cat "$dir/build.log"
    exit 1
}
