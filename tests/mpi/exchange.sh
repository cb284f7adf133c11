#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What ranks send each other: behind the computing or after it, it is the same bits; buckets of another
# size add up the gradient norm in another order; gradients rounded to bf16 on the wire stay near.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"

# same NAME NAME KEY...: two runs' metrics and models are the same bits.
same_run() {
    local a=$work/s2-$1 b=$work/s2-$2 key
    for key in loss grad_norm samples_hash; do
        "$METRICS_DIFF" "$a/metrics.jsonl" "$b/metrics.jsonl" "$key" 0 || return 1
    done
    cmp "$a/model/model.safetensors" "$b/model/model.safetensors"
}

for ranks in 1 2 3 5; do
    for wire in f32 bf16; do
        for overlap in 0 1; do
            check "$ranks ranks, $wire, overlap $overlap: sums, what was sent for them, weights" \
                timeout 60 mpirun -n "$ranks" "${EXCHANGE_SUMS:?}" "$wire" "$overlap"
        done
    done
done

# The others wait for what it will not send.
ends_where_mpi_fails() { # ends_where_mpi_fails OVERLAP
    timeout 60 mpirun -n 3 "$EXCHANGE_SUMS" f32 "$1" 1 >"$work/mpi-fails.log" 2>&1
    local status=$?
    cat "$work/mpi-fails.log"
    [ "$status" -ne 0 ] && [ "$status" -ne 124 ] &&
        grep -q 'exchange_sums: rank 1: MPI_Testall: ' "$work/mpi-fails.log"
}
for overlap in 0 1; do
    check "MPI fails on rank 1, overlap $overlap: the job ends" ends_where_mpi_fails "$overlap"
done

check "inputs are made" make_inputs
write_config "$work/stage2.json" 2
for precision in f32 bf16; do
    run() {
        local name=$precision-$1 ranks=$2
        shift 2
        run_stage "$name" "$ranks" --set train.precision=$precision "$@"
    }
    stage=2
    for ranks in 2 3; do
        check "$precision: $ranks ranks, behind the computing" run "$ranks" "$ranks"
        check "$precision: $ranks ranks, after it" run "$ranks-after" "$ranks" --set comm.overlap=false
        check "$precision: $ranks ranks in small buckets" run "$ranks-small" "$ranks" \
            --set comm.bucket_mb=0.002
        check "$precision: $ranks ranks in small buckets, after it" run "$ranks-small-after" "$ranks" \
            --set comm.bucket_mb=0.002 --set comm.overlap=false
        check "$precision: $ranks ranks, layers computed twice" run "$ranks-twice" "$ranks" \
            --set train.recompute=layer
        check "$precision: $ranks ranks, gradients in bf16 on the wire" run "$ranks-wire" "$ranks" \
            --set comm.wire=bf16
        check "$precision: $ranks ranks, many micro-batches" run "$ranks-many" "$ranks" \
            --set comm.bucket_mb=0.002 --set train.micro_batch_tokens=40
        check "$precision: $ranks ranks, many micro-batches, after them" run "$ranks-many-after" \
            "$ranks" --set comm.bucket_mb=0.002 --set train.micro_batch_tokens=40 \
            --set comm.overlap=false
        for other in after twice; do
            check "$precision: $ranks ranks, $other: the same bits" \
                same_run "$precision-$ranks" "$precision-$ranks-$other"
        done
        check "$precision: $ranks ranks in small buckets, after: the same bits" \
            same_run "$precision-$ranks-small" "$precision-$ranks-small-after"
        check "$precision: $ranks ranks, many micro-batches, after: the same bits" \
            same_run "$precision-$ranks-many" "$precision-$ranks-many-after"
        check "$precision: $ranks ranks, many micro-batches: losses agree" "$METRICS_DIFF" \
            "$work/s2-$precision-$ranks/metrics.jsonl" \
            "$work/s2-$precision-$ranks-many/metrics.jsonl" loss 1e-4
        check "$precision: $ranks ranks in small buckets: losses agree" "$METRICS_DIFF" \
            "$work/s2-$precision-$ranks/metrics.jsonl" \
            "$work/s2-$precision-$ranks-small/metrics.jsonl" loss 1e-6
        check "$precision: $ranks ranks, gradients in bf16: losses stay near" "$METRICS_DIFF" \
            "$work/s2-$precision-$ranks/metrics.jsonl" \
            "$work/s2-$precision-$ranks-wire/metrics.jsonl" loss 2e-3
    done
done

# An embedding that is the head as well: all of its rows have gradients.
sed 's/"tie_word_embeddings": false/"tie_word_embeddings": true/' \
    "$LLAVA_TEST_SOURCE/tests/support/shape.json" >"$work/tied.json"
check "a model with a tied embedding" "$LLAVA" init --shape "$work/tied.json" --seed 3 \
    --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer" --out "$work/tied"
for ranks in 1 2; do
    check "tied: $ranks ranks" run_stage "tied-$ranks" "$ranks" \
        --set model.language_model="$work/tied/language_model"
done
check "tied: losses agree" "$METRICS_DIFF" "$work/s2-tied-1/metrics.jsonl" \
    "$work/s2-tied-2/metrics.jsonl" loss 1e-6
finish
