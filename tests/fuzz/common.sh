# SPDX-License-Identifier: Apache-2.0
# To be sourced: running one target. Needs $work, a scratch folder of the caller's, and $programs,
# the folder of the targets.
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
export OMP_NUM_THREADS=1
# A size that no machine has is refused as malloc refuses it; what a smaller one may take is
# libFuzzer's limit below.
export ASAN_OPTIONS=allocator_may_return_null=1:${ASAN_OPTIONS:-}
export LSAN_OPTIONS=print_suppressions=0:${LSAN_OPTIONS:-}
export UBSAN_OPTIONS=print_stacktrace=1:${UBSAN_OPTIONS:-}

# A folder in memory if there is one: the targets write files.
make_scratch() {
    mktemp -d -p /dev/shm 2>/dev/null || mktemp -d
}

# run_target NAME CORPUS CRASHES SECONDS [OPTION...]: finds go to CORPUS, what crashes to CRASHES;
# prints what libFuzzer prints.
run_target() {
    local name=$1 corpus=$2 crashes=$3 seconds=$4 longest=4096
    shift 4
    case $name in tokenizer_*) longest=16384 ;; esac
    mkdir -p "$corpus" "$crashes" "$work/$name"
    cat "$here/dict/json.dict" "$here/dict/$name.dict" >"$work/$name.dict" 2>/dev/null || true
    TMPDIR=$work/$name "$programs/fuzz_$name" -max_total_time="$seconds" -max_len=$longest \
        -timeout=60 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=1 -dict="$work/$name.dict" \
        -artifact_prefix="$crashes/" "$@" "$corpus" "$here/seeds/$name" 2>&1
}
