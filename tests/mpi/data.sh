#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a run does with its data: weights of packs, grouping by modality and length, samples with
# several images and with none, on any number of ranks and resumed; and data that are damaged while
# the run goes on.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"

# A JSON of 9 samples with an image, 4 with two, and 11 of text alone, of different lengths.
mixed_json() {
    local photos=("$quick"/photos/*.jpg) n=0 words="What do you see" separator='['
    for n in $(seq 0 23); do
        local image="" mark=""
        if [ $((n % 5)) -lt 2 ]; then
            image="\"image\": \"$(basename "${photos[n % 16]}")\","
            mark='<image>\n'
        elif [ $((n % 5)) -eq 2 ] && [ "$n" -lt 20 ]; then
            image="\"image\": [\"$(basename "${photos[n % 16]}")\", \"$(basename "${photos[3]}")\"],"
            mark='<image>\n<image>\n'
        fi
        words="$words and $((n * n % 17))"
        [ $((n % 7)) -eq 6 ] && words="What now"
        printf '%s{"id": "%d", %s "conversations": [{"from": "human", "value": "%s%s?"},
                {"from": "gpt", "value": "A thing, number %d."}]}' \
            "$separator" "$n" "$image" "$mark" "$words" "$n"
        separator=$',\n'
    done
    echo ']'
}
make_mixed() {
    mixed_json >"$work/mixed.json" &&
        "$LLAVA" pack --data "$work/mixed.json" --images "$quick/photos" --template v1 \
            --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer" --out "$work/mixed"
}
check "inputs are made" make_inputs
check "a pack of samples with no, one and two images" make_mixed
write_config "$work/config.json" 2

live_line() { # rewritten in place on a terminal, and nothing of that in a log
    script -qec "'$LLAVA' train '$work/config.json' --set run.dir='$work/live' \
        --set train.max_steps=2" /dev/null </dev/null >"$work/tty" || return 1
    "$LLAVA" train "$work/config.json" --set run.dir="$work/logged" --set train.max_steps=2 \
        >"$work/log" || return 1
    cat -v "$work/tty" "$work/log"
    grep -q "$(printf '\r\033\[Kstep 2/2')" "$work/tty" &&
        ! LC_ALL=C grep -q '[[:cntrl:]]' "$work/log"
}
if script -qec true /dev/null </dev/null >/dev/null 2>&1; then
    check "one process alone has a live line on a terminal" live_line
else
    skip "one process alone has a live line on a terminal" "no script command, or no terminals here"
fi

packs="[\"$work/questions\", {\"path\": \"$work/mixed\", \"weight\": 1.5}]"
train() { # train RANKS DIR --set ...
    local ranks=$1 dir=$2
    shift 2
    mpirun -n "$ranks" "$LLAVA" train "$work/config.json" --set run.dir="$work/$dir" \
        --set "data.packs=${with_packs:-$packs}" "$@"
}
same() { # same DIR DIR: the losses up to rounding, the samples exactly
    "$METRICS_DIFF" "$work/$1/metrics.jsonl" "$work/$2/metrics.jsonl" loss 1e-6 &&
        "$METRICS_DIFF" "$work/$1/metrics.jsonl" "$work/$2/metrics.jsonl" samples_hash 0
}
other_samples() { # other_samples DIR DIR
    ! "$METRICS_DIFF" "$work/$1/metrics.jsonl" "$work/$2/metrics.jsonl" samples_hash 0
}

# ---- weights ----
# 18 samples and 1.5 * 24: 54 an epoch, 9 steps of 6
weighted() {
    refused 0 '^42 samples, 54 an epoch by the weights of their packs, 18 steps of 6' \
        train 1 weighted --set train.max_steps=null --set train.epochs=2
}
check "the steps follow from the weights" weighted
check "18 steps were run" grep -q '"step":18,"epoch":1,' "$work/weighted/metrics.jsonl"
check "on 3 ranks too" train 3 weighted3 --set train.max_steps=18
check "the 3 ranks saw the same" same weighted weighted3
with_packs="[\"$work/questions\", \"$work/mixed\"]" check "without weights" train 1 plain
of_weight_1() {
    with_packs="[{\"path\": \"$work/questions\", \"weight\": 1}, \"$work/mixed\"]" train 1 ones &&
        "$METRICS_DIFF" "$work/plain/metrics.jsonl" "$work/ones/metrics.jsonl" samples_hash 0
}
check "a weight of 1 is as good as none" of_weight_1
begin_from_10() {
    mkdir -p "$work/$1/checkpoints" &&
        cp -r "$work/$2/checkpoints/step-000010" "$work/$1/checkpoints/" &&
        cp "$work/$2/metrics.jsonl" "$work/$1/"
}
begin_from_10 moved weighted3
cp -r "$work/mixed" "$work/elsewhere"
elsewhere() {
    with_packs="[\"$work/questions\", {\"weight\": 1.5, \"path\": \"$work/elsewhere\"}]" \
        train 3 moved --set train.max_steps=18
}
check "a resumed run may have its packs elsewhere" elsewhere
check "and goes on with the same bits" "$METRICS_DIFF" "$work/weighted3/metrics.jsonl" \
    "$work/moved/metrics.jsonl" loss 0
reweighted() {
    with_packs="[\"$work/questions\", {\"path\": \"$work/mixed\", \"weight\": 2}]" \
        refused 2 'data.packs \(its weights\) was \[1,1.5\] and is \[1,2\]' train 1 moved
}
check "but not other weights" reweighted
fewer() {
    with_packs="[\"$work/questions\"]" \
        refused 2 'data.packs \(its weights\) was \[1,1.5\] and is \[1\]' train 1 moved
}
check "nor fewer packs" fewer

# ---- grouping ----
grouped() { train "$1" "grouped$1" --set data.group_by_modality_length=true; }
check "grouped, on 1 rank" grouped 1
check "grouped, on 2 ranks" grouped 2
check "grouped, on 3 ranks" grouped 3
check "2 ranks saw the same groups" same grouped1 grouped2
check "3 ranks saw the same groups" same grouped1 grouped3
check "which are not those of a plain shuffle" other_samples grouped1 weighted
begin_from_10 grouped grouped2
mv "$work/grouped" "$work/again"
check "grouped, resumed" train 2 again --set data.group_by_modality_length=true
check "with the same bits" "$METRICS_DIFF" "$work/grouped2/metrics.jsonl" \
    "$work/again/metrics.jsonl" loss 0
check "a resumed run is grouped as it was" refused 2 \
    'data.group_by_modality_length was true and is false' train 2 again

# Text alone: a projector has nothing to learn from it.
text_alone() { # text_alone TRAINABLE
    mpirun -n 3 "$LLAVA" train "$work/config.json" --set run.dir="$work/text-${#1}" \
        --set "data.packs=[\"$work/text\"]" --set "train.trainable=[$1]" --set train.max_steps=2
}
make_text() { # two samples, for three ranks
    cat >"$work/text.json" <<'END'
[{"conversations": [{"from": "human", "value": "How many legs has a sheep?"}, {"from": "gpt", "value": "Four."}]},
 {"conversations": [{"from": "human", "value": "And a hen?"}, {"from": "gpt", "value": "Two."}]}]
END
    "$LLAVA" pack --data "$work/text.json" --template v1 \
        --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer" --out "$work/text"
}
check "a pack of two texts" make_text
check "a projector trained on text alone is warned of" refused 0 \
    '^llava: data.packs have no image: projector and vision tower learn nothing' \
    text_alone '"projector", "language_model"'
quiet() {
    text_alone '"language_model"' >"$work/log" 2>&1 && ! grep 'have no image' "$work/log"
}
check "a language model alone may be" quiet

# two of three samples a step are text, on 4 ranks: most steps have a rank without an image
check "batches without an image on some ranks" train 4 alone4 --set train.global_batch_size=4
check "the same on 1 rank" train 1 alone1 --set train.global_batch_size=4
check "agree" same alone1 alone4

# ---- data that are damaged while the run goes on ----
# in_the_middle WHAT...: begin a run on 2 ranks over a copy of the pack, do WHAT after step 12, wait.
in_the_middle() {
    rm -rf "$work/victim" "$work/run_on"
    cp -r "$work/captions" "$work/victim"
    with_packs="[\"$work/victim\"]" train 2 run_on --set train.max_steps=4000 \
        --set log.every_steps=1000 >"$work/log" 2>&1 &
    local job=$!
    for _ in $(seq 600); do
        grep -q '"step":12,' "$work/run_on/metrics.jsonl" 2>/dev/null && break
        sleep 0.05
    done
    "$@"
    wait "$job"
    local status=$?
    cat "$work/log"
    return $status
}
damage_image() { flip "$work/victim/images-00000.h5" $(($(stat -c %s "$work/victim/images-00000.h5") / 2)); }
cut_images() { truncate -s 3000 "$work/victim/images-00000.h5"; }
cut_samples() { truncate -s 3000 "$work/victim/samples-00000.h5"; }
where="llava train: (rank [0-9]+ on [^ ]+: )?pack $work/victim, sample [0-9]+: $work/victim"
check "an image is damaged: pack, sample, shard and image are named" refused 1 \
    "$where/images-00000.h5: image [0-9]+ \"[0-9]+.jpg\": damaged" in_the_middle damage_image
check "the last checkpoint is whole" sh -c \
    "\"$LLAVA\" inspect \"\$(ls -d $work/run_on/checkpoints/step-* | tail -n 1)\""
goes_on() {
    local last
    last=$(ls "$work/run_on/checkpoints" | tail -n 1)
    with_packs="[\"$work/captions\"]" refused 0 "going on from .*$last" train 2 run_on \
        --set train.max_steps=$((10#${last#step-} + 5))
}
check "with the pack restored the run goes on from it" goes_on
check "the images are cut short: pack, sample and shard are named" refused 1 \
    "$where/images-00000.h5: " in_the_middle cut_images
check "the samples are cut short: pack, sample and shard are named" refused 1 \
    "$where/samples-00000.h5: " in_the_middle cut_samples
finish
