#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The shipped sbatch files under a real Slurm: a private one, on this machine alone, with its own
# munge, configuration and state, gone afterwards. Needs root and the packages below; 5 minutes,
# most of which Slurm takes to start a job again that was requeued.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"

packages="slurmctld slurmd slurm-client munge"
if [ "$(id -u)" -ne 0 ]; then
    skip "a real Slurm" "needs root"
elif ! command -v slurmctld slurmd sbatch munged >/dev/null; then
    skip "a real Slurm" "needs the Debian packages $packages"
fi
if [ "$checks" -gt 0 ]; then
    finish
    exit
fi

# ---- a Slurm of our own ----
slurm=$work/slurm
export SLURM_CONF=$slurm/slurm.conf
node=$(uname -n | cut -d. -f1)
node=${node:-localhost}

# Jobs first, then the daemons by the ids that they wrote.
stop_slurm() {
    scancel --user root 2>/dev/null
    for _ in $(seq 100); do
        [ -z "$(squeue --noheader 2>/dev/null)" ] && break
        sleep 0.1
    done
    local name pid
    for name in slurmd slurmctld munged; do
        pid=$(cat "$slurm/$name.pid" 2>/dev/null) || continue # it was not started
        kill "$pid"
        for _ in $(seq 100); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
    done
    rm -rf "$work"
}
trap stop_slurm EXIT

# A port that nobody listens to.
free_port() {
    local port
    for port in $(shuf -i 20000-30000 -n 50); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port" && return; }
    done
}

start_slurm() {
    mkdir -p "$slurm/state" "$slurm/spool" && chmod 755 "$work" "$slurm" &&
        head -c 1024 /dev/urandom >"$slurm/munge.key" && chmod 600 "$slurm/munge.key" || return 1
    cat >"$SLURM_CONF" <<END
ClusterName=llavatest
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$slurm/munge.socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobRequeue=0
KillWait=10
ReturnToService=2
SlurmdParameters=config_overrides
StateSaveLocation=$slurm/state
SlurmdSpoolDir=$slurm/spool
SlurmctldPidFile=$slurm/slurmctld.pid
SlurmdPidFile=$slurm/slurmd.pid
SlurmctldLogFile=$slurm/slurmctld.log
SlurmdLogFile=$slurm/slurmd.log
NodeName=$node NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=test Nodes=$node Default=YES MaxTime=INFINITE State=UP
END
    munged --force --socket="$slurm/munge.socket" --key-file="$slurm/munge.key" \
        --pid-file="$slurm/munged.pid" --log-file="$slurm/munged.log" \
        --seed-file="$slurm/munge.seed" && slurmctld -c && slurmd || return 1
    for _ in $(seq 100); do
        [ "$(sinfo --noheader -o %T 2>/dev/null)" = idle ] && return 0
        sleep 0.2
    done
    sinfo
    tail "$slurm"/*.log
    return 1
}
check "inputs are made" make_inputs
check "a private Slurm starts" start_slurm
check "its srun knows PMIx" sh -c 'srun --mpi=list 2>&1 | grep -w pmix'
if ! sinfo --noheader >/dev/null 2>&1; then
    finish
    exit
fi

# ---- jobs ----

# The schedule is constant, so that the number of steps, which the test sets as it goes, matters to
# nobody; and so large that no machine ends the run before it is told to stop.
for stage in 1 2; do
    write_config "$work/stage$stage.json" "$stage"
    sed -i 's/"optim": {/"optim": { "schedule": "constant", "warmup_ratio": 0,/
        s/"max_steps": 20/"max_steps": 10000000/
        s/"every_steps": 10 /"every_steps": 0 /' "$work/stage$stage.json"
done

# submit NAME FILE OPTION...: prints the job's number; its log is $work/NAME.log.
submit() {
    local name=$1 file=$2
    shift 2
    (cd "$LLAVA_TEST_SOURCE" && CONFIG=${config:?} RUN_DIR=$work/$name LLAVA=$LLAVA \
        sbatch --parsable --nodes=1 --ntasks-per-node=2 --cpus-per-task=1 \
        --output="$work/$name.log" "$@" "$file")
}
state_of() { # state_of JOB: "RUNNING 0", the number being how often it was started again
    scontrol show job "$1" --oneliner | sed -nE 's/.* JobState=([A-Z]+) .* Restarts=([0-9]+) .*/\1 \2/p'
}
# becomes JOB STATE SECONDS
becomes() {
    local _
    for _ in $(seq $(($3 * 2))); do
        [ "$(state_of "$1")" = "$2" ] && return 0
        sleep 0.5
    done
    scontrol show job "$1"
    tail -n 20 "$work"/*.log
    return 1
}
wait_and_tell() { # wait_for, and of what does not come the logs
    wait_for "$@" && return 0
    tail -n 20 "$work"/*.log
    return 1
}
last_step() { tail -n 1 "$work/$1/metrics.jsonl" | sed -E 's/.*"step":([0-9]+),.*/\1/'; }

# end_soon NAME CONFIG: while the job is in the queue, 40 steps after its checkpoint.
end_soon() {
    sed -i -E "s/\"max_steps\": [0-9]+/\"max_steps\": $(($(last_step "$1") + 40))/" "$2"
}
each_step_once() {
    sed -E 's/.*"step":([0-9]+),.*/\1/' "$work/$1/metrics.jsonl" >"$work/steps"
    seq "$(last_step "$1")" | cmp - "$work/steps"
}
undisturbed() { # undisturbed NAME CONFIG: the same without Slurm, in one go
    mpirun -n 2 "$LLAVA" train "$2" --set run.dir="$work/$1-whole"
}
same_losses() {
    local key
    for key in loss grad_norm samples_hash; do
        "$METRICS_DIFF" "$work/$1-whole/metrics.jsonl" "$work/$1/metrics.jsonl" $key 0 || return 1
    done
}

# Stage 1, as shipped but for its size: Slurm itself signals it before its minute is over.
config=$work/stage1.json
one=$(submit one configs/slurm/stage1.sbatch --time=00:01:00 --signal=B:USR1@15)
next=$(sbatch --parsable --dependency="afterok:$one" --output=/dev/null --wrap true)
check "stage 1 is told to stop before its time limit and requeued" becomes "$one" "PENDING 1" 120
check "the script says so" grep -q 'told to stop: passing it on' "$work/one.log"
check "the ranks have stopped on request" grep -q 'stopped on request' "$work/one.log"
check "a job that is to follow it waits" becomes "$next" "PENDING 0" 1
check "its end is set to 40 steps from there" end_soon one "$config"

# While Slurm keeps that one waiting: stage 2 by mpirun, told to stop by its user.
sed 's/^launch=/# &/; s/^# launch=(mpirun/launch=(mpirun/' \
    "$LLAVA_TEST_SOURCE/configs/slurm/stage2.sbatch" >"$work/stage2.sbatch"
config=$work/stage2.json
two=$(submit two "$work/stage2.sbatch" --time=10)
check "stage 2 runs by mpirun" wait_and_tell '"step":12,' "$work/two/metrics.jsonl" 60
check "its user has it save and queue again" scancel --batch --signal=USR1 "$two"
check "it is requeued" becomes "$two" "PENDING 1" 60
check "the same of its end" end_soon two "$config"

echo '{}' >"$work/empty.json"
config=$work/empty.json
wrong=$(submit wrong configs/slurm/stage1.sbatch)
check "a job with a wrong config fails" becomes "$wrong" "FAILED 0" 60
check "and the script says that it stays so" grep -q 'failed with status 2: not requeued' \
    "$work/wrong.log"
sed 's/"max_steps": [0-9]*/"max_steps": 10000000/' "$work/stage1.json" >"$work/long.json"
config=$work/long.json
cancelled=$(submit cancelled configs/slurm/stage1.sbatch)
check "another job runs" wait_and_tell '"step":12,' "$work/cancelled/metrics.jsonl" 60
check "and is cancelled" scancel "$cancelled"
check "it stays cancelled" becomes "$cancelled" "CANCELLED 0" 60
stays_cancelled() {
    sleep 5
    [ "$(state_of "$cancelled")" = "CANCELLED 0" ]
}
check "it is not requeued behind its user's back" stays_cancelled

more_time() { scontrol update "JobId=$one" TimeLimit=10; }
check "stage 1 gets the time to end" more_time
check "stage 1 is started again and ends well" becomes "$one" "COMPLETED 1" 240
check "the job that follows it has its turn" becomes "$next" "COMPLETED 0" 60
check "stage 2 is started again and ends well" becomes "$two" "COMPLETED 1" 240
for name in one two; do
    config=$work/stage1.json what='stage 1'
    [ "$name" = two ] && config=$work/stage2.json what='stage 2'
    check "$what went on from its checkpoint" grep -q 'going on from .*/step-' "$work/$name.log"
    check "$what has every step once" each_step_once "$name"
    check "$what again, undisturbed" undisturbed "$name" "$config"
    check "$what: losses, gradients and samples are the same bits" same_losses "$name"
done
check "stage 1 has written its projector" "$LLAVA" inspect "$work/one"
finish
