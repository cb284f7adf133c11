#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# plan_accuracy.sh [STEPS]: the step time that --dry-run --ranks predicts for 1, 2 and 4 ranks of
# this machine beside the one that is measured (median of the steps but the first), both stages of a
# 110M LLaMA with a CLIP-L tower. Other work on the machine spoils it.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"
unset OMP_NUM_THREADS # the ranks share the cores out
steps=${1:-5}

inputs() {
    make_inputs && rm -r "$work/init" &&
        "$LLAVA" init --shape "$LLAVA_TEST_SOURCE/configs/shapes/110m.json" --seed 3 \
            --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer" --out "$work/f32" || return 1
    for part in vision_tower language_model; do
        "$LLAVA" convert --model "$work/f32/$part" --dtype bf16 --out "$work/init/$part" || return 1
    done
    rm -r "$work/f32"
}
check "inputs are made" inputs

# number LINE: of the plan.
number() {
    awk -v line="  $1 " 'index($0, line) == 1 { $0 = substr($0, length(line)); print $1 }' \
        "$work/plan"
}

median() {
    sort -g | awk '{ x[NR] = $1 } END { print (x[int((NR + 1) / 2)] + x[int(NR / 2) + 1]) / 2 }'
}

# compare STAGE RANKS
compare() {
    local run=("$work/stage$1.json" --set train.precision=bf16 --set train.global_batch_size=8
        --set train.micro_batch_tokens=1200 --set train.max_steps="$steps"
        --set checkpoint.every_steps=0 --set data.max_length=2048
        --set train.output=projector --set run.dir="$work/run")
    [ "$1" = 2 ] && run+=(--set train.output=full)
    "$LLAVA" train "${run[@]}" --dry-run --ranks "$2" --ranks-per-node "$2" >"$work/plan" &&
        mpirun -n "$2" "$LLAVA" train "${run[@]}" || return 1
    awk -F '"step_s":' 'NR > 1 { print $2 + 0 }' "$work/run/metrics.jsonl" | median >"$work/measured"
    rm -r "$work/run"
    cat "$work/plan"
    awk -v stage="$1" -v ranks="$2" -v p="$(number "the step")" -v m="$(cat "$work/measured")" 'BEGIN {
        printf "# stage %d, %d ranks: predicted %.2f s, measured %.2f s, ratio %.2f\n",
            stage, ranks, p, m, p / m
        exit !(p > 0.8 * m && p < 1.2 * m) }' | tee -a "$work/figures"
}
for stage in 1 2; do
    write_config "$work/stage$stage.json" "$stage"
    for ranks in 1 2 4; do
        check "stage $stage, $ranks ranks: predicted within 20%" compare $stage $ranks
    done
done
cat "$work/figures"
finish
