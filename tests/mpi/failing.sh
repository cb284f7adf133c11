#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A rank that fails or stalls ends the job on all ranks, by name, and the same command goes on from
# the last checkpoint. How fast does not decide, but for a generous bound: it does not hang.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"
BOUND_S=60
host=$(uname -n)

check "inputs are made" make_inputs
write_config "$work/config.json" 2

# What a job runs for each rank; $rank_does and $does are for one of them.
cat >"$work/rank.sh" <<'END_RANK'
#!/bin/sh
if [ "${OMPI_COMM_WORLD_RANK:-$PMI_RANK}" = "$ONLY_RANK" ]; then
    eval "$ONLY_RANK_DOES"
fi
exec "$@"
END_RANK
chmod +x "$work/rank.sh"
export ONLY_RANK='' ONLY_RANK_DOES=''

# begin_job RANKS DIR OPTION...: in the background, output in $work/DIR.log.
begin_job() {
    local ranks=$1 dir=$2
    shift 2
    mpirun -n "$ranks" "$work/rank.sh" "$LLAVA" train "$work/config.json" \
        --set run.dir="$work/$dir" --set train.max_steps=100000 --set checkpoint.every_steps=5 \
        "$@" >"$work/$dir.log" 2>&1 &
    launcher=$!
}

# The process of rank N of the job that runs in DIR.
rank_of() {
    local pid
    for pid in $(ranks_in "$1"); do
        if tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null |
            grep -qxE "(OMPI_COMM_WORLD_RANK|PMI_RANK)=$2"; then
            echo "$pid"
        fi
    done
}

# ends DIR DISTURB PATTERN...: begin_job and what disturbs it are one function; then the job ends
# within the bound, with a status that is not 0 (unless $may_be_0), having said each of these once,
# and leaves no process behind.
may_be_0=false
ends() {
    local dir=$1 pattern status
    $2 || return 1
    shift 2
    for _ in $(seq $((20 * BOUND_S))); do
        kill -0 "$launcher" 2>/dev/null || break
        sleep 0.05
    done
    if kill -0 "$launcher" 2>/dev/null; then
        cat "$work/$dir.log"
        echo "it hangs"
        kill -9 "$launcher" $(pgrep -f "run.dir=$work/$dir")
        return 1
    fi
    wait "$launcher"
    status=$?
    cat "$work/$dir.log"
    echo "(exit status $status)"
    [ "$status" -ne 0 ] || $may_be_0 || return 1
    for pattern in "$@"; do
        if [ "$(grep -cE -- "$pattern" "$work/$dir.log")" -ne 1 ]; then
            echo "not once: /$pattern/"
            return 1
        fi
    done
    for _ in $(seq 100); do
        pgrep -f "run.dir=$work/$dir" >/dev/null || return 0
        sleep 0.1
    done
    echo "processes are left"
    return 1
}

# resumes DIR OPTION...: three steps more, on two ranks.
resumes() {
    local dir=$1 last
    shift
    last=$(ls "$work/$dir/checkpoints" | grep -x 'step-[0-9]*' | tail -n 1)
    refused 0 "going on from .*$last" mpirun -n 2 "$LLAVA" train "$work/config.json" \
        --set run.dir="$work/$dir" --set train.max_steps=$((10#${last#step-} + 3)) "$@"
}

# signal DIR RANK SIGNAL: to that rank in the middle of the run, when the checkpoint of step 10 is
# begun, and so that of step 5 is written.
signal() {
    wait_for '"step":11,' "$work/$1/metrics.jsonl" "$BOUND_S" && kill "-$3" "$(rank_of "$1" "$2")"
}

# ---- a rank that is gone ----
killed() { begin_job 3 killed && signal killed 1 KILL; }
check "rank 1 of 3 is killed: the job ends, the launcher says who it was" ends killed killed \
    "rank 1 .*on node $host.*signal 9|EXIT CODE: 9" # OpenMPI, MPICH
check "killed: it goes on" resumes killed

fault() { begin_job 3 fault && signal fault 2 SEGV; }
check "rank 2 of 3 has a fatal signal: the job ends; it says host, signal and step" ends fault fault \
    "^llava: rank 2 on $host: SIGSEGV from process [0-9]+ in step [0-9]+, [a-z ]+; called from"
check "fault: a backtrace has names" grep -qE 'llava\((lv_train|main)\+0x' "$work/fault.log"
own_words_first() {
    [ "$(grep -nE '^llava: rank' "$work/fault.log" | head -n 1 | cut -d: -f1)" -lt \
        "$(grep -nE 'exited on signal|EXIT CODE' "$work/fault.log" | head -n 1 | cut -d: -f1)" ]
}
check "fault: the rank's own words come before the launcher's" own_words_first
check "fault: it goes on" resumes fault

cut_short() {
    cp -r "$work/init/vision_tower" "$work/shared_tower" &&
        begin_job 1 cut --set model.vision_tower="$work/shared_tower" &&
        wait_for '"step":11,' "$work/cut/metrics.jsonl" "$BOUND_S" &&
        : >"$work/shared_tower/model.safetensors"
}
check "a model's file is cut short under a rank: the job ends; the file is named" ends cut cut_short \
    "^llava: rank 0 on $host: SIGBUS .* of $work/shared_tower/model.safetensors in step [0-9]+, "
cp "$work/init/vision_tower/model.safetensors" "$work/shared_tower/"
check "cut: it goes on with the whole file" resumes cut \
    --set model.vision_tower="$work/shared_tower"

# ---- a rank with an error of its own ----
cannot_read() {
    ONLY_RANK=1 ONLY_RANK_DOES='export LLAVA_FAIL_POINT=batch.begin:20=error' begin_job 2 error
}
check "rank 1 cannot read its data: the job ends; rank, host and reason are said" ends error \
    cannot_read "^llava train: rank 1 on $host: fail point batch.begin: Input/output error"
check "error: it goes on" resumes error

no_memory() { # addresses for MPI, but not for the arena of activations
    ONLY_RANK=1 ONLY_RANK_DOES='ulimit -v 4000000' begin_job 2 memory
}
check "rank 1 gets no memory: the job ends; rank, host and reason are said" ends memory no_memory \
    "^llava train: rank 1 on $host: .*(memory|reserve)"

# ---- a job that has hardly begun ----
# has_handler PID SIGNAL: of its own for that signal?
has_handler() {
    local caught
    caught=$(sed -n 's/^SigCgt:[[:space:]]*//p' "/proc/$1/status")
    (((16#${caught:-0} >> ($(kill -l "$2") - 1)) & 1))
}

# Rank 1 is not there yet, and so rank 0 is kept in MPI's start.
asked_early() {
    local pid
    ONLY_RANK=1 ONLY_RANK_DOES="until [ -e '$work/go' ]; do sleep 0.05; done" begin_job 2 early
    for _ in $(seq $((20 * BOUND_S))); do
        pid=$(rank_of early 0)
        if [ -n "$pid" ] && has_handler "$pid" TERM; then
            kill -TERM "$pid" && touch "$work/go"
            return
        fi
        sleep 0.05
    done
    kill -9 "$launcher"
    touch "$work/go"
    return 1
}
check "rank 0 is asked to stop while MPI starts: a checkpoint of the first step" ends early \
    asked_early 'stopped on request; the checkpoint of step 1 '
check "early: it goes on" resumes early

# At such a moment a signal may also end the job at once: nothing is lost yet.
signal_after() {
    begin_job 2 "$dir"
    for _ in $(seq $((100 * BOUND_S))); do
        [ -n "$(ranks_in "$dir")" ] && break
        sleep 0.01
    done
    sleep "$delay"
    if [ "$to" = launcher ]; then
        kill "-$name" "$launcher"
    else
        kill "-$name" "$(ranks_in "$dir" | tail -n 1)"
    fi
}
ends_and_begins_anew() {
    local dir=$1-$2-$3 to=$1 name=$2 delay=$3 may_be_0=false
    # MPICH's launcher, told to stop, may forget the status of its ranks
    $mpich && [ "$to" = launcher ] && may_be_0=true
    ends "$dir" signal_after || return 1
    if ls "$work/$dir/checkpoints" | grep -qx 'step-[0-9]*'; then
        resumes "$dir"
    else
        mpirun -n 2 "$LLAVA" train "$work/config.json" --set run.dir="$work/$dir" \
            --set train.max_steps=3
    fi
}
for how in 'launcher USR1 0' 'rank TERM 0' 'launcher KILL 0.1' 'rank USR1 0.1' 'launcher TERM 0.3'; do
    check "signal $how s after the ranks are there: the job ends, and can be begun again" \
        ends_and_begins_anew $how
done

# ---- a rank that stalls ----
limit=(--set comm.stall_minutes=0.1 --set comm.on_stall=stop)
stopped() { begin_job 3 stopped "${limit[@]}" && signal stopped 1 STOP; }
check "rank 1 of 3 is stopped: the job ends; who waited for whom is said" ends stopped stopped \
    "^llava: rank 0 on $host: has waited [0-9]+ seconds for other ranks in step [0-9]+; behind" \
    "^llava:   rank 1 on $host: no sign of life any more.* last seen: " \
    "^llava: rank 0 on $host: ends the job"
check "stopped: it goes on" resumes stopped

first() { begin_job 2 first "${limit[@]}" && signal first 0 STOP; }
check "rank 0 of 2 is stopped: the job ends; it is named" ends first first \
    "^llava: rank 1 on $host: has waited" \
    "^llava:   rank 0 on $host: no sign of life any more"
check "first: it goes on" resumes first

stalled() {
    ONLY_RANK=1 ONLY_RANK_DOES='export LLAVA_FAIL_POINT=batch.begin:20=stall' begin_job 2 stalled \
        "${limit[@]}"
}
check "rank 1 waits for a batch that does not come: the job ends; it says where it is" ends \
    stalled stalled \
    "^llava: rank 1 on $host: step [0-9]+, reading data, without progress for [0-9]+ sec.*; its main" \
    '^llava:   .*llava\(lv_loader_next_batch\+0x' \
    "^llava: rank 1 on $host: ends the job"
check "stalled: it goes on" resumes stalled

# Only told of, a rank that goes on again does no harm; the run is then ended by a request.
patient() {
    begin_job 2 patient --set comm.stall_minutes=0.1 && signal patient 1 STOP &&
        wait_for 'rank 1 on .*: no sign of life' "$work/patient.log" "$BOUND_S" &&
        kill -CONT "$(rank_of patient 1)" &&
        wait_for 'waits no more, after' "$work/patient.log" "$BOUND_S" &&
        kill -TERM "$(rank_of patient 1)"
}
check "a stopped rank is told of, goes on again, and so does the run" ends patient patient \
    "^llava: rank 0 on $host: waits no more" 'stopped on request'
check "nothing is left of the heartbeats" test ! -e "$work/patient/heartbeat"
finish
