#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The table of llava train --profile has the ops that ran, adds up to the step, and changes nothing.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"

check "inputs are made" make_inputs
write_config "$work/stage2.json" 2
stage=2
profiled() { # profiled NAME RANKS OPTION...: the run; its output in $work/NAME.log
    run_stage "$@" --profile >"$work/$1.log" 2>&1 || { cat "$work/$1.log"; return 1; }
}
# rows NAME: the rows of the table, as name|calls|seconds|share.
rows() {
    sed -n '/^profile:/,/^  processor/p' "$work/$1.log" |
        sed -nE 's/^  ([a-z_ ]*[a-z]) +([0-9]+) +([0-9.]+) +([0-9.]+)%.*/\1|\2|\3|\4/p'
}
has() { # has NAME ROW CALLS...: each row, so many times a step
    local name=$1
    shift
    while [ $# -gt 0 ]; do
        rows "$name" | grep -q "^$1|$2|" || { echo "no $1, $2 times"; rows "$name"; return 1; }
        shift 2
    done
}
# Each second is in one part: together they are the step, but for the rounding of what is printed.
adds_up() {
    rows "$1" | awk -F'|' '$1 == "step" { whole = $3; next } { sum += $3; n++ }
        END { print sum, whole, n; exit !(n > 10 && sum <= whole + n * 5e-5 &&
              sum >= whole * 0.99 - n * 5e-5) }'
}
check "a run of 4 steps with --profile" profiled one 1 --set train.max_steps=4
check "the table is of the steps after the first" grep -q '^profile: the mean of steps 2 to 4 on' \
    "$work/one.log"
layers=$(sed -n '/language_model/,$s/.*"num_hidden_layers": *\([0-9]*\).*/\1/p' \
    "$LLAVA_TEST_SOURCE/tests/support/shape.json")
check "it has each op, as often as the model has it" has one \
    'attention backward' "$layers" 'silu_mul forward' "$layers" 'silu_mul backward' "$layers" \
    'rmsnorm backward' $((2 * layers + 1)) 'cross_entropy forward' 1 'embedding backward' 1 \
    'patch_embed forward' 1 'gradient norm' 1 'optimiser' 1
check "no op of the frozen tower has a backward pass" refused 1 '^$' grep -q \
    'patch_embed backward' "$work/one.log"
check "its parts add up to the step" adds_up one
check "products have a rate" grep -qE '^  linear forward .*% +[0-9.]+ +[0-9.]+$' "$work/one.log"

check "the same run without" run_stage plain 1 --set train.max_steps=4
check "it has the same bits" cmp "$work/s2-one/model/model.safetensors" \
    "$work/s2-plain/model/model.safetensors"
check "2 ranks, recomputed, and a run that stops after its first step" profiled two 2 \
    --set train.max_steps=1 --set optim.warmup_ratio=0 --set train.recompute=layer
check "one table, of that step, with the slowest rank beside rank 0" refused 0 'any rank$' cat \
    "$work/two.log"
check "what is computed twice counts twice" has two 'silu_mul forward' $((2 * layers)) \
    'silu_mul backward' "$layers"
check "its parts add up to the step too" adds_up two
check "after the sixth step it is printed, once, and the run goes on" profiled long 1 \
    --set train.max_steps=8
check "of steps 2 to 6" refused 0 '^profile: the mean of steps 2 to 6 on' cat "$work/long.log"
check "not with a plan" refused 2 '--profile is of a run' "$LLAVA" train "$work/stage2.json" \
    --profile --dry-run
finish
