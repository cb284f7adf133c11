#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A step is its global batch: any number of ranks and any cut into micro-batches give the same
# losses, up to the rounding of sums.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"

check "inputs are made" make_inputs
for stage in 1 2; do
    write_config "$work/stage$stage.json" "$stage"
    check "stage $stage runs on 1 rank" run_stage one 1
    check "stage $stage runs in many micro-batches" run_stage micro 1 --set train.micro_batch_tokens=40
    for ranks in 2 3 4; do
        check "stage $stage runs on $ranks ranks" run_stage "$ranks" "$ranks"
    done
    for other in micro 2 3 4; do
        for key in loss:1e-6 grad_norm:1e-5 samples_hash:0 supervised_tokens:0; do
            check "stage $stage: ${key%:*} on 1 rank and with $other agree" "$METRICS_DIFF" \
                "$work/s$stage-one/metrics.jsonl" "$work/s$stage-$other/metrics.jsonl" \
                "${key%:*}" "${key#*:}"
        done
    done
done
finish
