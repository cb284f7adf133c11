#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The quickstart does the whole main job, in a place that is not this checkout, and README.md tells
# the truth about commands, flags, config keys and recipes.
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

# ---- README.md ----
readme=$LLAVA_TEST_SOURCE/README.md
flags_are_real() { # every --flag behind a `build/llava COMMAND`, lines joined at their backslashes
    local line command flag n=0
    while read -r line; do
        command=$(sed -E 's/.*build\/llava ([a-z]+).*/\1/' <<<"$line")
        "$LLAVA" "$command" --help >"$work/help" || { echo "$line" && return 1; }
        for flag in $(grep -oE -- '--[a-z][a-z-]+' <<<"${line#*build/llava}"); do
            grep -q -- "$flag" "$work/help" || { echo "$command has no $flag" && return 1; }
            n=$((n + 1))
        done
    done < <(sed -e ':a' -e '/\\$/N; s/\\\n//; ta' "$readme" | grep -E '^    .*build/llava [a-z]+')
    [ "$n" -ge 10 ]
}
check "every flag in README.md is one" flags_are_real
keys_are_listed() { # every key of a run's config stands in README.md by its last name
    local key
    for key in $(grep -oE '"[a-z_]+":' "$clone/runs/quickstart/stage2/config.json" | tr -d '":'); do
        case $key in run | model | data | train | optim | checkpoint | comm | log | projector) continue ;; esac
        grep -qE "\`([a-z_]+\.)*$key\`" "$readme" || { echo "$key" && return 1; }
    done
}
check "every config key stands in README.md" keys_are_listed
records_go_in() { # the records that README.md shows
    grep -E '^    \{"id"' "$readme" >"$work/records.jsonl" &&
        "$LLAVA" pack --data "$work/records.jsonl" --images "$quick/photos" --template v1 --strict \
            --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer" --out "$work/records" |
        grep ': 3 samples, 2 images'
}
check "the records that README.md shows go into a pack" records_go_in
for recipe in v1-stage1 v1-stage2 v1.5-stage1 v1.5-stage2; do
    check "recipe $recipe is a right config: only its models are missing" refused 1 \
        'models/.*No such file' "$LLAVA" train "$LLAVA_TEST_SOURCE/configs/$recipe.json" \
        --set run.dir="$work/$recipe"
done
finish
