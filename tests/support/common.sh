# SPDX-License-Identifier: Apache-2.0
# To be sourced by the tests that are scripts. They print TAP: one line a check.
# From meson: LLAVA (the program), METRICS_DIFF, WEIGHTS_DIFF, LLAVA_TEST_SOURCE; with MPICH
# LLAVA_TEST_MPIRUN.
set -uo pipefail
. "$LLAVA_TEST_SOURCE/tools/mpi_env.sh"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=passive
export OMPI_MCA_mpi_yield_when_idle=1 # several tests run at a time
quick=$LLAVA_TEST_SOURCE/configs/quickstart
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
checks=0

# The launcher of the MPI that the program was built with, under the name that all have.
mpich=false
if [ -n "${LLAVA_TEST_MPIRUN:-}" ]; then
    mkdir "$work/launcher"
    printf '#!/bin/sh\nexec "%s" "$@"\n' "$LLAVA_TEST_MPIRUN" >"$work/launcher/mpirun"
    chmod +x "$work/launcher/mpirun"
    PATH=$work/launcher:$PATH
    mpich=true
fi

# check NAME COMMAND...: one line of TAP; the command's output is shown if it fails.
check() {
    local name=$1 output
    shift
    checks=$((checks + 1))
    if output=$("$@" 2>&1); then
        echo "ok $checks - $name"
    else
        echo "not ok $checks - $name"
        printf '%s\n' "$output" | sed 's/^/# /'
    fi
}

skip() {
    checks=$((checks + 1))
    echo "ok $checks - $1 # SKIP $2"
}

finish() {
    echo "1..$checks"
}

# refused STATUS PATTERN COMMAND...: it ends with that status and says, once, what the pattern (an
# extended regular expression) matches.
refused() {
    local want=$1 pattern=$2 output status
    shift 2
    output=$("$@" 2>&1)
    status=$?
    printf '%s\n(exit status %d, expected %d and /%s/)\n' "$output" "$status" "$want" "$pattern"
    [ "$status" -eq "$want" ] && [ "$(grep -cE -- "$pattern" <<<"$output")" -eq 1 ]
}

# A small model and the packs of the quickstart, in $work.
make_inputs() {
    "$LLAVA" init --shape "$LLAVA_TEST_SOURCE/tests/support/shape.json" --seed 3 \
        --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer" --out "$work/init" &&
        "$LLAVA" pack --data "$quick/captions.json" --images "$quick/photos" --template plain \
            --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer" --out "$work/captions" &&
        "$LLAVA" pack --data "$quick/questions.json" --images "$quick/photos" --template v1 \
            --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer" --out "$work/questions"
} >"$work/inputs.log" 2>&1

# write_config FILE STAGE: stage 1 or 2 on those, 20 steps.
write_config() {
    local trainable='"projector"' pack=captions output=projector lr=1e-3
    if [ "$2" = 2 ]; then
        trainable='"projector", "language_model"' pack=questions output=full lr=5e-4
    fi
    cat >"$1" <<END
{ "run": { "dir": "run" },
  "model": { "vision_tower": "init/vision_tower", "language_model": "init/language_model",
             "projector": { "type": "mlp2x_gelu" } },
  "data": { "packs": ["$pack"], "max_length": 256, "workers": 1 },
  "train": { "trainable": [$trainable], "max_steps": 20, "global_batch_size": 6,
             "micro_batch_tokens": 4096, "precision": "f32", "output": "$output" },
  "optim": { "lr": $lr, "weight_decay": 0.01 },
  "checkpoint": { "every_steps": 10 } }
END
}

# run_stage NAME RANKS OPTION...: $work/stage$stage.json, to $work/s$stage-NAME.
run_stage() {
    local name=$1 ranks=$2
    shift 2
    mpirun -n "$ranks" "$LLAVA" train "$work/stage$stage.json" \
        --set run.dir="$work/s$stage-$name" "$@"
}

# wait_for PATTERN FILE SECONDS: until the file has such a line.
wait_for() {
    for _ in $(seq $((20 * $3))); do
        grep -q "$1" "$2" 2>/dev/null && return 0
        sleep 0.05
    done
    echo "no /$1/ in $2"
    return 1
}

# ranks_in DIR: the processes that train in $work/DIR.
ranks_in() {
    local pid
    for pid in $(pgrep -f "run.dir=$work/$1"); do
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = llava ] && echo "$pid"
    done
}

# flip FILE OFFSET: change one byte.
flip() {
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    printf "\\x$(printf %02x $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
