#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh [PART...]: the program and its tests under sanitizers and valgrind; without a PART all:
#   address   ASan, UBSan and LSan (clang): kernels, gradients, units, golden, faults, and the command
#   levels    the same at each lower CPU level, for tests that do not go through the levels
#   thread    TSan (clang; archer tells it what OpenMP does): loader, packs, kernels, ops, training
#   memcheck  valgrind on what gcc made: kernels, loader, packs, pack, training
#   helgrind  valgrind: loader and packs, training with three workers
# Prints a line a part, and of one that failed the end of its log; logs are in build/sanitize. Exit
# 1 if a part failed. Builds in build/asan, asan-vector, tsan and valgrind. Some 30 minutes on two
# cores. Needs clang, libomp-dev, valgrind. What is passed over, and why, is in *.supp.
set -uo pipefail
here=$(realpath "$(dirname "$0")")
root=$(realpath "$here/../..")
cd "$root" || exit 1

logs=$root/build/sanitize
mkdir -p "$logs"
export LLAVA_TEST_SOURCE=$root LLAVA_TEST_DATA=$root/../shared/data METRICS_DIFF=
. tests/support/common.sh # $quick, the small model of the tests, in $work
export OMP_NUM_THREADS=2

export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export LSAN_OPTIONS=suppressions=$here/lsan.supp:print_suppressions=0
export TSAN_OPTIONS=suppressions=$here/tsan.supp:second_deadlock_stack=1
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1
without_leaks=${ASAN_OPTIONS/leaks=1/leaks=0} # of OpenMPI

# ---- builds ----

clang_flags="-fno-omit-frame-pointer -gline-tables-only -Wno-pass-failed"

# configure NAME OPTION...: build/NAME, once.
configure() {
    [ -f "build/$1/build.ninja" ] || meson setup "build/$1" -Dtests=true "${@:2}"
}

build_asan() {
    CC=clang configure asan -Dbuildtype=debugoptimized -Db_sanitize=address,undefined \
        -Db_lundef=false -Dc_link_args=-fsanitize=float-cast-overflow \
        -Dc_args="-fno-sanitize-recover=all -fsanitize=float-cast-overflow $clang_flags" &&
        ninja -C build/asan
}

# UBSan's checks keep clang from making vector loops: the kernels once more under ASan alone.
build_vector() {
    CC=clang configure asan-vector -Dbuildtype=plain -Doptimization=3 -Db_sanitize=address \
        -Db_lundef=false -Dc_args="$clang_flags" &&
        ninja -C build/asan-vector tests/kernels/test_vector
}

build_tsan() {
    CC=clang configure tsan -Dbuildtype=plain -Doptimization=1 -Db_sanitize=thread \
        -Db_lundef=false -Dc_args="$clang_flags" &&
        ninja -C build/tsan llava tests/units/train/test_cluster_threads "${threaded[@]/#/tests/}"
}

# -O3 as in a release: with less gcc makes no vector loops.
build_valgrind() {
    configure valgrind -Dbuildtype=plain -Ddebug=true -Doptimization=3 &&
        ninja -C build/valgrind llava "${checked[@]/#/tests/}"
}

# The tests of what runs on several threads, and those whose memory gcc's code is looked at.
threaded=(units/data/test_{loader_loader,loader_batch,base_hdf5,pack_pack,pack_write_write}
    units/optim/test_adamw units/autograd/test_autograd_{ops,ops_bf16,linear_bf16,attention_bf16}
    kernels/test_{bf16,gemm,rows} golden/model/test_model_{forward_backward,training})
checked=(units/data/test_{loader_loader,loader_batch,base_hdf5,pack_write_source} kernels/test_{gemm,rows,convert,vector})

# ---- the command ----

# inputs PROGRAM: a small model and packs of photographs, made once.
inputs() {
    [ -f "$work/2.json" ] && return
    LLAVA=$1 make_inputs || { cat "$work/inputs.log" && return 1; }
    write_config "$work/1.json" 1 && write_config "$work/2.json" 2
}

# train STAGES PRECISIONS PROGRAM...: three workers, a checkpoint, validations.
train() {
    local stages=$1 precisions=$2 stage precision pack dir
    shift 2
    dir=$(mktemp -d -p "$work")
    for stage in $stages; do
        pack=$([ "$stage" = 1 ] && echo captions || echo questions)
        for precision in $precisions; do
            "$@" train "$work/$stage.json" --set run.dir="$dir/$stage-$precision" \
                --set train.precision="$precision" --set train.max_steps=3 --set data.workers=3 \
                --set "data.val_packs=[\"$work/$pack\"]" --set train.val_every_steps=2 || return 1
        done
    done
}

# pack PROGRAM...: the photographs of the quickstart, decoded.
pack() {
    "$@" pack --data "$quick/questions.json" --images "$quick/photos" --template v1 --store rgb \
        --image-size 28 --tokenizer configs/tokenizer --out "$(mktemp -d -p "$work")/pack"
}

# each PROGRAM... -- TEST...: every test, by that program; goes on after one that failed.
each() {
    local with=() status=0 name
    while [ "$1" != -- ]; do
        with+=("$1")
        shift
    done
    for name in "${@:2}"; do
        echo "# $name"
        "${with[@]}" "$name" || { echo "FAILED: $name" && status=1; }
    done
    return $status
}

# ---- parts ----

suites() {
    meson test -C build/asan --no-rebuild --print-errorlogs -t 20 "$@"
}

address() {
    build_asan || return 1
    build_vector && build/asan-vector/tests/kernels/test_vector || return 1
    suites --suite kernels --suite gradients --suite units || return 1
    env -u OMP_NUM_THREADS build/asan/tests/units/train/test_cluster_threads || return 1
    ASAN_OPTIONS=$without_leaks suites --no-suite long --suite golden --suite faults || return 1
    inputs build/asan/llava && train '1 2' 'f32 bf16' build/asan/llava && pack build/asan/llava
}

levels() {
    local level
    build_asan && inputs build/asan/llava || return 1
    for level in portable avx2 avx512; do
        export LLAVA_CPU=$level
        suites gemm rows autograd/{ops,ops_bf16,linear_bf16,attention_bf16} optim/adamw \
            data/image/kernels train/{model/llava/llava,optimizer,model/llava/generate} model/{training,forward_backward} &&
            train '1 2' 'f32 bf16' build/asan/llava || return 1
    done
}

thread() {
    local OMP_NUM_THREADS=3
    export OMP_TOOL_LIBRARIES
    OMP_TOOL_LIBRARIES=$(ls /usr/lib/llvm-*/lib/libarcher.so | tail -n 1) || return 1
    build_tsan && inputs build/tsan/llava || return 1
    each -- "${threaded[@]/#/build/tsan/tests/}" &&
        env -u OMP_NUM_THREADS build/tsan/tests/units/train/test_cluster_threads &&
        train '1 2' 'f32 bf16' build/tsan/llava
}

# The program starts itself again to set OpenBLAS up, so its children are what is to be seen.
memcheck() {
    local OMP_NUM_THREADS=1 with=(valgrind -q --trace-children=yes --error-exitcode=9
        --suppressions="$here/valgrind.supp" --num-callers=25 --leak-check=full
        --show-leak-kinds=definite,possible --errors-for-leak-kinds=definite,possible)
    build_valgrind && inputs build/valgrind/llava || return 1
    each "${with[@]}" -- "${checked[@]/#/build/valgrind/tests/}" &&
        pack "${with[@]}" build/valgrind/llava && train '1 2' bf16 "${with[@]}" build/valgrind/llava
}

# One OpenMP thread: helgrind does not know libgomp's barriers.
helgrind() {
    local OMP_NUM_THREADS=1 with=(valgrind -q --tool=helgrind --trace-children=yes
        --error-exitcode=9 --suppressions="$here/valgrind.supp" --num-callers=25)
    build_valgrind && inputs build/valgrind/llava || return 1
    each "${with[@]}" -- build/valgrind/tests/units/data/test_{loader_loader,loader_batch,base_hdf5} &&
        train 1 f32 "${with[@]}" build/valgrind/llava
}

parts=("$@")
if [ $# -eq 0 ]; then
    parts=(address levels thread memcheck helgrind)
fi
failed=0
for part in "${parts[@]}"; do
    case $part in
    address | levels | thread | memcheck | helgrind) ;;
    *)
        echo "tests/sanitize/run.sh [address|levels|thread|memcheck|helgrind]..." >&2
        exit 2
        ;;
    esac
    start=$SECONDS
    if ("$part") >"$logs/$part.log" 2>&1; then
        echo "pass  $part, $((SECONDS - start)) s"
    else
        failed=1
        echo "FAIL  $part, $((SECONDS - start)) s; the end of $logs/$part.log:"
        tail -n 30 "$logs/$part.log" | sed 's/^/    /'
    fi
done
exit $failed
