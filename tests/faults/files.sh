#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Files that are missing, cut short, damaged or lying: one message that names the file, exit
# status 1, and nothing lost that was there before.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"

check "inputs are made" make_inputs
write_config "$work/config.json" 1
write_config "$work/config2.json" 2
check "a good run of stage 1" "$LLAVA" train "$work/config.json"
check "a good run of stage 2" "$LLAVA" train "$work/config2.json" --set run.dir="$work/run2"

train() { "$LLAVA" train "$work/config.json" --set run.dir="$work/other" "$@"; }

# ---- a projector ----
other_shape() {
    "$LLAVA" init --shape "$LLAVA_TEST_SOURCE/configs/shapes/tiny.json" --out "$work/tiny" \
        --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer"
}
check "a model of another shape" other_shape
check "a projector whose shape does not fit" refused 1 \
    'run/projector.safetensors.*projector.0.weight.*\(48, 32\).*\(128, 64\)' train \
    --set model.projector.weights="$work/run/projector.safetensors" \
    --set model.vision_tower="$work/tiny/vision_tower" \
    --set model.language_model="$work/tiny/language_model"

# ---- safetensors ----
put_nan() { # put_nan: in the last value of a language model's file
    local file=$work/nan/model.safetensors
    cp -r "$work/init/language_model" "$work/nan" && rm "$work/nan/digests.json" &&
        printf '\0\0\300\177' |
        dd of="$file" bs=1 seek=$(($(stat -c %s "$file") - 4)) conv=notrunc status=none
}
check "a NaN in a file" put_nan
nan='nan: tensor "lm_head.weight": element 98303 of 98304 is not finite'
check "is named by train before the first step" refused 1 "$nan" train \
    --set model.language_model="$work/nan"
check "by inspect" refused 1 "$nan" "$LLAVA" inspect "$work/nan"
check "by convert, which goes on" refused 0 "$nan" "$LLAVA" convert --model "$work/nan" \
    --dtype bf16 --out "$work/nan-bf16"

lie() { # lie OFFSET BYTES-AS-PRINTF
    rm -rf "$work/lying"
    cp -r "$work/init/language_model" "$work/lying"
    printf "$2" | dd of="$work/lying/model.safetensors" bs=1 seek="$1" conv=notrunc status=none
    refused 1 'lying/model.safetensors: ' train --set model.language_model="$work/lying"
}
check "a header longer than the file" lie 0 '\xff\xff\xff\xff\xff\xff\xff\x7f'
check "a header that is not JSON" lie 9 'x'
cut_model() {
    rm -rf "$work/cut"
    cp -r "$work/init/language_model" "$work/cut"
    truncate -s -100 "$work/cut/model.safetensors"
    refused 1 'cut/model.safetensors: ' train --set model.language_model="$work/cut"
}
check "a model cut short" cut_model

# ---- packs ----
cut_pack() {
    cp -r "$work/captions" "$work/cut_pack"
    truncate -s -100 "$(echo "$work"/cut_pack/samples-*.h5)"
    refused 1 'cut_pack/samples-00000.h5: ' train --set "data.packs=[\"$work/cut_pack\"]"
}
check "a pack cut short" cut_pack
check "a folder that is no pack" refused 1 "$work/init: not a pack: it has no manifest.json" \
    train --set "data.packs=[\"$work/init\"]"
check "a pack that is not there" refused 1 "$work/nowhere: opening the pack, a folder: No such file" \
    train --set "data.packs=[\"$work/nowhere\"]"
check "a pack that is a file" refused 1 "config.json: opening the pack, a folder: Not a directory" \
    train --set "data.packs=[\"$work/config.json\"]"
unfinished_pack() {
    cp -r "$work/captions" "$work/unfinished" && rm "$work/unfinished/manifest.json"
    refused 1 "$work/unfinished: packing was not finished .*run the same llava pack again" \
        train --set "data.packs=[\"$work/unfinished\"]"
}
check "a pack that was not finished" unfinished_pack
other_vocabulary() { # a model with fewer rows than its tokenizer has ids
    sed 's/"vocab_size": 2048/"vocab_size": 100/' "$LLAVA_TEST_SOURCE/tests/support/shape.json" \
        >"$work/small.json"
    "$LLAVA" init --shape "$work/small.json" --out "$work/small" >"$work/small.log" 2>&1 &&
        cp "$LLAVA_TEST_SOURCE"/configs/tokenizer/* "$work/small/language_model/" || return 1
    refused 2 "$work/questions: sample [0-9]+ has the token id [0-9]+, but the language model's embedding has 100 rows" \
        train --set "data.packs=[\"$work/questions\"]" \
        --set model.language_model="$work/small/language_model"
}
check "a pack of a larger vocabulary: the pack and the sample are named" other_vocabulary

broken_samples() {
    cat >"$work/broken.json" <<END
[ {"id": "no-photo", "image": "nowhere.jpg", "conversations": [
     {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "That."}]},
  {"id": "two-humans", "conversations": [
     {"from": "human", "value": "One?"}, {"from": "human", "value": "Two?"}]},
  {"id": "mark-too-many", "conversations": [
     {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "That."}]},
  {"id": "good", "conversations": [
     {"from": "human", "value": "What?"}, {"from": "gpt", "value": "That."}]} ]
END
    "$LLAVA" pack --data "$work/broken.json" --images "$quick/photos" --template v1 \
        --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer" --out "$work/broken" "$@"
}
check "too many rejected samples fail" refused 1 '3 of 4 ' broken_samples
rm -rf "$work/broken"
check "--max-rejects allows them" broken_samples --max-rejects 1
check "a missing image is named" grep -q '"no-photo".*nowhere.jpg' "$work/broken/rejects.jsonl"
check "turns that do not alternate are named" grep -q '"two-humans"' "$work/broken/rejects.jsonl"
check "marks without an image are named" grep -q '"mark-too-many"' "$work/broken/rejects.jsonl"
rm -rf "$work/broken"
check "--strict stops at the first" refused 1 'nowhere.jpg' broken_samples --strict

# ---- a full disk ----
# The checkpoints' folder is a file system of its own with room for one checkpoint, not for two.
full_disk() {
    # root in there is somebody else outside: OpenMPI needs a folder of its own
    TMPDIR=$work unshare --map-root-user --mount bash -c '
        mount -t tmpfs -o size=4m none "$0/full/checkpoints" &&
            cp -r "$0/run2/checkpoints/step-000010" "$0/full/checkpoints/" || exit 99
        "$LLAVA" train "$0/config2.json" --set run.dir="$0/full"
        status=$?
        "$LLAVA" inspect "$0/full/checkpoints/step-000010" || exit 98
        test ! -e "$0/full/checkpoints/step-000020.tmp" || exit 97
        exit $status' "$work"
}
mkdir -p "$work/full/checkpoints"
if unshare --map-root-user --mount true 2>/dev/null; then
    check "a full disk during a checkpoint: the one before it stays whole" refused 1 \
        'the checkpoint of step 20 was not written: .*rank-00000.h5.*that of step 10' full_disk
else
    skip "a full disk during a checkpoint" "no namespaces of one's own here"
fi
cp -r "$work/run2/checkpoints/step-000010" "$work/full/checkpoints/"
check "with room again the run goes on" "$LLAVA" train "$work/config2.json" \
    --set run.dir="$work/full"
check "and ends with the same bits" cmp "$work/run2/model/model.safetensors" \
    "$work/full/model/model.safetensors"

# ---- numbers that are not finite ----
nan_projector() { # its biases are the largest numbers: their sums overflow
    cp "$work/run/projector.safetensors" "$work/nan.safetensors"
    local size from_end
    size=$(stat -c %s "$work/nan.safetensors")
    for from_end in $((48 * 4)) $((48 * 4 * 50)); do
        for _ in $(seq 48); do
            printf '\xff\xff\x7f\x7f'
        done | dd of="$work/nan.safetensors" bs=1 seek=$((size - from_end)) conv=notrunc status=none
    done
    "$LLAVA" train "$work/config.json" --set run.dir="$work/diverging" \
        --set model.projector.weights="$work/nan.safetensors" "$@"
}
check "three steps in a row without a finite loss end the run" refused 1 \
    'not finite in 3 steps in a row, the last of them 3; the last good checkpoint: none' nan_projector
check "each of them is logged" test "$(grep -c '"loss":null.*"applied":false' "$work/diverging/metrics.jsonl")" = 3

rm -rf "$work/diverging"
check "a short run that applied no step is no success" refused 1 \
    'not finite in 2 steps in a row' nan_projector --set train.max_steps=2
check "and writes no projector" test ! -e "$work/diverging/projector.safetensors"

check "export of a run names its newest checkpoint" refused 2 \
    'the directory of a run; its newest whole checkpoint: .*/run2/checkpoints/step-000020$' \
    "$LLAVA" export --checkpoint "$work/run2" --out "$work/exported"

# ---- inspect ----
says() { "$LLAVA" inspect "$1" | grep "$2"; }
check "inspect knows a pack" says "$work/captions" ': a pack$'
check "inspect knows a checkpoint" says "$work/run/checkpoints/step-000020" ': a checkpoint$'
check "inspect knows a model" says "$work/run2/model" ': a LLaVA in Hugging Face'
check "inspect knows a tower" says "$work/init/vision_tower" ': a CLIP vision tower$'
check "inspect knows weights" says "$work/run/projector.safetensors" ': a file of weights$'
check "inspect knows a run" says "$work/run" ': the directory of a run$'

flips_are_found() { # in every file of a folder: the first, the last and some bytes between
    local file size offset
    for file in $(find "$1" -type f); do
        size=$(stat -c %s "$file")
        for offset in 0 $((size / 7)) $((size / 2)) $((size - 30)) $((size - 1)); do
            [ "$offset" -ge 0 ] && [ "$offset" -lt "$size" ] || continue
            flip "$file" "$offset"
            if "$LLAVA" inspect "$1" >/dev/null 2>"$work/message"; then
                echo "byte $offset of $file was flipped and not found"
                return 1
            fi
            [ -s "$work/message" ] || return 1
            flip "$file" "$offset"
        done
    done
    "$LLAVA" inspect "$1"
}
check "a flipped byte anywhere in a pack is found" flips_are_found "$work/captions"
check "a flipped byte anywhere in a checkpoint is found" flips_are_found \
    "$work/run/checkpoints/step-000020"
check "a flipped byte anywhere in a model is found" flips_are_found "$work/run2/model"
finish
