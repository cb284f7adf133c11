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

# Within 10%, with the copy for checkpoints or without.
agrees() {
    local n=0 copy=0
    plan "$@" --set run.dir="$work/run" || return 1
    n=$(planned together)
    copy=$(planned "a copy for checkpoints")
    run_watched "$@" --set train.max_steps=3 || return 1
    cat "$work/plan"
    echo "measured: $peak"
    awk -v n="$n" -v copy="$copy" -v peak="$peak" \
        'BEGIN { exit !(peak > 0.9 * n && peak < 1.1 * (n + copy)) }'
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
        [ "$(grep -c together "$work/plan")" -eq 1 ] && grep -q ' 2 x ' "$work/plan"
}
check "under mpirun it is printed once, for its ranks" once_on_two_ranks

# The configurations alone.
bare_parts() { # bare_parts DTYPE: as config.json names it
    local part
    rm -rf "$work/bare"
    bare=()
    for part in vision_tower language_model; do
        mkdir -p "$work/bare/$part"
        cp "$work/init/$part/"*.json "$work/bare/$part/"
        sed -i "s/\"float32\"/\"$1\"/" "$work/bare/$part/config.json"
        bare+=(--set model.$part="$work/bare/$part")
    done
}

# The numbers alone; the process itself is measured.
numbers() {
    sed '/the process itself/d; /together/d; /anonymous/d; /^notes/,$d' "$work/plan"
}

as_with_weights() { # as_with_weights DTYPE OPTION...
    local dtype=$1 with_weights
    shift
    plan 1 "$@" || return 1
    with_weights=$(numbers)
    bare_parts "$dtype"
    plan 1 "${bare[@]}" "${@:$#-1}" || return 1
    cat "$work/plan"
    [ "$(grep -c 'holds no weights yet: taken to be ' "$work/plan")" -eq 2 ] &&
        [ "$(numbers)" = "$with_weights" ]
}
converted=()
for part in vision_tower language_model; do
    check "$part in bf16 is made" "$LLAVA" convert --model "$work/init/$part" --dtype bf16 \
        --out "$work/init/$part-bf16"
    converted+=(--set model.$part="$work/init/$part-bf16")
done
for precision in f32 bf16; do
    check "$precision run, no weights yet, f32 by config.json: planned as with them" \
        as_with_weights float32 --set train.precision=$precision
    check "$precision run, no weights yet, bf16 by config.json: planned as with them" \
        as_with_weights bfloat16 "${converted[@]}" --set train.precision=$precision
    check "$precision run, no weights yet, config.json does not say: planned as bf16" \
        as_with_weights unknown "${converted[@]}" --set train.precision=$precision
done

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

# A micro-batch has no more than a step's samples of data.max_length rows: 6 of 256.
bounded() {
    plan 2 --set 'data.packs=["not-there"]' --set train.micro_batch_tokens=1000000000 &&
        cat "$work/plan" && grep -q 'for 1536 rows' "$work/plan"
}
check "without a pack no more rows are assumed than a step has" bounded
check "a micro-batch beyond all measure is refused" refused 2 'micro_batch_tokens: 1000000000 rows' \
    "$LLAVA" train "$work/stage2.json" --dry-run --set 'data.packs=["not-there"]' \
    --set train.micro_batch_tokens=1000000000 --set train.global_batch_size=16000000

absurd() { # absurd STAGE: sizes that a config.json may have, too large for any memory
    bare_parts float32
    sed -i -E 's/"(hidden_size|intermediate_size)":[[:space:]]*[0-9]+/"\1": 1044480/' \
        "$work/bare/language_model/config.json"
    refused 1 'no memory for [0-9]+ bytes' "$LLAVA" train "$work/stage$1.json" --dry-run \
        "${bare[@]}"
}
for stage in 1 2; do
    check "stage $stage of a model beyond all measure is refused" absurd "$stage"
done

check "what is no pack is refused" refused 1 "not a pack" "$LLAVA" train "$work/stage1.json" \
    --dry-run --set "data.packs=[\"$work/init\"]"
check "no rank on a node is refused" refused 2 "ranks-per-node" "$LLAVA" train \
    "$work/stage1.json" --dry-run --ranks-per-node 0
# ---- a step's time ----

machine=(--gflops 100 --memory-gb-s 10 --local-gb-s 2)
network=(--gbps 10 --latency-us 20)

# seconds LINE: of the plan's step.
seconds() {
    awk -v line="  $1 " 'index($0, line) == 1 { $0 = substr($0, length(line)); print $1 }' \
        "$work/plan"
}

# near A B: within 1%.
near() {
    awk -v a="$1" -v b="$2" 'BEGIN { exit !(a > 0.99 * b && a < 1.01 * b) }'
}

# What a rank sends: three quarters of its gradients in f32, and of its weights in bf16.
sends() {
    plan 2 --set train.precision=bf16 --ranks 4 --ranks-per-node 2 "${machine[@]}" \
        "${network[@]}" || return 1
    cat "$work/plan"
    local n
    n=$(planned "their gradients")
    grep -q 'behind the backward pass' "$work/plan" || return 1
    near "$(planned gradients)" $((n * 3 / 4)) && near "$(planned 'new weights')" $((n * 3 / 8)) &&
        near "$(planned 'over the link of a node')" $((n * 2 * 3 / 4))
}
check "a plan says what travels" sends

twice_as_fast() {
    local slow
    plan 2 --ranks 1 --memory-gb-s 10 --gflops 1 || return 1
    slow=$(seconds compute)
    plan 2 --ranks 1 --memory-gb-s 10 --gflops 2 || return 1
    cat "$work/plan"
    near "$(seconds compute)" "$(awk -v s="$slow" 'BEGIN { print s / 2 }')" &&
        grep -qE 'efficiency +100%' "$work/plan"
}
check "twice the rate computes in half the time; one rank is 100% efficient" twice_as_fast

measured() {
    plan 1 --ranks 2 --ranks-per-node 2 && cat "$work/plan" &&
        grep -qE 'measured here.*--gflops [0-9.]+ .*--memory-gb-s [0-9.]+' "$work/plan"
}
check "what is not given is measured" measured

# Steps of 6 samples.
idle_ranks() {
    plan 1 --ranks 8 --ranks-per-node 8 "${machine[@]}" && cat "$work/plan" &&
        grep -q '2 of the ranks have no sample: a step has 6' "$work/plan" &&
        grep -q ' with 1 image, ' "$work/plan"
}
check "more ranks than samples are said to be idle" idle_ranks

# One of 4 ranks owns a quarter of the moments.
shared_out() {
    local of_one
    plan 2 --ranks 1 "${machine[@]}" || return 1
    of_one=$(planned 'their moments')
    plan 2 --ranks 4 --ranks-per-node 4 "${machine[@]}" || return 1
    cat "$work/plan"
    near "$(planned 'their moments')" $((of_one / 4)) && [ "$(planned 'between ranks')" -gt 0 ]
}
check "a rank of many keeps its share of the moments" shared_out

# The micro-batches of 3 ranks are smaller than those of one.
smaller() {
    local of_one
    plan 2 --ranks 1 "${machine[@]}" || return 1
    of_one=$(planned activations)
    plan 2 --ranks 3 --ranks-per-node 3 "${machine[@]}" || return 1
    cat "$work/plan"
    [ "$(planned activations)" -lt "$of_one" ]
}
check "a rank of many needs less memory for its micro-batches" smaller

many_ranks() {
    plan 2 --ranks 4096 --ranks-per-node 2 --set train.max_steps=1000000 "${machine[@]}" \
        "${network[@]}" && plan 2 --ranks 64 --ranks-per-node 2 "${machine[@]}" "${network[@]}" \
        --set 'data.packs=["not-there"]' && cat "$work/plan" &&
        grep -q 'all samples are of 256 rows' "$work/plan"
}
check "thousands of ranks, a million steps, and no pack can be planned" many_ranks

refuses() { # refuses PATTERN OPTION...
    local pattern=$1
    shift
    refused 2 "$pattern" "$LLAVA" train "$work/stage1.json" "$@"
}
check "no rank is refused" refuses '--ranks: 0 is not between' --dry-run --ranks 0
check "ranks that do not fill their nodes are refused" \
    refuses '3 is not a multiple of --ranks-per-node, 2' --dry-run --ranks 3 --ranks-per-node 2
check "several nodes need a network" refuses '--gbps is missing: 4 ranks, 2 to a node' --dry-run \
    --ranks 4 --ranks-per-node 2
check "and its latency" refuses '--latency-us is missing' --dry-run --ranks 4 --gbps 10
check "a network without --ranks is refused" refuses '--gbps is of no use without --ranks' \
    --dry-run --gbps 10
check "--ranks of a run is refused" refuses '--ranks is for --dry-run' --ranks 2 \
    --set run.dir="$work/never"
check "--ranks under mpirun is refused" refused 2 'leave mpirun or srun out' mpirun -n 2 \
    "$LLAVA" train "$work/stage1.json" --dry-run --ranks 2 --ranks-per-node 2

check "--ranks-per-node of a run is refused" refused 2 "is for --dry-run" "$LLAVA" train \
    "$work/stage1.json" --set run.dir="$work/never" --ranks-per-node 2
finish
