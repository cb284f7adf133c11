#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# plan_accuracy.sh [ROUNDS]: the step time that --dry-run --ranks predicts for 1, 2 and 4 ranks of
# this machine beside the one that is measured, both stages of a 110M LLaMA with a small tower. The
# two take turns; what counts is the median of the rounds' ratios. Steps differ in length, so it is
# tokens a second that are compared, of all steps but the first. Other work on the machine that comes
# and goes spoils it.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"
unset OMP_NUM_THREADS # the ranks share the cores out
rounds=${1:-5}
steps=4

inputs() {
    make_inputs && rm -r "$work/init" &&
        sed 's/"num_hidden_layers": 24/"num_hidden_layers": 6/' \
            "$LLAVA_TEST_SOURCE/configs/shapes/110m.json" >"$work/shape.json" &&
        "$LLAVA" init --shape "$work/shape.json" --seed 3 \
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

# one_round STAGE RANKS: adds a line to the figures.
one_round() {
    local run=("$work/stage$1.json" --set train.precision=bf16 --set train.global_batch_size=8
        --set train.micro_batch_tokens=1200 --set train.max_steps=$steps
        --set checkpoint.every_steps=0 --set data.max_length=2048 --set run.dir="$work/run")
    "$LLAVA" train "${run[@]}" --dry-run --ranks "$2" --ranks-per-node "$2" >"$work/plan" &&
        mpirun -n "$2" "$LLAVA" train "${run[@]}" || return 1
    awk '{ match($0, /"tokens":[0-9]+/); tokens = substr($0, RSTART + 9, RLENGTH - 9)
           match($0, /"step_s":[0-9.e-]+/); step_s = substr($0, RSTART + 9, RLENGTH - 9)
           if (NR > 1) { all_tokens += tokens; all_s += step_s } }
         END { print all_tokens / all_s }' "$work/run/metrics.jsonl" >"$work/measured"
    rm -r "$work/run"
    cat "$work/plan"
    awk -v stage="$1" -v ranks="$2" -v p="$(number 'tokens/s')" -v m="$(cat "$work/measured")" \
        'BEGIN { printf "%d %d %.0f %.0f %.3f\n", stage, ranks, p, m, p / m }' >>"$work/figures"
}

near() { # near STAGE RANKS: the median of the ratios is within 20% of 1
    awk -v stage="$1" -v ranks="$2" '$1 == stage && $2 == ranks { print $5 }' "$work/figures" |
        median | awk -v stage="$1" -v ranks="$2" '{
            printf "# stage %d, %d ranks: predicted / measured tokens/s %.2f\n", stage, ranks, $1
            exit !($1 > 0.8 && $1 < 1.2) }' | tee -a "$work/summary"
}

for stage in 1 2; do
    write_config "$work/stage$stage.json" "$stage"
done
for ((round = 1; round <= rounds; round++)); do
    for stage in 1 2; do
        for ranks in 1 2 4; do
            check "round $round, stage $stage, $ranks ranks" one_round $stage $ranks
        done
    done
done
for stage in 1 2; do
    for ranks in 1 2 4; do
        check "stage $stage, $ranks ranks: predicted within 20%" near $stage $ranks
    done
done
echo "# stage, ranks, tokens/s predicted, measured, ratio"
sed 's/^/# /' "$work/figures"
cat "$work/summary"
finish
