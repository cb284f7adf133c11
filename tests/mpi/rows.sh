#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Samples that the language model has no rows for are refused at the start of a run and by its plan:
# ids beyond its embedding, more positions than it has.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"

check "inputs are made" make_inputs
stage=2
write_config "$work/stage2.json" 2
language=$work/init/language_model

set_positions() {
    sed -i "s/\"max_position_embeddings\":[[:space:]]*[0-9]*/\"max_position_embeddings\": $1/" \
        "$language/config.json"
}
set_positions 100
positions='data.max_length: 256, but .* has 100 positions \(max_position_embeddings\), and sample [0-9]+ of .*questions takes [0-9]+ rows: set data.max_length to 100 at most'
check "more rows than positions" refused 2 "$positions" run_stage long 2
check "the plan says the same" refused 2 "$positions" "$LLAVA" train "$work/stage2.json" --dry-run
check "with the limit that it names there is a plan" "$LLAVA" train "$work/stage2.json" --dry-run \
    --set data.max_length=100
set_positions 512

sed 's/"vocab_size": 2048/"vocab_size": 512/' "$LLAVA_TEST_SOURCE/tests/support/shape.json" \
    >"$work/shape.json"
small() {
    "$LLAVA" init --shape "$work/shape.json" --seed 3 --out "$work/small" &&
        cp "$LLAVA_TEST_SOURCE"/configs/tokenizer/* "$work/small/language_model/"
}
check "a model with fewer rows than its tokenizer has ids" small
few=(--set model.language_model="$work/small/language_model")
ids='questions: sample [0-9]+ has the token id [0-9]+, but the language model.s embedding has 512 rows \(vocab_size\), fewer than the tokenizer of .*/small/language_model has ids'
check "a sample with such an id" refused 2 "$ids" run_stage few 2 "${few[@]}"
check "the plan says the same, too" refused 2 "$ids" "$LLAVA" train "$work/stage2.json" --dry-run \
    "${few[@]}"

add_unused() {
    sed -i '0,/"added_tokens": *\[/s//&{"id":2048,"content":"<spare>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},/' \
        "$language/tokenizer.json" && grep -q '<spare>' "$language/tokenizer.json"
}
check "a piece beyond the embedding is added" add_unused
check "while no sample has it, it does no harm" run_stage spare 1 --set train.max_steps=1 \
    --set optim.warmup_ratio=0
finish
