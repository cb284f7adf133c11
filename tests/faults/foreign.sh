#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a command would write over, add to or remove is new or of llava, told by its content; else it
# is refused by name before any work, and stays to the byte.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"

check "inputs are made" make_inputs
write_config "$work/stage1.json" 1
write_config "$work/stage2.json" 2
one=(--set train.max_steps=1 --set optim.warmup_ratio=0 --set data.max_length=64)
full=("${one[@]}" --set train.output=full)

# spared STATUS PATTERN DIR COMMAND...: refused, and all files of DIR but the lock as before
state_of() { (cd "$1" && find . -name lock -prune -o -type f -exec cksum {} + | sort); }
spared() {
    local dir=$3 before
    before=$(state_of "$dir")
    refused "$1" "$2" "${@:4}" || return 1
    [ "$(state_of "$dir")" = "$before" ] && return
    diff <(echo "$before") <(state_of "$dir")
    return 1
}
foreign() { # foreign NAME TEXT: $work/d with that file
    rm -rf "$work/d"
    mkdir -p "$(dirname "$work/d/$1")"
    printf "$2" >"$work/d/$1"
}
train() { "$LLAVA" train "$work/stage1.json" --set run.dir="$work/d" "$@"; }

# ---- train ----
own_config() {
    foreign config.json ''
    sed "s,\"init/,\"$work/init/,g; s,\"captions\",\"$work/captions\"," "$work/stage1.json" \
        >"$work/d/config.json"
    spared 2 'd/config.json: .*not of a run' "$work/d" "$LLAVA" train "$work/d/config.json" \
        --set run.dir="$work/d" "${one[@]}"
}
check "the user's own config" own_config
foreign config.json '{"model_type": "llama"}'
check "a model's config" spared 2 'd/config.json: .*not of a run' "$work/d" train "${one[@]}"
foreign metrics.jsonl '{"step": 1, "loss": 2.5}\n'
check "the metrics of another program" spared 2 'd/metrics.jsonl: ' "$work/d" train "${one[@]}"
foreign projector.safetensors 'mine'
check "a projector" spared 2 'd/projector.safetensors would be written' "$work/d" train "${one[@]}"
foreign digests.json '{"mine": 1}'
check "digests" spared 2 'd/projector.safetensors would be written' "$work/d" train "${one[@]}"
foreign model/model.safetensors 'mine'
check "a model" spared 2 'd/model would be replaced' "$work/d" train "${full[@]}"
foreign lock 'mine, 4 digits\n'
check "a lock" refused 2 'd/lock: not a lock' train "${one[@]}"
check "it stays" grep -qx 'mine, 4 digits' "$work/d/lock"
foreign heartbeat/notes.txt 'mine'
check "a folder of heartbeats" spared 2 'd/heartbeat/notes.txt: ' "$work/d" \
    mpirun -n 2 "$LLAVA" train "$work/stage1.json" --set run.dir="$work/d" "${one[@]}"
foreign checkpoints/step-000500.tmp/pytorch_model.bin 'mine'
check "a checkpoint of another program" spared 2 'step-000500.tmp/pytorch_model.bin is not' \
    "$work/d" train "${one[@]}"

base_in_place() { # run.dir/model is the model that the config names; its digests are right
    rm -rf "$work/d" && mkdir "$work/d" && cp -r "$work/init/language_model" "$work/d/model" &&
        spared 2 'model.language_model: .*is where this run writes' "$work/d" train "${full[@]}" \
            --set model.language_model="$work/d/model"
}
check "the base model of the run" base_in_place
check "another model of llava, where there was no run" spared 2 'd/model .*not the directory of a run' \
    "$work/d" train "${full[@]}"

# ---- what is a run's own is written again ----
rm -rf "$work/d"
check "a run with output full" train "${full[@]}"
check "finished, it writes its model again" train "${full[@]}"
check "whole" "$LLAVA" inspect "$work/d/model"
check "and the projector beside it" train "${one[@]}"
check "twice" train "${one[@]}"
check "with its own config too" "$LLAVA" train "$work/d/config.json"
cut_between() { # killed when the old model has lost its name
    LLAVA_FAIL_POINT=model.moved=kill train "${full[@]}" && return 1
    [ ! -e "$work/d/model" ] && train "${full[@]}" && "$LLAVA" inspect "$work/d/model" &&
        [ "$(ls "$work/d")" = "$(printf '%s\n' checkpoints config.json digests.json lock \
            metrics.jsonl model projector.safetensors)" ]
}
check "killed between the old model and the new" cut_between
flip "$work/d/model/model.safetensors" 4000
check "a model that was changed since" spared 2 'd/model would be replaced.*model.safetensors: damaged' \
    "$work/d" train "${full[@]}"
flip "$work/d/model/model.safetensors" 4000
echo mine >"$work/d/model/.notes"
check "a hidden file in it" spared 2 'd/model/.notes: not listed' "$work/d" train "${full[@]}"
rm "$work/d/model/.notes"
flip "$work/d/projector.safetensors" 400
check "a projector that was changed since" spared 2 'd/projector.safetensors would be written.*damaged' \
    "$work/d" train "${one[@]}"

# ---- export ----
export_to() { "$LLAVA" export --checkpoint "$work/d/checkpoints/step-000001" --out "$1"; }
check "export writes over no model" spared 2 'init/language_model is already there' "$work/init" \
    export_to "$work/init/language_model"
check "nor over one of its own kind" spared 2 'd/model is already there' "$work/d" \
    export_to "$work/d/model"
mkdir "$work/empty" "$work/empty.target"
ln -s empty.target "$work/empty.link"
check "an empty folder is filled" export_to "$work/empty"
check "through a link, too" export_to "$work/empty.link"
check "whose target it is" "$LLAVA" inspect "$work/empty.target"
finish
