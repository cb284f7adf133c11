#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the sbatch files do with each way in which a turn of a job can end, with stand-ins for Slurm
# and llava: tests/cluster/slurm.sh has the real ones.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"

# stand_in NAME: a program of that name, from stdin, that is found before the real one.
stand_in() {
    mkdir -p "${work:?}/bin"
    cat >"${work:?}/bin/$1"
    chmod +x "${work:?}/bin/$1"
}
stand_in srun <<'SCRIPT'
#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift; done
exec "$@"
SCRIPT
stand_in scontrol <<'SCRIPT'
#!/usr/bin/env bash
echo "$*" >>"${STAND_IN_DIR:?}/scontrol"
exit "${SCONTROL_STATUS:-0}"
SCRIPT
stand_in sleep <<'SCRIPT'
#!/bin/sh
# until Slurm ends the turn, which it does at once here
SCRIPT
# llava train CONFIG --set run.dir=DIR --resume auto: ends as ENDS says, when it is told to stop.
stand_in llava <<'SCRIPT'
#!/usr/bin/env bash
cd "${STAND_IN_DIR:?}" || exit 99
echo "$*" >arguments
run=${4#run.dir=}
checkpoint() {
    local n
    n=$(find -H "$run/checkpoints" -name manifest.json 2>/dev/null | wc -l)
    mkdir -p "$run/checkpoints/step-$((n + 999998))" # one more digit on the way
    touch "$run/checkpoints/step-$((n + 999998))/manifest.json"
}
case $ENDS in
[0-9]*) exit "$ENDS" ;;
killed) kill -KILL $$ ;;
esac
trap 'stop=yes' USR1
touch ready
until [ "${stop:-}" ]; do /bin/sleep 0.05; done
case $ENDS in
stopped) checkpoint && exit 75 ;;
stuck) exit 75 ;;
stopped-killed) checkpoint && kill -KILL $$ ;;
stopped-0) checkpoint && exit 0 ;;
failed) exit 1 ;;
esac
SCRIPT
export STAND_IN_DIR=$work PATH=$work/bin:$PATH SLURM_SUBMIT_DIR=$LLAVA_TEST_SOURCE \
    SLURM_JOB_ID=7 SLURM_JOB_NODELIST=n1 RUN_DIR="$work/a run" LLAVA=llava

# turn ENDS STATUS REQUEUES: of stage 1; told to stop as soon as it runs.
turn() {
    local job status requeues
    rm -f "$work/scontrol" "$work/ready"
    ENDS=$1 bash "$LLAVA_TEST_SOURCE/configs/slurm/stage1.sbatch" &
    job=$!
    if [[ $1 != [0-9]* ]] && [ "$1" != killed ]; then
        for _ in $(seq 400); do
            [ -e "$work/ready" ] && break
            /bin/sleep 0.05
        done
        kill -USR1 "$job"
    fi
    wait "$job"
    status=$?
    requeues=$(cat "$work/scontrol" 2>/dev/null)
    echo "exit status $status, expected $2; scontrol was told: $requeues"
    [ "$status" -eq "$2" ] && [ "$requeues" = "$3" ]
}
check "a run that is done ends the job" turn 0 0 ''
check "it was called with config, run directory and --resume auto" grep -qx -- \
    "train configs/v1.5-stage1.json --set run.dir=$work/a run --resume auto" "$work/arguments"
check "a run that fails is not requeued" turn 1 1 ''
check "a wrong config is not requeued" turn 2 2 ''
check "a run that is killed unasked is not requeued" turn killed 137 ''
check "a run that stops with a checkpoint is requeued" turn stopped 0 'requeue 7'
check "also if the launcher kills what is left of it" turn stopped-killed 0 'requeue 7'
check "also if the launcher ends with 0" turn stopped-0 0 'requeue 7'
check "a turn without a new checkpoint is requeued once" turn stuck 0 'requeue 7'
check "but not twice in a row" turn stuck 1 ''
check "a turn that gets on" turn stopped 0 'requeue 7'
check "begins the count anew" turn stuck 0 'requeue 7'
on_another_disk() {
    mv "$RUN_DIR/checkpoints" "$work/other disk" && ln -s "$work/other disk" "$RUN_DIR/checkpoints"
}
check "the folder of checkpoints is a link" on_another_disk
check "a turn that gets on" turn stopped 0 'requeue 7'
check "another that gets on" turn stopped 0 'requeue 7'
check "a run that fails when it is told to stop is not requeued" turn failed 1 ''
no_requeue() { SCONTROL_STATUS=1 turn stopped 75 'requeue 7'; }
check "where Slurm does not requeue the job ends with 75" no_requeue

stage2() {
    cd "$work" &&
        ENDS=0 RUN_DIR='' bash "$LLAVA_TEST_SOURCE/configs/slurm/stage2.sbatch" || return 1
    cat arguments
    grep -qx -- "train configs/v1.5-stage2.json --set run.dir=runs/v1.5-stage2 --resume auto" \
        arguments
}
check "stage 2 has its own config and run directory" stage2
if command -v shellcheck >/dev/null; then
    check "shellcheck has nothing to say" shellcheck -x "$LLAVA_TEST_SOURCE"/configs/slurm/*.sbatch \
        "$LLAVA_TEST_SOURCE/configs/slurm/train.sh"
else
    skip "shellcheck has nothing to say" "it is not installed"
fi
finish
