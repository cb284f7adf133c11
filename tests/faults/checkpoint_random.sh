#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Small runs that are killed (one rank, all of them, the launcher) or asked to stop (a signal to the
# launcher or to a rank) at random moments, and go on each time on 1 to 4 ranks until they end: at
# the right step, with every sample once, the weights of a run left in peace; on as many ranks as
# before, the same bits. With a fixed seed: CHECKPOINT_SEED, CHECKPOINT_MOMENTS.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"
. "$LLAVA_TEST_SOURCE/tests/support/kill.sh"
export OMPI_MCA_orte_abort_print_stack=0
seed=${CHECKPOINT_SEED:-1}
moments=${CHECKPOINT_MOMENTS:-200}
steps=120

check "inputs are made" make_inputs
write_config "$work/config.json" 2

start() { # start RANKS DIR: in the background; $launcher
    mpirun -n "$1" "$LLAVA" train "$work/config.json" --set run.dir="$work/$2" \
        --set train.max_steps=$steps --set checkpoint.every_steps=7 --set checkpoint.keep=2 \
        >"$work/$2.log" 2>&1 &
    launcher=$!
}

in_peace() { # in_peace RANKS: $reference, made at its first use
    reference=peace-$1-$OMP_NUM_THREADS
    [ -e "$work/$reference" ] || { start "$1" "$reference" && wait "$launcher"; }
}

# A signal to the launcher or to a rank. From its first line on a run saves and ends with status 75.
stop_job() { # stop_job NAME launcher|rank
    local pids listens status
    pids=$(ranks_of "$launcher")
    [ -n "$pids" ] || {
        end_of_job "$launcher"
        return 0
    }
    listens=$(grep -c 'trainable parameters' "$work/run.log")
    if [ "$2" = launcher ]; then
        kill "-$1" "$launcher"
    else
        kill "-$1" "$(shuf -n 1 --random-source=<(yes $RANDOM) <<<"$pids")"
    fi 2>/dev/null
    end_of_job "$launcher"
    status=$?
    [ "$listens" -eq 0 ] || [ $status -eq 75 ] || [ $status -eq 0 ] || {
        echo "exit status $status after a SIG$1 to a $2"
        return 1
    }
}

disturb() { # disturb HOW
    case $1 in
    rank | all | launcher) kill_job "$launcher" "$1" || end_of_job "$launcher" ;;
    *) stop_job "${1%-*}" "${1#*-}" ;;
    esac
}

ends=(rank all launcher USR1-launcher USR2-launcher TERM-rank USR1-rank USR2-rank)
n_disturbed=0

# One run, on RANKS ranks or, if that is 0, on another number each time.
one_run() { # one_run RANKS TOLERANCE
    local ranks=$1 lives=0 how
    RANDOM=$((1000 * seed + run)) # a subshell has its own
    rm -rf "$work/run"
    while [ ! -e "$work/run/model" ]; do
        lives=$((lives + 1))
        [ $lives -le 100 ] || {
            echo "100 jobs, and no end"
            return 1
        }
        start $((ranks > 0 ? ranks : 1 + RANDOM % 4)) run
        sleep "$(awk -v r=$RANDOM 'BEGIN { print 0.3 + 2.2 * r / 32768 }')"
        how=${ends[RANDOM % ${#ends[@]}]}
        if kill -0 "$launcher" 2>/dev/null; then
            echo "$how" >>"$work/disturbed"
        fi
        disturb "$how" || {
            cat "$work/run.log"
            return 1
        }
        if grep -E 'damaged|passing over|WARNING' "$work/run.log"; then
            echo "a kill left something that is not whole under a checkpoint's name"
            return 1
        fi
    done
    in_peace $((ranks > 0 ? ranks : 2))
    echo "$lives lives"
    [ "$(grep -c '"loss"' "$work/run/metrics.jsonl")" -eq $steps ] &&
        "$METRICS_DIFF" "$work/$reference/metrics.jsonl" "$work/run/metrics.jsonl" samples_hash 0 &&
        "$METRICS_DIFF" "$work/$reference/metrics.jsonl" "$work/run/metrics.jsonl" loss "$2" &&
        "$WEIGHTS_DIFF" "$work/$reference/model" "$work/run/model" "$2" &&
        "$LLAVA" inspect "$work/run"
}

touch "$work/disturbed"
for ((run = 0; n_disturbed < moments; run++)); do
    export OMP_NUM_THREADS=$((run % 3 == 2 ? 4 : 1))
    case $((run % 2)) in
    0) check "run $run: on 1 to 4 ranks, $OMP_NUM_THREADS threads" one_run 0 1e-6 ;;
    1) check "run $run: on $((1 + run / 2 % 4)) ranks, $OMP_NUM_THREADS threads: the same bits" \
        one_run $((1 + run / 2 % 4)) 0 ;;
    esac
    n_disturbed=$(wc -l <"$work/disturbed")
done
sort "$work/disturbed" | uniq -c | sed "s/^/# disturbed: /"
finish
