#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What --dry-run says a run will take is what the run takes. The model is large enough for its own
# memory to outweigh the process's.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"

cat >"$work/shape.json" <<'END'
{ "vision_tower": { "architectures": ["CLIPVisionModel"], "model_type": "clip_vision_model",
    "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 3,
    "num_attention_heads": 4, "image_size": 112, "patch_size": 14, "num_channels": 3,
    "projection_dim": 64, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-05 },
  "language_model": { "architectures": ["LlamaForCausalLM"], "model_type": "llama",
    "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6,
    "num_attention_heads": 6, "num_key_value_heads": 3, "vocab_size": 2048,
    "max_position_embeddings": 512, "hidden_act": "silu", "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0, "tie_word_embeddings": true, "attention_bias": false,
    "mlp_bias": false, "bos_token_id": 1, "eos_token_id": 2 } }
END

large_inputs() {
    make_inputs && rm -r "$work/init" &&
        "$LLAVA" init --shape "$work/shape.json" --seed 3 \
            --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer" --out "$work/init"
}
check "inputs are made" large_inputs
for stage in 1 2; do
    write_config "$work/stage$stage.json" "$stage"
done

# plan STAGE OPTION...: the plan, in $work/plan.
plan() {
    local stage=$1
    shift
    "$LLAVA" train "$work/stage$stage.json" --dry-run "$@" >"$work/plan"
}

# planned LINE: its number in the plan, in bytes.
planned() {
    awk -v line="  $1 " 'index($0, line) == 1 {
        split("bytes kB MB GB TB", units); $0 = substr($0, length(line));
        for (i = 1; i <= 5; i++) if ($2 == units[i]) printf "%.0f\n", $1 * 1000 ^ (i - 1) }' \
        "$work/plan"
}

# run_watched STAGE OPTION...: the run; its peak of RssAnon in bytes, in $peak.
run_watched() {
    local pid kb
    "$LLAVA" train "$work/stage$1.json" --set run.dir="$work/run" "${@:2}" >"$work/run.log" 2>&1 &
    pid=$!
    peak=0
    while kb=$(awk '/^RssAnon:/ { print $2 }' "/proc/$pid/status" 2>/dev/null) && [ -n "$kb" ]; do
        [ $((kb * 1024)) -gt "$peak" ] && peak=$((kb * 1024))
        sleep 0.01
    done
    wait "$pid" && rm -r "$work/run"
}

# Within 10%.
agrees() {
    local n=0
    plan "$@" --set run.dir="$work/run" || return 1
    n=$(planned together)
    run_watched "$@" --set train.max_steps=3 || return 1
    cat "$work/plan"
    echo "measured: $peak"
    awk -v n="$n" -v peak="$peak" 'BEGIN { exit !(n > 0.9 * peak && n < 1.1 * peak) }'
}
for stage in 1 2; do
    for recompute in none layer; do
        for precision in f32 bf16; do
            check "stage $stage in $precision, recompute $recompute: planned and measured agree" \
                agrees "$stage" --set train.recompute="$recompute" --set train.max_steps=3 \
                --set train.precision="$precision"
        done
    done
done

writes_nothing() {
    plan 2 --set run.dir="$work/never" && [ ! -e "$work/never" ]
}
check "a plan writes nothing" writes_nothing

once_on_two_ranks() {
    mpirun -n 2 "$LLAVA" train "$work/stage1.json" --dry-run >"$work/plan" &&
        [ "$(grep -c together "$work/plan")" -eq 1 ]
}
check "under mpirun it is printed once" once_on_two_ranks

# The configurations alone: weights are taken to be bf16, half of f32.
without_weights() {
    local activations mapped
    plan 1 || return 1
    activations=$(planned activations)
    mapped=$(planned "frozen weights, mapped")
    mkdir "$work/bare"
    for part in vision_tower language_model; do
        mkdir "$work/bare/$part"
        cp "$work/init/$part/"*.json "$work/bare/$part/"
        set -- "$@" --set model.$part="$work/bare/$part"
    done
    plan 1 "$@" || return 1
    cat "$work/plan"
    [ "$(grep -c 'holds no weights' "$work/plan")" -eq 2 ] &&
        [ "$(planned activations)" -eq "$activations" ] &&
        awk -v n="$(planned "frozen weights, mapped")" -v all="$mapped" \
            'BEGIN { exit !(n > 0.48 * all && n < 0.5 * all) }'
}
check "weights that are not there yet are taken to be bf16" without_weights

# Samples of the pack fill the budget less well than the worst case does.
without_pack() {
    local activations
    plan 2 || return 1
    activations=$(planned activations)
    plan 2 --set 'data.packs=["not-there"]' || return 1
    cat "$work/plan"
    grep -q "not-there is not there: the largest micro-batch" "$work/plan" &&
        [ "$(planned activations)" -gt "$activations" ]
}
check "without a pack the worst case is assumed, and said so" without_pack

check "what is no pack is refused" refused 1 "not a pack" "$LLAVA" train "$work/stage1.json" \
    --dry-run --set "data.packs=[\"$work/init\"]"
check "no rank on a node is refused" refused 2 "ranks-per-node" "$LLAVA" train \
    "$work/stage1.json" --dry-run --ranks-per-node 0
finish
