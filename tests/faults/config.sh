#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A wrong config or command line stops before any work: exit status 2, one message with the key.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"

check "inputs are made" make_inputs
write_config "$work/config.json" 1

wrong() { # wrong PATTERN --set KEY=VALUE...
    local pattern=$1
    shift
    refused 2 "$pattern" "$LLAVA" train "$work/config.json" --set run.dir="$work/run" "$@"
}
check "a section instead of a key" wrong \
    '--set model.projector=5: model.projector is a section; set one of its keys: type, weights$' \
    --set model.projector=5
check "an unknown section" wrong \
    'opt.lr: unknown key; there are: run, model, data, train, optim, checkpoint, comm, log$' --set opt.lr=1
check "an unknown key" wrong 'optim.learning_rate: unknown key; there are: lr, projector_lr,' \
    --set optim.learning_rate=1
check "a wrong type" wrong 'optim.lr: expected a number .*, found "fast"' --set optim.lr=fast
check "an impossible number" wrong 'train.global_batch_size: expected .* found 0' \
    --set train.global_batch_size=0
check "a fraction where whole numbers are wanted" wrong 'train.epochs: .* found 1.5' \
    --set train.epochs=1.5
check "limits are whole numbers" wrong \
    'data.max_length: expected a whole number between 1 and 16777216, found 0$' \
    --set data.max_length=0
check "no pack" wrong 'data.packs: the list is empty; name one pack at least$' --set 'data.packs=[]'
check "packs that are no list" wrong 'data.packs: expected a list of pack folders, found "captions"$' \
    --set data.packs=captions
check "a pack that is a number" wrong 'data.packs\[1\]: expected a pack.s folder, or .*, found 3$' \
    --set 'data.packs=["a",3]'
check "a pack without a path" wrong 'data.packs\[0\]: expected a pack.s folder, or ' \
    --set 'data.packs=[{"weight":1}]'
check "a misspelt weight" wrong 'data.packs\[0\].wieght: unknown key; there are: path, weight$' \
    --set 'data.packs=[{"path":"a","wieght":1}]'
for weight in 0 -1 2000 '"2"' null; do
    check "a weight of $weight" wrong \
        "data.packs\\[0\\].weight: expected a number between 1e-06 and 1000, found $weight$" \
        --set "data.packs=[{\"path\":\"a\",\"weight\":$weight}]"
done
check "weights of held-out packs" wrong 'data.val_packs\[0\].weight: held-out packs have no weights' \
    --set 'data.val_packs=[{"path":"a","weight":1}]'
check "grouping without a shuffle" wrong 'data.group_by_modality_length: not without data.shuffle' \
    --set data.group_by_modality_length=true --set data.shuffle=false
check "another choice" wrong 'data.image_aspect: expected square or pad, found "crop"' \
    --set data.image_aspect=crop
check "an empty path" wrong 'run.dir: expected a path, found ""' --set run.dir=
check "an empty flag" refused 2 '^llava pack: --out: its value is empty: DIR ' "$LLAVA" pack --out ''
check "a precision that is not there" wrong \
    'train.precision: expected f32 or bf16, found "f16"' --set train.precision=f16
check "a projector type that is not there" wrong 'qformer' --set model.projector.type=qformer
check "a glob that fits nothing" wrong '"vision_twoer" fits no parameter' \
    --set 'train.trainable=["vision_twoer"]'
check "an output that would lose what is trained" wrong 'train.output: projector, but' \
    --set 'train.trainable=["projector","language_model"]' --set train.output=projector
check "validation without data" wrong 'train.val_every_steps: 5, but data.val_packs is empty' \
    --set train.val_every_steps=5
check "a layer that the tower does not have" wrong 'vision_select_layer' \
    --set model.vision_select_layer=-9
check "a length limit that leaves nothing to learn" wrong \
    'data.max_length: 5 rows leave none of the 80 samples' --set data.max_length=5
check "--resume with a word that it does not know" refused 2 \
    '^llava train: --resume: expected auto, none or the directory of a checkpoint, found sometimes' \
    "$LLAVA" train "$work/config.json" --set run.dir="$work/run" --resume sometimes
some_labels_are_cut() {
    write_config "$work/config2.json" 2
    "$LLAVA" train "$work/config2.json" --set run.dir="$work/cut" --set data.max_length=55 2>&1 |
        grep -E 'data.max_length 55 leaves [0-9]+ of 18 samples without a label'
}
check "a length limit that cuts some labels off says how many samples" some_labels_are_cut
check "nothing was written" test ! -e "$work/run/checkpoints"

given() { # given TEXT PATTERN
    printf '%s' "$1" >"$work/bad.json"
    refused 2 "$2" "$LLAVA" train "$work/bad.json"
}
check "not JSON" given '{ "run": ' 'bad.json: line 1 .*not valid JSON'
check "a key twice" given '{"run":{"dir":"a","dir":"b"}}' 'the key "dir" is given twice'
check "a list instead of an object" given '[]' 'expected an object'
check "a section that is a number" given '{"run":3}' 'run: expected an object, found a number; its keys: dir$'
check "a dotted name" given '{"train.epochs":3}' 'train.epochs: unknown key; a section is an object'
check "an unknown key of a section with a long name" given '{"checkpoint":{"kepp":3}}' \
    'checkpoint.kepp: unknown key; there are: every_steps, every_minutes, keep, before_end_minutes, on_error$'
check "nothing at all" given '{}' 'run.dir: must be given'
check "no such file" refused 1 'nowhere.json: opening: No such file' "$LLAVA" train \
    "$work/nowhere.json"

check "a wrong flag names the nearest" refused 2 'unknown flag --resum \(did you mean --resume\?\)' \
    "$LLAVA" train "$work/config.json" --resum auto
check "a flag given twice is refused, in both ways to write it" refused 2 '--resume is given twice' \
    "$LLAVA" train "$work/config.json" --resume auto --resume=none
check "a switch given twice is refused" refused 2 '--strict is given twice' \
    "$LLAVA" pack --strict --data x --strict
check "but --set may be given again, and the last one counts" refused 2 'optim.lr: .*-2' \
    "$LLAVA" train "$work/config.json" --set optim.lr=-1 --set optim.lr=-2
check "a wrong command names the nearest" refused 2 '"trian" \(did you mean train\?\)' "$LLAVA" trian
# ---- a step that would learn nothing ----
once() { # once OPTION...: all samples in one step
    "$LLAVA" train "$work/config.json" --set run.dir="$work/once" --set train.max_steps=null \
        --set train.global_batch_size=256 "$@"
}
check "the only step is warm-up: refused" refused 2 \
    'optim.warmup_ratio: 0.03 of the only step .*80 samples, train.global_batch_size 256' once
check "nothing is written" test ! -e "$work/once/model" -a ! -e "$work/once/projector.safetensors"
check "two epochs learn; how many samples a step has is told" refused 0 \
    '^80 samples, 2 steps of 80 \(train.global_batch_size is 256\),' once --set train.epochs=2
rm -r "$work/once"
check "so does one step without warm-up" once --set optim.warmup_ratio=0
rm -r "$work/once"
check "a learning rate of 0 in the config is meant" once --set optim.lr=0
check "but not another one beside it" refused 2 'optim.warmup_ratio: ' once --set optim.lr=0 \
    --set optim.projector_lr=1e-3 --set run.dir="$work/other"

check "a message is printed once, not once a rank" refused 2 'optim.lr: expected' \
    mpirun -n 3 "$LLAVA" train "$work/config.json" --set optim.lr=-1
for command in pack init train generate export inspect; do
    check "$command --help" sh -c "\"$LLAVA\" $command --help | grep -q '^usage: llava $command'"
done
check "a CPU level that there is not" refused 2 'LLAVA_CPU=fast .*not one of portable, avx2' \
    env LLAVA_CPU=fast "$LLAVA" train "$work/config.json"
if [[ $(ldd "$LLAVA") == *libomp* ]]; then
    skip "more threads than OpenMP could bear" "clang's libomp takes their memory before main()"
else
    check "more threads than OpenMP could bear" refused 2 'OMP_NUM_THREADS=100000000 .*at most 8192' \
        env OMP_NUM_THREADS=100000000 "$LLAVA" train "$work/config.json"
fi
finish
