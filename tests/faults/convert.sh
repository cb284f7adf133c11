#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# llava convert: every kind of directory is whole afterwards and trains; what cannot be is refused
# with one line, and what is cut off leaves nothing that looks like a model.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"

check "inputs are made" make_inputs
write_config "$work/config.json" 2
convert() { "$LLAVA" convert --model "$1" --dtype "${3:-bf16}" --out "$2"; }
train() { "$LLAVA" train "$work/config.json" --set train.max_steps=1 --set optim.warmup_ratio=0 "$@"; }

check "a LLaVA in Hugging Face's naming is made" train --set run.dir="$work/hf"
check "a LLaVA in its own naming is made" train --set run.dir="$work/own" \
    --set model.projector.type=mlp3x_gelu

whole() {
    local output
    output=$("$LLAVA" inspect "$1") && grep -q 'stored as  *bf16$' <<<"$output" &&
        grep -q '"torch_dtype":[[:space:]]*"bfloat16"' "$1/config.json" &&
        grep -q 'whole: every byte is as it was written' <<<"$output"
}
for name in init/vision_tower init/language_model hf/model own/model; do
    check "$name is converted" convert "$work/$name" "$work/$name-bf16"
    check "$name: all of it is bf16, and whole" whole "$work/$name-bf16"
done
check "a run from converted parts" train --set run.dir="$work/from_parts" \
    --set model.vision_tower="$work/init/vision_tower-bf16" \
    --set model.language_model="$work/init/language_model-bf16"
for name in hf own; do
    check "a run from the converted $name/model" train --set run.dir="$work/from_$name" \
        --set model.llava="$work/$name/model-bf16" --set model.vision_tower=null \
        --set model.language_model=null --set model.projector.type=null
done

from=$work/init/language_model
check "--out is there already" refused 2 'hf: is already there|hf is already there' \
    convert "$from" "$work/hf"
link_to_nowhere() {
    ln -s nowhere "$work/link" && refused 2 'link is already there' convert "$from" "$work/link"
}
check "--out is a link to nowhere" link_to_nowhere
check "--out inside the model" refused 2 "lies inside the model's own directory" \
    convert "$from" "$from/bf16"
check "no such model" refused 1 "$work/nowhere/config.json: opening: No such file" \
    convert "$work/nowhere" "$work/out"
check "a folder that is no model" refused 1 'captions/config.json: opening' \
    convert "$work/captions" "$work/out"
for dtype in f16 float64; do
    check "--dtype $dtype" refused 2 "expected bf16 or f32, found \"$dtype\"" \
        convert "$from" "$work/out" "$dtype"
done
check "no --dtype" refused 2 '--dtype bf16|f32 is missing' \
    "$LLAVA" convert --model "$from" --out "$work/out"
damaged() {
    cp -r "$from" "$work/damaged" && flip "$work/damaged/model.safetensors" 5000 &&
        refused 1 'damaged.*model.safetensors' convert "$work/damaged" "$work/out"
}
check "a model with a changed byte" damaged

# What is to be written goes to NAME.partial first, and what a killed one left there is removed.
somebody_elses() {
    cp -r "$from" "$work/mine.partial" &&
        refused 2 'mine.partial.* in use for something else' convert "$1" "$work/mine" &&
        diff -r "$from" "$work/mine.partial" && [ ! -e "$work/mine.partial.lock" ] &&
        rm -r "$work/mine.partial"
}
check "NAME.partial that is the model itself stays" somebody_elses "$work/mine.partial"
check "NAME.partial of another stays" somebody_elses "$from"

# The other one waits where it has written a piece.
two_at_a_time() {
    (flock 9 && exec sleep 60) 9>>"$work/two.partial.lock" &
    local other=$!
    until ! flock -n "$work/two.partial.lock" true; do sleep 0.01; done
    mkdir -p "$work/two.partial" && touch "$work/two.partial/a_piece"
    refused 2 'two.partial: in use by another run' convert "$from" "$work/two"
    local status=$?
    kill "$other"
    [ "$status" = 0 ] && [ -e "$work/two.partial/a_piece" ]
}
check "a directory that another one is writing is left alone" two_at_a_time
check "... and taken over when that one is gone" convert "$from" "$work/two"
check "... whole" whole "$work/two"

full() {
    LLAVA_FAIL_POINT=model.piece:2=full refused 1 'model.safetensors.*No space left' \
        convert "$from" "$work/out" && [ ! -e "$work/out" ] && [ ! -e "$work/out.partial" ] &&
        [ ! -e "$work/out.partial.lock" ]
}
check "a full disk leaves nothing" full
for point in model.piece model.written; do
    killed() {
        LLAVA_FAIL_POINT=$point=kill convert "$from" "$work/killed-$point"
        [ $? = 137 ] && [ ! -e "$work/killed-$point" ]
    }
    check "killed at $point there is no model" killed
    check "killed at $point: the same command does it" convert "$from" "$work/killed-$point"
    check "killed at $point: it is as without the kill" diff -r "$work/killed-$point" "$from-bf16"
    check "killed at $point: nothing is left beside it" test -z "$(compgen -G "$work/killed-$point.*")"
done
finish
