#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# bf16 from the pack to the answer: near f32, the same step however it is cut, bit for bit after a
# resume, on CPUs that have less than this one; and what is written from it.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"

check "inputs are made" make_inputs
for stage in 1 2; do
    write_config "$work/stage$stage.json" "$stage"
    # agrees NAME OTHER LOSS NORM: two runs, within relative tolerances
    agrees() {
        for key in loss:$3 grad_norm:$4 samples_hash:0; do
            "$METRICS_DIFF" "$work/s$stage-$1/metrics.jsonl" "$work/s$stage-$2/metrics.jsonl" \
                "${key%:*}" "${key#*:}" || return 1
        done
    }
    # on_cpu LEVEL NAME ...: as on a CPU that has no more than that, for our kernels and OpenBLAS's
    on_cpu() (
        export LLAVA_CPU=$1
        case $1 in
        portable) export OPENBLAS_CORETYPE=Nehalem ;;
        avx2) if grep -qw avx2 /proc/cpuinfo; then export OPENBLAS_CORETYPE=Haswell; fi ;;
        esac
        run_stage "${@:2}" 2>&1 | tee "$work/$2.log"
    )
    bf16=(--set train.precision=bf16)
    check "stage $stage runs in f32" run_stage f32 1
    check "stage $stage runs in bf16" run_stage one 1 "${bf16[@]}"
    # 20 steps of a model of random weights: the losses of bf16 are off by some 2e-5
    check "stage $stage: bf16 is near f32" agrees f32 one 2e-4 1e-2
    check "stage $stage: it is not f32" refused 1 'largest difference' agrees f32 one 0 0
    check "stage $stage runs in bf16, in many micro-batches" run_stage micro 1 "${bf16[@]}" \
        --set train.micro_batch_tokens=40
    check "stage $stage runs in bf16 on 2 ranks" run_stage 2 2 "${bf16[@]}"
    # gradients are summed in f32, so what is left is the rounding of updated weights
    for other in micro 2; do
        check "stage $stage in bf16: 1 rank and $other agree" agrees one $other 1e-4 1e-3
    done
    check "stage $stage runs in bf16, recomputed" run_stage recompute 1 "${bf16[@]}" \
        --set train.recompute=layer
    check "stage $stage in bf16: recomputing changes no bit" agrees one recompute 0 0
    for level in portable avx2 avx512 avx512_bf16; do
        check "stage $stage runs in bf16 on a CPU with no more than $level" on_cpu $level $level 1 \
            "${bf16[@]}"
        check "stage $stage in bf16: $level is as near" agrees one $level 1e-4 1e-2
        check "stage $stage runs in f32 on a CPU with no more than $level" on_cpu $level \
            $level-f32 1
        check "stage $stage in f32: $level is as near" agrees f32 $level-f32 1e-6 1e-5
    done
    check "stage $stage: the least of them had no wide registers" grep -q \
        'in bf16 on portable; bf16 products: portable;' "$work/portable.log"
done

# ---- a trainable tower, and parts of models ----
part() {
    "$LLAVA" train "$work/stage2.json" --set run.dir="$work/$1-$2" --set train.precision="$2" \
        --set train.max_steps=4 --set "train.trainable=$3"
}
for what in 'tower:["vision_tower"]' 'layer:["*.layers.1.*","projector.2.bias"]' \
    'norms:["*norm*.weight","*.embeddings.*"]' 'text:["language_model"]'; do
    for precision in f32 bf16; do
        check "${what%%:*} alone is trained in $precision" part "${what%%:*}" $precision "${what#*:}"
    done
    check "${what%%:*}: bf16 is near f32" "$METRICS_DIFF" "$work/${what%%:*}-f32/metrics.jsonl" \
        "$work/${what%%:*}-bf16/metrics.jsonl" loss 2e-4
done

# ---- a run that goes on ----
resumed() {
    mkdir -p "$work/s2-resumed/checkpoints" &&
        cp -r "$work/s2-2/checkpoints/step-000010" "$work/s2-resumed/checkpoints/" &&
        cp "$work/s2-2/metrics.jsonl" "$work/s2-resumed/" && run_stage resumed 2 "${bf16[@]}"
}
same() {
    cmp "$1/model.safetensors" "$2/model.safetensors"
}
check "10 of 20 steps in bf16 are done again from a checkpoint" resumed
check "resumed: the losses are the same bits" agrees 2 resumed 0 0
check "resumed: the weights are the same bits" same "$work/s2-2/model" "$work/s2-resumed/model"
check "a run does not go on in another precision" refused 2 \
    'train.precision was "bf16" and is "f32"' "$LLAVA" train "$work/stage2.json" \
    --set run.dir="$work/s2-one"

# ---- what is written ----
newest=$work/s2-one/checkpoints/step-000020
check "a bf16 run is exported" "$LLAVA" export --checkpoint "$newest" --out "$work/full"
check "the export is the model that training wrote" same "$work/full" "$work/s2-one/model"
check "it is exported in bf16" "$LLAVA" export --checkpoint "$newest" --out "$work/half" \
    --dtype bf16
half_size() {
    local full half
    full=$(stat -c %s "$work/full/model.safetensors") half=$(stat -c %s "$work/half/model.safetensors")
    [ $((half * 2)) -lt $((full + 20000)) ] && grep bfloat16 "$work/half/config.json"
}
check "in half the size, and says so" half_size
check "another dtype is refused" refused 2 '--dtype: expected auto or bf16 or f32, found "f16"' "$LLAVA" \
    export --checkpoint "$newest" --out "$work/other" --dtype f16
answers() {
    "$LLAVA" generate --model "$1" --prompt "What is this?" --max-new-tokens 8 "${@:2}"
}
check "the bf16 model answers in bf16" answers "$work/half"
check "and in f32" answers "$work/half" --precision f32
check "the f32 model answers in bf16" answers "$work/full" --precision bf16
check "another precision is refused" refused 2 '--precision: expected bf16 or f32' answers \
    "$work/full" --precision f16
check "the bf16 model is trained further" "$LLAVA" train "$work/stage2.json" \
    --set run.dir="$work/further" --set model.llava="$work/half" --set model.vision_tower=null \
    --set model.language_model=null --set model.projector.type=null --set train.max_steps=2 \
    "${bf16[@]}"
finish
