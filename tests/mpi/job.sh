#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a job is made of: one line says it, ranks that are not alike are named with their hosts, and
# ranks of two configs do not begin.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"

check "inputs are made" make_inputs
write_config "$work/config.json" 1
here="\\($(uname -n)\\)"

# Two steps on two ranks, each with its own program, flags and variables.
train() { # train PROGRAM [FLAG...]: the words of a rank's command
    printf '%s\n' "$1" train "$work/config.json" --set train.max_steps=2 "${@:2}"
}
pair() { # pair RUN FIRST SECOND: functions that print the words of each rank's command
    local first second
    mapfile -t first < <("$2")
    mapfile -t second < <("$3")
    mpirun -n 1 "${first[@]}" --set run.dir="$work/$1" : \
        -n 1 "${second[@]}" --set run.dir="$work/$1"
}
plain() { train "$LLAVA"; }

check "one line says version, build, MPI, host, CPU and wire" refused 0 \
    "^llava [0-9.]+, build [0-9a-f]{8}; .*MPI.* v?[0-9.]+; on $(uname -n): .*; gradients are sent in (f32|bf16)$" \
    pair alike plain plain
alone() {
    "$LLAVA" train "$work/config.json" --set train.max_steps=2 --set run.dir="$work/alone"
}
check "of one process alone it says no MPI and no wire" refused 0 \
    "^llava [0-9.]+, build [0-9a-f]{8}; on $(uname -n): [^;]*$" alone
quiet() { ! pair quiet plain plain 2>&1 | grep 'not the same'; }
check "of ranks that are alike it says no more" quiet

# ---- refused ----
other_lr() { train "$LLAVA" --set optim.lr=0.5; }
check "another config on one rank is refused, and key, rank and host are named" refused 2 \
    "config: not the same on all ranks: rank 0's on rank 0 $here, optim.lr=0.5 on rank 1 $here" \
    pair other_lr plain other_lr
check "before anything was written" [ ! -e "$work/other_lr" ]
from_scratch() { train "$LLAVA" --resume none; }
check "another --resume too" refused 2 '--resume="none" on rank 1' pair resume plain from_scratch
dry() { plain && echo --dry-run; }
check "a plan on one rank and a run on the other do not wait for each other" refused 2 \
    '"llava train" on rank 0, "llava train --dry-run" on rank 1: all ranks must' pair dry plain dry
misspelt() { plain && echo --resum=none; }
check "nor do ranks of which one is given a wrong flag" refused 2 \
    'llava train: rank 1 on [^:]*: unknown flag --resum ' pair misspelt plain misspelt
alone_of_two() { env SLURM_STEP_NUM_TASKS=2 "${alone_command[@]}"; }
alone_command=("$LLAVA" train "$work/config.json" --set run.dir="$work/of_two")
check "ranks that MPI takes for jobs of one are refused" refused 2 \
    'the launcher has started 2 ranks \(SLURM_STEP_NUM_TASKS\), but to MPI .* alone' alone_of_two

# ---- warnings ----
cp "$LLAVA" "$work/other_build"
echo >>"$work/other_build"
other_build() { train "$work/other_build"; }
check "another build of the version is a warning" refused 0 \
    "^llava: build of llava: not the same on all ranks: [0-9a-f]{8} on rank 0 $here, [0-9a-f]{8} on rank 1" \
    pair other plain other_build
slower() { printf '%s\n' env LLAVA_CPU=portable && plain; }
check "variables that differ are a warning" refused 0 \
    "^llava: environment: not the same on all ranks: .*LLAVA_CPU=portable OMP_NUM_THREADS=1.* on rank 1 " \
    pair environment plain slower
instructions() {
    refused 0 '^llava: instructions and libraries: not the same on all ranks: .*; portable; ' \
        pair instructions plain slower ||
        refused 0 '^llava: instructions and libraries: .*, portable; .* on rank 1' \
            pair instructions2 plain slower
}
check "and so are instructions" instructions
two_threads() { printf '%s\n' env OMP_NUM_THREADS=2 && plain; }
check "and threads" refused 0 "^llava: threads a rank: .* 1 on rank 0 $here, 2 on rank 1 $here; " \
    pair threads plain two_threads

if [ "$(lscpu --online --parse=core,socket | grep -v '^#' | sort -u | wc -l)" -ge 2 ]; then
    export OMP_PROC_BIND=true OMP_PLACES=cores
    check "OpenMP's own binding, which puts both ranks on one core, is a warning" refused 0 \
        "^llava: on $(uname -n): OpenMP has bound 2 threads to 1 of [0-9]+ cores" \
        pair bound plain plain
else
    skip "OpenMP's own binding is a warning" "there is one core"
fi
finish
