# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What stage1.sbatch and stage2.sbatch share: run `llava train` until it is done, across as many
# turns of the job as that takes. They set config, run_dir, llava and launch.
#
# Slurm does not requeue a job that reaches its time limit. So it signals this script before
# (--signal=B:USR1@N); the script passes the signal on; all ranks save a checkpoint and exit with 75;
# and then the script has the job requeued. What ends otherwise is not requeued: 0 is the end of the
# run, 1 a failure, 2 a wrong config. Nor is a job whose last turns made no new checkpoint, which
# would go round for ever.
set -uo pipefail
: "${config:?}" "${run_dir:?}" "${llava:?}" "${launch:?}"

fruitless_turns=2 # in a row that end the job
notes=$run_dir/slurm-$SLURM_JOB_ID.turns

say() { echo "$(date '+%F %T') $*"; }

newest_checkpoint() { # the folder may be a link to another disk
    find -H "$run_dir/checkpoints" -path '*/step-*[0-9]/manifest.json' 2>/dev/null | sort -V | tail -n 1
}

launcher=
told_to_stop=false
interrupted=false
tell_to_stop() {
    say "told to stop: passing it on to the ranks"
    told_to_stop=true
    interrupted=true
    kill -USR1 "$launcher" 2>/dev/null # it may have ended by itself
}
trap tell_to_stop USR1

mkdir -p "$run_dir" || exit 1
before=$(newest_checkpoint)
# srun does not take over sbatch's --cpus-per-task by itself
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
say "turn $((${SLURM_RESTART_COUNT:-0} + 1)) of job $SLURM_JOB_ID on $SLURM_JOB_NODELIST: $config"

"${launch[@]}" "$llava" train "$config" --set run.dir="$run_dir" --resume auto &
launcher=$!
# A signal ends `wait`, not the launcher: wait again, until it is the launcher that ended.
while
    interrupted=false
    wait "$launcher"
    status=$?
    $interrupted
do :; done
trap '' USR1

# Not every launcher hands on the 75 of ranks that were told to stop: MPICH's mpirun ends with 0, srun
# with how it killed the last of them. If the run was in fact done, the next turn finds that out.
if [ "$status" -eq 0 ] && ! $told_to_stop; then
    say "done"
    rm -f "$notes"
    exit 0
elif [ "$status" -ne 75 ] && ! { $told_to_stop && { [ "$status" -eq 0 ] || [ "$status" -gt 128 ]; }; }; then
    say "failed with status $status: not requeued; the same sbatch goes on from the last checkpoint"
    exit "$status"
fi

after=$(newest_checkpoint)
fruitless=0
if [ "$after" = "$before" ]; then
    fruitless=$(($(cat "$notes" 2>/dev/null || echo 0) + 1))
fi
echo "$fruitless" >"$notes"
if [ "$fruitless" -ge "$fruitless_turns" ]; then
    say "$fruitless turns in a row without a new checkpoint: not requeued. Allow more --time, or" \
        "more seconds in --signal"
    exit 1
fi
say "stopped at ${after:-no checkpoint}: requeueing"
if ! scontrol requeue "$SLURM_JOB_ID"; then
    say "this cluster does not requeue: submit the job again, it goes on from there"
    exit 75
fi
sleep 60 # until Slurm ends this turn
