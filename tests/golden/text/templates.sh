#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every template, and one from a file, through pack, inspect and generate.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"
templates=$LLAVA_TEST_SOURCE/configs/templates

check "inputs are made" make_inputs
write_config "$work/config.json" 2
check "a model is made" "$LLAVA" train "$work/config.json" --set train.max_steps=4

pack() { # pack TEMPLATE OUT [COMMAND...]
    local template=$1 out=$2
    shift 2
    "$@" "$LLAVA" pack --data "$quick/questions.json" --images "$quick/photos" \
        --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer" --template "$template" --out "$work/$out"
}
packs_with() {
    pack "$1" "pack-$1" && "$LLAVA" inspect "$work/pack-$1" | grep -F "$1"
}
for template in v0 llama_2 chatml; do
    check "pack takes $template" packs_with "$template"
done

# Of each sample of a pack the tokens and which of them are labels.
tokens_of() {
    local k
    for k in $(seq 0 17); do
        "$LLAVA" inspect "$work/$1" --sample "$k" --json |
            grep -oE '"(tokens|supervised)":\[[0-9,-]+\]' || return 1
    done
}
same_tokens() {
    pack v1 built-in && pack "$templates/v1.json" from-file && tokens_of built-in >"$work/built-in.txt" &&
        tokens_of from-file | diff - "$work/built-in.txt"
}
check "the file of a built-in template gives the same tokens and labels" same_tokens

another_file() {
    sed 's/^{/{ /' "$templates/v1.json" >"$work/v1.json"
    refused 2 'v1 crc32:[0-9a-f]{8}' pack "$work/v1.json" from-file
}
check "a pack is not continued with another file of the same name" another_file

said_once() {
    local lines
    lines=$(pack chatml said-once mpirun -n 2 2>&1 | grep -c 'has no piece "<|im_start|>", "<|im_end|>"')
    echo "$lines lines"
    [ "$lines" -eq 1 ]
}
check "missing pieces are said once, not once a rank" said_once

generate() {
    "$LLAVA" generate --model "$work/run/model" --image "$quick/photos/000000001993.jpg" \
        --prompt "What is this?" --max-new-tokens 40 --template "$1"
}
for template in plain v1 v0 llama_2 chatml; do
    check "generate takes $template" generate "$template"
done

# A stop from the middle of what the model says without one.
stops() {
    local whole stop rest text
    whole=$(generate "$templates/v1.json") || return 1
    stop=${whole:20:4}
    text=$(sed 's/^{/{ "stop": "'"$stop"'",/' "$templates/v1.json")
    printf '%s' "$text" >"$work/stop.json"
    rest=$(generate "$work/stop.json") || return 1
    printf 'whole <%s>\nstop <%s>\nfound <%s>\n' "$whole" "$stop" "$rest"
    [ -n "$stop" ] && [ "$rest" = "${whole%%"$stop"*}" ]
}
check "an answer ends before the template's stop" stops
check "a stop that does not come changes nothing" test \
    "$(generate "$templates/v1.json")" = "$(generate v1)"

check "an unknown template" refused 2 'there are: plain, v1, v0, llama_2, chatml, or a file' generate v3
printf '{"name": "x"}' >"$work/x.json"
check "a file that is no template" refused 1 'x.json: "human": expected one' generate "$work/x.json"
finish
