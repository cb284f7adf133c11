#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a run leaves behind is right when train.output, the places of its files or the working
# directory are others than when it began; where it cannot be, that is said.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"

check "inputs are made" make_inputs
for stage in 1 2; do
    write_config "$work/stage$stage.json" $stage
done
short=(--set train.max_steps=6 --set checkpoint.every_steps=3)
stage=1

check "a run with output full" run_stage full 2 "${short[@]}" --set train.output=full
check "a run with output projector" run_stage projector 2 "${short[@]}"
only_projector() {
    [ -e "$work/$1/projector.safetensors" ] && [ ! -e "$work/$1/model" ]
}
check "it writes the projector, and no model" only_projector s1-projector
same() { # same A B FILE
    cmp "$work/$1/$3" "$work/$2/$3"
}

# ---- another train.output ----
check "finished, the same command with output full" run_stage projector 2 "${short[@]}" \
    --set train.output=full
check "its model is that of the run that had it from the start" same s1-full s1-projector \
    model/model.safetensors
half_of_full() { # half_of_full DIR: a run that was cut off in the middle
    mkdir -p "$work/$1/checkpoints" &&
        cp -r "$work/s1-full/checkpoints/step-000003" "$work/$1/checkpoints/" &&
        cp "$work/s1-full/metrics.jsonl" "$work/$1/"
}
half_of_full s1-half
check "half finished with output full, it goes on with output projector" run_stage half 2 \
    "${short[@]}"
check "then it writes the projector, and no model, too" only_projector s1-half
check "the projector is that of the run that had it from the start" same s1-projector s1-half \
    projector.safetensors
stage=2
check "a run that trains the language model" run_stage run 1 --set train.max_steps=1 --set optim.warmup_ratio=0
check "its weights would be lost with output projector" refused 2 \
    'train.output: projector, but language_model\..* is trained too and would be lost; use full' \
    run_stage run 1 --set train.max_steps=1 --set optim.warmup_ratio=0 --set train.output=projector

# ---- its dtype ----
"$LLAVA" convert --model "$work/init/language_model" --dtype bf16 --out "$work/narrow" >"$work/log"
of_dtype() { # of_dtype DIR NAME BYTES: what config.json says, and at most so many bytes of weights
    grep -q "\"torch_dtype\":[[:space:]]*\"$2\"" "$1/config.json" &&
        [ "$(stat -c %s "$1/model.safetensors")" -le "$3" ]
}
n_bytes=$(stat -c %s "$work/s1-full/model/model.safetensors")
narrow=(--set model.language_model="$work/narrow" --set train.max_steps=2)
check "a bf16 language model beside an f32 tower is trained" run_stage narrow 1 "${narrow[@]}"
check "its model is in bf16, half the size" of_dtype "$work/s2-narrow/model" bfloat16 \
    $((n_bytes / 2 + 20000))
check "in f32 on demand" run_stage narrow 1 "${narrow[@]}" --set train.output_dtype=f32
check "f32 it is" of_dtype "$work/s2-narrow/model" float32 "$n_bytes"
exported() { # exported NAME OPTION...
    "$LLAVA" export --checkpoint "$work/s2-narrow/checkpoints/step-000002" --out "$work/$1" "${@:2}"
}
check "export takes the language model's own" exported own
check "bf16 it is" of_dtype "$work/own" bfloat16 $((n_bytes / 2 + 20000))
check "or what it is told" exported told --dtype f32
check "f32 it is, as the run wrote it" cmp "$work/told/model.safetensors" \
    "$work/s2-narrow/model/model.safetensors"
check "a model in f32 stays f32" of_dtype "$work/s1-full/model" float32 "$n_bytes"


# ---- what ends an answer ----
# The base's files say 5; the template teaches <unk> (0) in the place of EOS (2).
sed 's/{"insert": "eos", "learnt": true}/{"piece": "<unk>", "learnt": true}/' \
    "$LLAVA_TEST_SOURCE/configs/templates/v1.json" >"$work/other_end.json"
other_end() {
    cp -r "$work/init" "$work/init5" &&
        echo '{"eos_token_id": 5, "temperature": 0.5}' \
            >"$work/init5/language_model/generation_config.json" &&
        "$LLAVA" pack --data "$quick/questions.json" --images "$quick/photos" \
            --template "$work/other_end.json" --tokenizer "$work/init5/language_model" \
            --out "$work/other_end"
}
check "a base that names another id than its tokenizer" refused 0 \
    'generation_config.json says eos_token_id 5, the tokenizer.s is 2' other_end
check "a run on it" run_stage end 1 --set train.max_steps=1 --set optim.warmup_ratio=0 \
    --set data.packs="[\"$work/other_end\"]" \
    --set model.language_model="$work/init5/language_model"
ends() { # ends FILE: of the model that was written
    tr -d ' \n\t' <"$work/s2-end/model/$1" | grep -F '"eos_token_id":[5,2,0]'
}
check "its model ends with the base's id, EOS and what was taught" ends config.json
check "in both files" ends generation_config.json
check "beside the base's settings" grep -q '"temperature":[[:space:]]*0.5' \
    "$work/s2-end/model/generation_config.json"

# ---- other places ----
half_of_full moved/run
mkdir "$work/elsewhere"
mv "$work"/{init,captions,stage1.json} "$work/moved/"
go_on_moved() {
    cd "$work/elsewhere" &&
        mpirun -n 2 "$LLAVA" train ../moved/stage1.json "${short[@]}" --set train.output=full
}
check "moved with all its files, it goes on from another working directory" refused 0 \
    'going on from .*/moved/run/checkpoints/step-000003' go_on_moved
check "its model is that of the run that stayed" same s1-full moved/run model/model.safetensors

export_to() { # export_to NAME CHECKPOINT
    "$LLAVA" export --checkpoint "$work/$2" --out "$work/$1"
}
check "an export of a checkpoint from before the move names the file that is missing" refused 1 \
    "$work/s1-full/checkpoints/step-000006 was trained from: $work/init/vision_tower/config.json:.*No such" \
    export_to lost s1-full/checkpoints/step-000006
check "one from after it is the model" export_to found moved/run/checkpoints/step-000006
check "to the bit" same found moved/run/model model.safetensors

# ---- another model in the old place ----
"$LLAVA" init --shape "$LLAVA_TEST_SOURCE/tests/support/shape.json" --seed 4 \
    --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer" --out "$work/init" >"$work/init.log"
another='step-000006: the frozen weights are not those that the run began with'
check "another model in the old place is not exported" refused 2 "$another" export_to mixed \
    s1-full/checkpoints/step-000006
check "nothing of it is written" test ! -e "$work/mixed"
replace_model() {
    rm -r "$work/moved/init" && cp -r "$work/init" "$work/moved/init" && go_on_moved
}
check "nor does a finished run write its output with it" refused 2 "$another" replace_model
check "the model that it wrote before is untouched" same s1-full moved/run model/model.safetensors
finish
