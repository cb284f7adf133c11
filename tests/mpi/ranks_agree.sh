#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A step is its global batch: any number of ranks and any cut into micro-batches give the same
# losses, up to the rounding of sums.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"

# 12 samples, by turns with an image and of text alone, of different lengths.
by_turns() {
    local photos=("$quick"/photos/*.jpg) n image mark words="What is this" separator='['
    for n in $(seq 0 11); do
        image='' mark=''
        if [ $((n % 2)) -eq 0 ]; then
            image="\"image\": \"$(basename "${photos[n % 16]}")\","
            mark='<image>\n'
        fi
        words="$words and $((n * n % 17))"
        printf '%s{"id": "%d", %s "conversations": [{"from": "human", "value": "%s%s?"},
                {"from": "gpt", "value": "A thing, number %d, of %s."}]}' \
            "$separator" "$n" "$image" "$mark" "$words" "$n" "$words"
        separator=$',\n'
    done
    echo ']'
}
make_turns() {
    by_turns >"$work/turns.json" &&
        "$LLAVA" pack --data "$work/turns.json" --images "$quick/photos" --template v1 \
            --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer" --out "$work/turns"
}

# agree NAME OTHER: two runs of the stage
agree() {
    local key
    for key in loss:1e-6 grad_norm:1e-5 samples_hash:0 supervised_tokens:0; do
        "$METRICS_DIFF" "$work/s$stage-$1/metrics.jsonl" "$work/s$stage-$2/metrics.jsonl" \
            "${key%:*}" "${key#*:}" || return 1
    done
}

check "inputs are made" make_inputs
check "a pack of images and texts by turns" make_turns
for stage in 1 2; do
    write_config "$work/stage$stage.json" "$stage"
    steps=(--set train.max_steps=50 --set checkpoint.every_steps=25)
    check "stage $stage runs on 1 rank" run_stage one 1 "${steps[@]}"
    check "stage $stage runs in many micro-batches" run_stage micro 1 "${steps[@]}" \
        --set train.micro_batch_tokens=40
    for ranks in 2 3 4; do
        check "stage $stage runs on $ranks ranks" run_stage "$ranks" "$ranks" "${steps[@]}"
    done
    for other in micro 2 3 4; do
        check "stage $stage: 50 steps on 1 rank and with $other agree" agree one "$other"
    done

    # Two samples a step, one of which has an image: of two ranks one has it, the other the text;
    # of three and four there are some without a sample. The gradient is clipped in every step, and
    # the projector has a learning rate of its own.
    turns=("${steps[@]}" --set "data.packs=[\"$work/turns\"]" --set data.shuffle=false
        --set train.max_steps=50 --set train.epochs=10 --set train.global_batch_size=2
        --set optim.max_grad_norm=0.005 --set optim.projector_lr=3e-3)
    for ranks in 1 2 3 4; do
        check "stage $stage: image and text apart, clipped, two learning rates, on $ranks" \
            run_stage turns$ranks "$ranks" "${turns[@]}"
    done
    for ranks in 2 3 4; do
        check "stage $stage: image and text apart: 1 rank and $ranks agree" agree turns1 \
            turns$ranks
    done
    is_clipped() {
        sed -E 's/.*"grad_norm":([0-9.e+-]+),.*/\1/' "$work/s$stage-turns1/metrics.jsonl" |
            awk '{ print; n += $1 > 0.005 } END { exit n != 50 }'
    }
    check "stage $stage: no step was without its clipping" is_clipped
    differs() { # differs NAME OPTION...: in the losses, by more than rounding
        run_stage "$1" 1 "${turns[@]}" "${@:2}" &&
            ! "$METRICS_DIFF" "$work/s$stage-turns1/metrics.jsonl" \
                "$work/s$stage-$1/metrics.jsonl" loss 1e-5
    }
    check "stage $stage: the second learning rate matters" differs one_lr \
        --set optim.projector_lr=null
done
finish
