#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# long.sh MINUTES DIR [TARGET...]: runs every target (or those named) that long, as many at a time
# as there are cores. DIR keeps the corpora (a later call goes on from them), the logs, and in
# DIR/crashes the inputs that failed. Prints a table; exit 1 if an input failed.
# Line coverage is of the source files that the target is for, by the corpus at the end.
set -uo pipefail
if [ $# -lt 2 ]; then
    echo "usage: tests/fuzz/long.sh MINUTES DIR [TARGET...]" >&2
    exit 2
fi
minutes=$1
mkdir -p "$2" || exit 1
dir=$(realpath "$2")
shift 2
cores=$(nproc)
commit=$(git -C "$(dirname "$0")" rev-parse --short HEAD)
. "$(dirname "$0")/common.sh"
root=$(realpath "$here/../..")
cd "$root" || exit 1
"$here/build.sh" build/fuzz || exit 1
programs=$root/build/fuzz/tests/fuzz
work=$(make_scratch)
trap 'rm -rf "$work"' EXIT
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    targets=($(ls "$here/seeds"))
fi

# sources TARGET: the files that it is for.
sources() {
    case $1 in
    config) ls train/config/*.c ;;
    image) ls data/image/*.c ;;
    pack) ls data/pack/open.c data/pack/read.c data/pack/shard.c data/pack/manifest.c data/json/manifest.c ;;
    record) ls data/chat/*.c data/json/*.c data/pack/write/source.c ;;
    safetensors) ls train/model/weights/weights.c train/model/weights/safetensors.c ;;
    template) ls data/chat/template*.c ;;
    tokenizer_*) ls data/tokenizer/*.c data/base/text.c ;;
    esac
}

# run_long TARGET: until the time is over; after a failure it starts again, up to 20 times.
run_long() {
    local name=$1 end=$((SECONDS + minutes * 60)) left starts=0
    : >"$dir/$name.log"
    while left=$((end - SECONDS)) && [ $left -gt 0 ] && [ $starts -lt 20 ]; do
        starts=$((starts + 1))
        if ! run_target "$name" "$dir/corpus/$name" "$dir/crashes/$name" $left >>"$dir/$name.log"; then
            echo "again: $programs/fuzz_$name $(ls -t "$dir/crashes/$name"/* | head -1)" |
                tee -a "$dir/$name.log" >&2
        fi
    done
}

# line_coverage TARGET: in percent; by a build that counts.
line_coverage() {
    local name=$1 program=$root/build/fuzz-coverage/tests/fuzz/fuzz_$1
    TMPDIR=$work LLVM_PROFILE_FILE=$work/$name.raw "$program" -runs=0 -rss_limit_mb=0 \
        "$dir/corpus/$name" "$here/seeds/$name" >/dev/null 2>&1
    llvm-profdata merge "$work/$name.raw" -o "$work/$name.profile" &&
        llvm-cov export -summary-only "$program" -instr-profile="$work/$name.profile" \
            $(sources "$name") | grep -oE '"lines":\{[^}]*\}' | tail -1 | sed -E 's/.*"percent":([0-9]+).*/\1/'
}

# failing DIR: inputs; libFuzzer also keeps slow ones, which on a busy machine mean nothing.
failing() { find "$1" -type f ! -name 'slow-unit-*'; }

row() {
    local name=$1 log=$dir/$1.log runs done_line
    runs=$(awk '/^stat::number_of_executed_units/ { n += $2 } END { print n + 0 }' "$log")
    done_line=$(grep -aE $'^#[0-9]+\t.*cov: ' "$log" | tail -1)
    value() { sed -nE "s|.*\b$1: ([0-9]+).*|\1|p" <<<"$done_line"; }
    printf '| %s | %d | %d | %s | %s | %d | %s | %d |\n' "$name" "$runs" $((runs / (minutes * 60))) \
        "$(value cov)" "$(value ft)" "$(find "$dir/corpus/$name" -type f | wc -l)" \
        "$(line_coverage "$name") %" "$(failing "$dir/crashes/$name" | wc -l)"
}

export -f run_long run_target
export minutes dir work programs here
printf '%s\n' "${targets[@]}" | nice xargs -P "$cores" -I{} bash -c 'run_long {}'
# Meson runs what it compiles; its counts are not wanted.
LLVM_PROFILE_FILE=/dev/null LLAVA_FUZZ_FLAGS="-fprofile-instr-generate -fcoverage-mapping" \
    "$here/build.sh" build/fuzz-coverage || exit 1
{
    echo "# Fuzzing, $(date -u +%F): $minutes minutes a target"
    echo
    echo "Commit $commit, $(clang --version | head -1), ASan and UBSan," \
        "$cores targets at a time on as many cores."
    echo
    echo "| target | executions | a second | edges | features | corpus, files | lines of its sources | failing inputs |"
    echo "|---|---|---|---|---|---|---|---|"
    for name in "${targets[@]}"; do
        row "$name"
    done
} | tee "$dir/report.md"
[ -z "$(failing "$dir/crashes")" ]
