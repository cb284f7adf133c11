#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The quickstart does the whole main job, in a place that is not this checkout.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"
unset OMP_NUM_THREADS

clone="$work/a clone"
quickstart() {
    mkdir -p "$clone" &&
        cp -r "$LLAVA_TEST_SOURCE/configs" "$LLAVA_TEST_SOURCE/tools" "$clone/" &&
        mkdir -p "$clone/build" && ln -sf "$LLAVA" "$clone/build/llava" &&
        printf '#!/bin/sh\n' >"$clone/tools/build.sh" && # it is built already
        (cd / && "$clone/tools/quickstart.sh") >"$work/quickstart.log" 2>&1 ||
        { cat "$work/quickstart.log" && return 1; }
}
check "the quickstart ends well" quickstart
check "and answers the question" grep -qE '^A: .{3,}' "$work/quickstart.log"
check "and says what lies where" grep -q 'runs/quickstart/stage2/model' "$work/quickstart.log"
check "what it wrote is whole" "$LLAVA" inspect "$clone/runs/quickstart/stage2"
losses_fell() {
    local losses first last
    losses=$(sed -n 's/.*"loss":\([0-9.]*\),.*/\1/p' "$clone/runs/quickstart/stage2/metrics.jsonl")
    first=$(head -n 1 <<<"$losses")
    last=$(tail -n 1 <<<"$losses")
    echo "$first to $last"
    awk -v a="$first" -v b="$last" 'BEGIN { exit !(b < a / 4) }'
}
check "stage 2 has learnt its questions" losses_fell
export_is_the_model() {
    "$LLAVA" export --checkpoint "$clone/runs/quickstart/stage2/checkpoints/step-000120" \
        --out "$work/exported" &&
        cmp "$work/exported/model.safetensors" \
            "$clone/runs/quickstart/stage2/model/model.safetensors"
}
check "an export of the last checkpoint is the model that training wrote" export_is_the_model
check "the quickstart runs again in the same place" quickstart
finish
