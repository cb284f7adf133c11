#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The command as a whole against torch in f64, 30 steps of each stage from JSON and photographs:
# stageN.jsonl was made by make_golden.sh.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"
golden=$LLAVA_TEST_SOURCE/tests/golden/e2e
. "$golden/trainer_inputs.sh"

check "inputs are made" make_trainer_inputs
check "stage 1 runs" "$LLAVA" train "$work/stage1.json"
check "stage 2 runs on two ranks" mpirun -n 2 "$LLAVA" train "$work/stage2.json"
for stage in stage1 stage2; do
    for key in loss:1e-6 grad_norm:1e-5 lr:1e-12 supervised_tokens:0; do
        check "$stage: ${key%:*} is torch's" "$METRICS_DIFF" "$golden/$stage.jsonl" \
            "$work/$stage/metrics.jsonl" "${key%:*}" "${key#*:}"
    done
done
finish
