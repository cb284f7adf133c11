#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# plan_table.sh: what --dry-run --ranks says of a 7B LLaVA on 1 to 1024 ranks, as Markdown. It takes
# no weights, and packs of made-up records. NODE and NETWORKS may be set: flags of the dry run.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"
read -ra node <<<"${NODE:---ranks-per-node 2 --gflops 8000 --memory-gb-s 400}"
networks=${NETWORKS:-100 2,10 30} # Gbit/s and us, ...

# part NAME: config.json of a part of the 7B shape.
part() {
    mkdir -p "$work/$1"
    awk -v key="\"$1\":" '$1 == key { on = 1; print "{"; next }
        on && /^  }/ { print "}"; exit }
        on' "$LLAVA_TEST_SOURCE/configs/shapes/7b.json" >"$work/$1/config.json"
}
part vision_tower
part language_model

# records STAGE: JSONL of 8192 records on the quickstart's photographs. Stage 1: captions of 5 to 25
# words; stage 2: 20 to 420 words of answers, and one record of 16 text only, of 100 to 900 words.
records() {
    (cd "$quick/photos" && ls -- *.jpg) | awk -v stage="$1" '
        function words(low, high,   n, text) {
            for (n = low + int(rand() * (high - low + 1)); n > 0; n--) text = text " the"
            return substr(text, 2)
        }
        { name[NR - 1] = $0 }
        END {
            srand(7)
            for (i = 0; i < 8192; i++) {
                text_only = stage == 2 && i % 16 == 0
                answer = stage == 1 ? words(5, 25) : text_only ? words(100, 900) : words(20, 420)
                printf "{\"id\": %d,%s \"conversations\": [{\"from\": \"human\", \"value\": \"%s\"}, ",
                    i, text_only ? "" : " \"image\": \"" name[i % NR] "\",",
                    text_only ? "Tell me." : "<image>\\nWhat is this?"
                printf "{\"from\": \"gpt\", \"value\": \"%s\"}]}\n", answer
            }
        }'
}

# make_run STAGE TEMPLATE: pack and config.
make_run() {
    records "$1" >"$work/stage$1.jsonl"
    "$LLAVA" pack --data "$work/stage$1.jsonl" --images "$quick/photos" --template "$2" \
        --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer" --out "$work/pack$1" >&2 || exit 1
    run=("$LLAVA_TEST_SOURCE/configs/v1.5-stage$1.json" --set model.vision_tower="$work/vision_tower"
        --set model.language_model="$work/language_model" --set model.projector.weights=null
        --set data.packs="[\"$work/pack$1\"]")
}

# row RANKS GBPS LATENCY: a line of the table.
row() {
    "$LLAVA" train "${run[@]}" --dry-run --ranks "$1" "${node[@]}" --gbps "$2" --latency-us "$3" \
        >"$work/plan" || exit 1
    awk -v ranks="$1" '
        function number(line) { return index($0, "  " line " ") == 1 }
        function rest(line) { return substr($0, length(line) + 3) }
        number("together") { split(rest("together"), x, " "); memory = x[1] " " x[2] }
        number("over the link of a node") {
            split(rest("over the link of a node"), x, " "); link = x[1] " " x[2] }
        number("compute") { split(rest("compute"), x, " "); compute = x[1] }
        number("gradients to their owners") {
            split(rest("gradients to their owners"), x, " "); grads = x[1] " (" x[4] ")" }
        number("new weights to all") {
            split(rest("new weights to all"), x, " "); weights = x[1] " (" x[4] ")" }
        number("the step") { split(rest("the step"), x, " "); step = x[1] }
        number("tokens/s") { split(rest("tokens/s"), x, " "); tokens = x[1] }
        number("efficiency") { split(rest("efficiency"), x, " "); efficiency = x[1] }
        END { printf "| %d | %s | %s | %s | %s | %s | %s | %s | %s |\n", ranks, memory, link,
            compute, grads, weights, step, tokens, efficiency }' "$work/plan"
}

for stage in 1 2; do
    if [ $stage = 1 ]; then make_run 1 plain; else make_run 2 v1; fi
    while read -r gbps latency; do
        echo "### Stage $stage, $gbps Gbit/s, $latency us"
        echo
        echo "| ranks | memory of a rank | out of a node, a step | compute, s | gradients, s (hidden) | weights, s (hidden) | step, s | tokens/s | efficiency |"
        echo "|---|---|---|---|---|---|---|---|---|"
        for ranks in 2 4 8 16 32 64 128 256 512 1024; do
            row $ranks "$gbps" "$latency"
        done
        echo
    done <<<"${networks//,/$'\n'}"
    sed -n '/^notes/,$p' "$work/plan" >&2
done
