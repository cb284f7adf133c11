#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A run that is cut off goes on as if nothing had been: the same bits on the same number of ranks,
# the same losses up to rounding on another.
export OMP_NUM_THREADS=4
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"

check "inputs are made" make_inputs
write_config "$work/config.json" 2

train() {
    local ranks=$1 dir=$2
    shift 2
    mpirun -n "$ranks" "$LLAVA" train "$work/config.json" --set run.dir="$work/$dir" "$@"
}

# Takes over the checkpoint of step 10, as after a crash right behind it.
begin_from_10() {
    mkdir -p "$work/$1/checkpoints" &&
        cp -r "$work/whole/checkpoints/step-000010" "$work/$1/checkpoints/" &&
        cp "$work/whole/metrics.jsonl" "$work/$1/"
}

same_model() {
    cmp "$work/whole/model/model.safetensors" "$work/$1/model/model.safetensors"
}

check "20 steps at one go" train 2 whole
check "again: 20 steps at one go" train 2 again
check "the same command twice gives the same bits" same_model again
begin_from_10 resumed
check "10 steps more, from a checkpoint" train 2 resumed
check "resumed: the losses are the same bits" "$METRICS_DIFF" "$work/whole/metrics.jsonl" \
    "$work/resumed/metrics.jsonl" loss 0
check "resumed: the weights are the same bits" same_model resumed
check "the lines after step 10 were kept aside" grep -q '"step":11,' \
    "$work/resumed/metrics.dropped.jsonl"

begin_from_10 elastic
check "10 steps more on 3 ranks" train 3 elastic
check "on 3 ranks the losses agree" "$METRICS_DIFF" "$work/whole/metrics.jsonl" \
    "$work/elastic/metrics.jsonl" loss 1e-6
check "on 3 ranks the samples are the same" "$METRICS_DIFF" "$work/whole/metrics.jsonl" \
    "$work/elastic/metrics.jsonl" samples_hash 0

# ---- moments of bf16 ----
half=(--set optim.moments=bf16)
check "20 steps with moments of bf16" train 2 half "${half[@]}"
begin_half_from_10() {
    mkdir -p "$work/$1/checkpoints" &&
        cp -r "$work/half/checkpoints/step-000010" "$work/$1/checkpoints/" &&
        cp "$work/half/metrics.jsonl" "$work/$1/"
}
begin_half_from_10 half-resumed
check "10 steps more, from a checkpoint" train 2 half-resumed "${half[@]}"
check "with moments of bf16 the weights are the same bits" cmp "$work/half/model/model.safetensors" \
    "$work/half-resumed/model/model.safetensors"
check "they are not those of f32" refused 1 'differ' cmp "$work/whole/model/model.safetensors" \
    "$work/half/model/model.safetensors"
begin_half_from_10 half-elastic
check "10 steps more on 3 ranks" train 3 half-elastic "${half[@]}"
check "rounding does not depend on the ranks: the losses agree" "$METRICS_DIFF" \
    "$work/half/metrics.jsonl" "$work/half-elastic/metrics.jsonl" loss 1e-5
smaller() { # 8 bytes an element and not 12, beside what a file takes in any case
    awk -v a="$(stat -c %s "$work/half/checkpoints/step-000020/rank-00000.h5")" \
        -v b="$(stat -c %s "$work/whole/checkpoints/step-000020/rank-00000.h5")" \
        'BEGIN { print a, b; exit !(a < 0.7 * b) }'
}
check "their checkpoint is a third smaller" smaller
begin_half_from_10 half-to-f32
check "a run does not go on with other moments" refused 2 \
    'optim.moments was "bf16" and is "f32"' train 2 half-to-f32
by_the_clock() { # a step takes longer than that
    train 2 clock --set train.max_steps=4 --set checkpoint.every_steps=0 \
        --set checkpoint.every_minutes=1e-6 --set checkpoint.keep=1000 &&
        [ "$(ls "$work/clock/checkpoints" | wc -l)" -eq 4 ]
}
check "checkpoints by the clock, in fractions of a minute" by_the_clock

# Flat buffers have another order in a bf16 run; the first step's learning rate is 0.
other_order() {
    train 2 bf16 --set train.max_steps=1 --set optim.lr=0 --set train.precision=bf16 &&
        train 1 f32 --set train.max_steps=1 --set optim.lr=0 &&
        "$WEIGHTS_DIFF" "$work/f32/model" "$work/bf16/model" 0
}
check "what a bf16 run saved comes out under the right names" other_order

# begin_job RANKS DIR OPTION...: in the background: $launcher is mpirun itself, its output is in
# $work/DIR.log.
begin_job() {
    local ranks=$1 dir=$2
    shift 2
    mpirun -n "$ranks" "$LLAVA" train "$work/config.json" --set run.dir="$work/$dir" "$@" \
        >"$work/$dir.log" 2>&1 &
    launcher=$!
}

kill_in_the_middle() {
    begin_job 2 killed --set train.max_steps=2000 --set checkpoint.keep=1000
    # by then the checkpoint of step 20 is begun, and so that of step 10 is written
    wait_for '"step":21,' "$work/killed/metrics.jsonl" 30 || return 1
    kill -9 "$launcher"
    wait "$launcher"
    [ -e "$work/killed/checkpoints/step-000010/manifest.json" ] && [ ! -e "$work/killed/model" ]
}
check "the launcher of a running job is killed" kill_in_the_middle
ranks_are_gone() {
    for _ in $(seq 100); do
        [ -z "$(ranks_in killed)" ] && return 0
        sleep 0.1
    done
    return 1
}
check "its ranks end too" ranks_are_gone
rm -rf "$work"/killed/checkpoints/step-0000[2-9]* "$work"/killed/checkpoints/step-000[1-9]*
# with 2000 steps the schedule is another one, so this only has to go on and end
check "the killed job goes on" train 2 killed --set train.max_steps=30
check "and ends at its last step" grep -q '"step":30,' "$work/killed/metrics.jsonl"

# MPICH's launcher passes on SIGTERM, but not SIGUSR2, and may end with 0.
also=USR2
if $mpich; then
    also=TERM
fi

# stop_on_request RANKS SIGNAL launcher|rank: a checkpoint, exit status 75, and the way to go on.
stop_on_request() {
    local status dir=stopped-$1-$2-$3 steps
    begin_job "$1" "$dir" --set train.max_steps=5000
    wait_for '"step":3,' "$work/$dir/metrics.jsonl" 30 || return 1
    if [ "$3" = launcher ]; then
        kill "-$2" "$launcher"
    else
        kill "-$2" "$(ranks_in "$dir" | shuf -n 1)"
    fi
    wait "$launcher"
    status=$?
    cat "$work/$dir.log"
    steps=$(grep -c '"loss"' "$work/$dir/metrics.jsonl")
    { [ "$status" -eq 75 ] || { [ "$status" -eq 0 ] && $mpich && [ "$3" = launcher ]; }; } &&
        grep -q "stopped on request; the checkpoint of step $steps" "$work/$dir.log" &&
        [ -e "$work/$dir/checkpoints/$(printf step-%06d "$steps")" ]
}
for how in '2 TERM rank' '3 TERM rank' '1 TERM rank' '4 USR1 launcher' "2 $also launcher" \
    '3 USR2 rank' '4 USR1 rank'; do
    check "ranks, signal, to: $how: a checkpoint of that step, then exit status 75" \
        stop_on_request $how
done

# A job of 4 s, as Slurm tells it: of such a short one a quarter is kept.
stop_before_end() {
    SLURM_JOB_END_TIME=$(($(date +%s) + 4)) train 2 ended --set train.max_steps=100000
}
check "before the end of the job: a checkpoint, then exit status 75" refused 75 \
    'stopped (0:0[0-4] before|after) the end of the job.*; the checkpoint of step' stop_before_end
long_over() {
    SLURM_JOB_END_TIME=1000 "$LLAVA" train "$work/config.json" --set run.dir="$work/over"
}
check "an end of the job that is long over: why it stops, and what to do" refused 75 \
    'stopped after the end of the job by SLURM_JOB_END_TIME \(unset one of an older job\)' long_over
no_time() {
    SLURM_JOB_END_TIME=soon "$LLAVA" train "$work/config.json" --set run.dir="$work/ended"
}
check "an end of the job that is no time" refused 2 \
    'SLURM_JOB_END_TIME=soon in the environment: expected seconds since 1970' no_time

damage() {
    flip "$work/again/checkpoints/step-000020/rank-00001.h5" 3000
}
check "a byte of the newest checkpoint is flipped" damage
check "the one before is used, and that is said" refused 0 \
    'passing over a checkpoint: .*step-000020/rank-00001.h5: damaged' train 2 again
check "it ends with the same bits" same_model again

# The step in the middle: checkpoints of steps 10 and 20 are there, and one is kept.
go_back() {
    train 2 again --resume "$work/again/checkpoints/step-000010" --set checkpoint.every_steps=5 \
        --set checkpoint.keep=1 --set train.max_steps=15
}
only_step_15() {
    ls "$work/again/checkpoints"
    [ "$(ls "$work/again/checkpoints")" = $'step-000015\nstep-000020.aside' ]
}
check "a run goes back to an earlier checkpoint" go_back
check "its own checkpoint stays, the later one is set aside" only_step_15

# The schedule follows the length of the run, which may change.
length() { # length DIR STEPS OPTION...
    begin_from_10 "$1" && "$LLAVA" train "$work/config.json" --set run.dir="$work/$1" \
        --set train.max_steps="$2" "${@:3}"
}
check "a run that goes on for longer says what that does to the learning rate" refused 0 \
    '^llava: the run was of 20 steps and is of 22: the learning rate goes on as in' length longer 22
check "one that ends before its checkpoint says what to do" refused 2 \
    'is at step 10, the run ends at 5: raise train.max_steps' length shorter 5
constant() {
    local set=(--set optim.schedule=constant --set train.max_steps)
    train 1 constant "${set[@]}=3" && train 1 constant "${set[@]}=4" >"$work/log" 2>&1 &&
        ! grep 'the run was of' "$work/log"
}
check "with a constant schedule there is nothing to say" constant
same_length() { length same 20 >"$work/log" 2>&1 && ! grep 'the run was of' "$work/log"; }
check "nor if the length is the same" same_length

begins_anew() {
    mkdir "$work/anew" && cp "$work/whole/metrics.jsonl" "$work/anew/" &&
        refused 0 '^llava: there is no checkpoint to go on from: .*metrics.jsonl are kept in' \
            train 2 anew --set train.max_steps=2 &&
        [ "$(wc -l <"$work/anew/metrics.jsonl")" -eq 2 ] &&
        cmp "$work/whole/metrics.jsonl" "$work/anew/metrics.dropped.jsonl"
}
check "a run that lost its checkpoints says that it begins anew" begins_anew

check "--resume with the directory of a run says what to name" refused 2 \
    'whole is the directory of a run; name one of the checkpoints' "$LLAVA" train \
    "$work/config.json" --set run.dir="$work/whole" --resume "$work/whole"
check "with the directory above one too" refused 2 \
    'whole/checkpoints is no checkpoint: it has no manifest.json; name a directory as' "$LLAVA" \
    train "$work/config.json" --set run.dir="$work/whole" --resume "$work/whole/checkpoints"
named_early() { # before the model, which may take minutes, is read
    "$LLAVA" train "$work/config.json" --set run.dir="$work/early" --resume "$work/nowhere" \
        --set model.language_model="$work/no-model" --set model.vision_tower="$work/no-model"
}
check "a wrong name is refused before anything is read" refused 2 \
    '--resume: expected auto, none or the directory of a checkpoint, found .*nowhere' named_early
check "--resume none does not run over checkpoints" refused 2 \
    "step-000020 is there: choose another run.dir" "$LLAVA" train "$work/config.json" \
    --set run.dir="$work/whole" --resume none
check "another learning rate is not the same run" refused 2 \
    'optim.lr was 0.0005 and is 0.1: .*put that back, or choose another run.dir' "$LLAVA" train "$work/config.json" \
    --set run.dir="$work/whole" --set optim.lr=0.1
check "other data are not the same run" refused 2 'the packs are not those' "$LLAVA" train \
    "$work/config.json" --set run.dir="$work/whole" --set "data.packs=[\"$work/captions\"]"

lock_is_held() {
    "$LLAVA" train "$work/config.json" --set run.dir="$work/locked" --set train.max_steps=100000 \
        >/dev/null 2>&1 &
    local first=$!
    for _ in $(seq 200); do
        [ -s "$work/locked/lock" ] && break
        sleep 0.05
    done
    refused 2 "in use by another run \(.*process $first\)" "$LLAVA" train "$work/config.json" \
        --set run.dir="$work/locked"
    local status=$?
    kill -9 "$first"
    wait "$first" 2>/dev/null
    return $status
}
check "a run directory is used by one run at a time" lock_is_held

any_name() {
    local name='a [1]* ü'
    mkdir "$work/$name" && cp -r "$work/whole/checkpoints" "$work/$name/" &&
        rm -r "$work/$name/checkpoints/step-000020" && train 2 "$name" && same_model "$name" &&
        "$LLAVA" inspect "$work/$name" >"$work/log" && grep -q '^  step-000020  *whole$' "$work/log"
}
check "its name may have blanks, brackets and letters that are not ASCII" any_name
finish
