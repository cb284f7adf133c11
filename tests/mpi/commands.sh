#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The commands of the documents end well as they are written, in their order, with small models and
# few samples in the place of what a user has; the records and configs that they show go in.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"
. "$LLAVA_TEST_SOURCE/tests/support/documents.sh"

# A launcher that starts two ranks at most.
launcher=$(command -v mpirun)
mkdir "$work/bin"
cat >"$work/bin/mpirun" <<END
#!/usr/bin/env bash
args=("\$@")
for i in "\${!args[@]}"; do
    [ "\${args[i]}" = -n ] && [ "\${args[i + 1]}" -gt 2 ] && args[i + 1]=2
done
exec "$launcher" "\${args[@]}"
END
printf '#!/bin/sh\nshift 2\nexec "$@"\n' >"$work/bin/apptainer" # exec llava.sif COMMAND...
chmod +x "$work/bin/"*

# json FILE WORD: the blocks of JSON in a document that hold the word.
json() {
    awk -v word="$2" '
        /^```json/ { inside = 1; text = ""; next }
        /^```/ { if (inside && index(text, word)) printf "%s", text; inside = 0 }
        inside { text = text $0 "\n" }' "$LLAVA_TEST_SOURCE/$1"
}

clone=$work/clone
photo=$(find "$quick/photos" -name '*.jpg' | sort | head -n 1)
stand_ins() {
    make_inputs && write_config "$work/stage2.json" 2 && stage=2 run_stage llava 1 --set train.max_steps=1 --set optim.warmup_ratio=0 &&
        mkdir -p "$clone"/{build,mydata/images,models,downloads,packs,runs/quickstart} && cd "$clone" &&
        ln -s "$LLAVA" build/llava && ln -s "$LLAVA" "$work/bin/llava" &&
        cp -r "$LLAVA_TEST_SOURCE/configs" . && # a step that is all warm-up would be refused
        sed -i 's/"global_batch_size": [0-9]*/"global_batch_size": 8/' configs/v1*.json &&
        json README.md sheep.jpg >mydata/chat.json && json README.md runs/my >my.json &&
        cp "$photo" mydata/images/sheep.jpg && cp "$photo" photo.jpg &&
        ln -s "$work/s2-llava/model" models/llava-1.5-7b-hf &&
        ln -s "$work/init/vision_tower" models/clip-vit-large-patch14-336 &&
        ln -s "$work/init/language_model" models/vicuna-7b-v1.5 &&
        ln -s "$quick/captions.json" downloads/blip_laion_cc_sbu_558k.json &&
        ln -s "$quick/questions.json" downloads/llava_v1_5_mix665k.json &&
        ln -s "$quick/photos" downloads/558k && ln -s "$quick/photos" downloads/665k &&
        ln -s "$work/questions" runs/quickstart/questions
}
check "stand-ins are made" stand_ins
PATH=$work/bin:$PATH
cd "$clone" || exit 1

run() { # in the clone; the checkpoint of a long run is the last of a short one
    local step=runs/v1.5-stage2/checkpoints/step-000500
    [ ! -d "${step%/*}" ] || [ -e "$step" ] || ln -s "$(ls "${step%/*}" | tail -n 1)" "$step"
    bash -c "$1" </dev/null
}
n=0
for document in $documents; do
    while read -r command; do
        # not those with a placeholder; mpirun: those that start the program, on this host
        [[ $command =~ ^(mpirun\ [^/]*)?(build/)?llava\ [a-z]+\ && ! $command =~ [A-Z]{4} ]] || continue
        check "$document: ${command//  */ ...}" run "$command"
        n=$((n + 1))
    done < <(pieces "$LLAVA_TEST_SOURCE/$document" | awk -F '\t' '$3 == "block" { print $4 }')
done
check "there were fifteen commands and more" [ "$n" -ge 15 ]

outputs_are_there() {
    "$LLAVA" inspect runs/v1.5-stage2 && "$LLAVA" inspect runs/my && ls runs/v1.5-stage1/projector.safetensors
}
check "the runs leave what the documents say" outputs_are_there
metrics_are_described() {
    local key
    for key in $(grep -ohE '"[a-z_]+":' runs/my/metrics.jsonl | sort -u | tr -d '":'); do
        grep -qE "^\| .*\`$key\`.* \|" "$LLAVA_TEST_SOURCE/train/README.md" || { echo "$key" && return 1; }
    done
}
check "train/README.md has every key of metrics.jsonl" metrics_are_described
sample_is_shown() {
    local shown real
    shown=$(output "$LLAVA_TEST_SOURCE/data/README.md" | tr -s ' \n' ' ')
    real=$("$LLAVA" inspect "$work/questions" --sample 0 | tr -s ' \n' ' ')
    echo "$real"
    [ -n "${shown// /}" ] && [[ $real == *"${shown% }"* ]]
}
check "data/README.md shows what inspect prints of a sample" sample_is_shown
records_go_in() {
    json data/README.md system_prompt >"$work/records.jsonl"
    "$LLAVA" pack --data "$work/records.jsonl" --images "$quick/photos" --template v1 --strict \
        --tokenizer configs/tokenizer --out "$work/records" | grep ': 3 samples, 2 images'
}
check "the records of data/README.md go into a pack" records_go_in
rm -r models/*
for recipe in v1-stage1 v1-stage2 v1.5-stage1 v1.5-stage2; do
    check "recipe $recipe is a right config: only its models are missing" refused 1 \
        'models/.*No such file' "$LLAVA" train "configs/$recipe.json" --set run.dir="$work/$recipe"
done
finish
