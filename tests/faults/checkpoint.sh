#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A checkpoint at every named point of its life: killed there, the same command goes on from a whole
# one to the same bits; at an I/O error or a full disk the run goes on or stops, as the config says,
# and the one before is not touched. Damaged checkpoints are refused by name.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"
export OMPI_MCA_orte_abort_print_stack=0

points=$(sed -n 's/^ *X("\(checkpoint\.[a-z.]*\)".*/\1/p' "$LLAVA_TEST_SOURCE/data/base/fail_point.h")
check "inputs are made" make_inputs
write_config "$work/config.json" 1

# 12 steps with checkpoints behind 4, 8 and 12.
options=(--set train.max_steps=12 --set checkpoint.every_steps=4)

train() { # train RANKS DIR OPTION...
    local ranks=$1 dir=$2
    shift 2
    local run=()
    [ "$ranks" = 1 ] || run=(mpirun -n "$ranks")
    "${run[@]}" "$LLAVA" train "$work/config.json" --set run.dir="$work/$dir" "${options[@]}" "$@"
}

same_end() { # same_end DIR RANKS: as the run on so many that was left in peace
    local peace=$work/peace-$2
    "$METRICS_DIFF" "$peace/metrics.jsonl" "$work/$1/metrics.jsonl" samples_hash 0 &&
        "$METRICS_DIFF" "$peace/metrics.jsonl" "$work/$1/metrics.jsonl" loss 0 &&
        cmp "$peace/projector.safetensors" "$work/$1/projector.safetensors"
}

nth() { # nth POINT: in the second checkpoint of the run
    case $1 in
    checkpoint.dataset) echo 5 ;; # three a file
    checkpoint.prune.renamed) echo 1 ;;
    *) echo 2 ;;
    esac
}

only_whole() { # only_whole DIR STEP...: these, each whole, and nothing else
    local dir=$work/$1/checkpoints
    shift
    [ "$(ls "$dir")" = "$(printf 'step-%06d\n' "$@")" ] || {
        ls "$dir"
        return 1
    }
    "$LLAVA" inspect "$dir/.."
}

killed() { # killed POINT
    LLAVA_FAIL_POINT=$1:$(nth "$1")=kill train 2 run --set checkpoint.keep=1 && {
        echo "it was not killed"
        return 1
    }
    [ ! -e "$work/run/projector.safetensors" ] && "$LLAVA" inspect "$work/run"
}

goes_on() {
    train 2 run --set checkpoint.keep=1 && same_end run 2 && only_whole run 12
}

check "a run in peace" train 1 peace-1
check "a run of two ranks in peace" train 2 peace-2
check "the list of points is read" test "$(wc -l <<<"$points")" -ge 10
for point in $points; do
    rm -rf "$work/run"
    check "$point: killed; what is there is whole" killed "$point"
    check "$point: the next job ends with the same bits" goes_on
done

# An error is met by the same run, which says so once and goes on. What fails behind the rename
# is said too, but loses nothing; memory that is not there is no error.
fails() { # fails POINT HOW PATTERN STEP...: and these steps are there at the end
    local point=$1 how=$2 pattern=$3 output
    shift 3
    rm -rf "$work/run"
    output=$(LLAVA_FAIL_POINT=$point:$(nth "$point")=$how train 1 run 2>&1) || {
        echo "$output"
        return 1
    }
    echo "$output"
    [ "$(grep -cE "$pattern" <<<"$output")" -eq 1 ] && same_end run 1 && only_whole run "$@"
}
warned='^llava: WARNING: the checkpoint of step 8 was not written: .*fail point'
for point in $points; do
    for how in error full; do
        reason='Input/output error'
        [ $how = error ] || reason='No space left on device'
        case $point in
        checkpoint.copy)
            check "$point: $how: the steps wait, all is saved" fails "$point" $how \
                '^llava: the steps wait while a checkpoint is written' 4 8 12
            ;;
        checkpoint.renamed)
            check "$point: $how: the run goes on" fails "$point" $how \
                "$warned $point: $reason; the last good one is that of step 4" 4 8 12
            ;;
        checkpoint.prune.begin)
            check "$point: $how: the run goes on" fails "$point" $how \
                "an old checkpoint could not be removed: fail point $point: $reason" 4 8 12
            ;;
        checkpoint.prune.renamed) ;; # nothing is removed while three are kept
        *)
            check "$point: $how: the run goes on" fails "$point" $how \
                "$warned $point: $reason; the last good one is that of step 4" 4 12
            ;;
        esac
    done
done

one_rank_fails() {
    rm -rf "$work/run"
    local command=("$LLAVA" train "$work/config.json" --set run.dir="$work/run" "${options[@]}")
    mpirun -n 1 "${command[@]}" : \
        -n 1 env LLAVA_FAIL_POINT=checkpoint.file.written:2=full "${command[@]}"
}
check "an error on one rank is told by all, once, with the rank" refused 0 \
    'WARNING: the checkpoint of step 8 was not written: rank 1 on [^:]*: .*No space left' one_rank_fails
check "and all go on" same_end run 2
check "its part is gone, and the other rank's" only_whole run 4 12

stops() {
    rm -rf "$work/run"
    LLAVA_FAIL_POINT=checkpoint.file.synced:2=full train 2 run --set checkpoint.on_error=stop
}
check "on_error stop: the run ends and names the last good checkpoint" refused 1 \
    'llava train: the checkpoint of step 8 was not written: .*that of step 4' stops
check "only that one is there" only_whole run 4
check "and the run goes on from it" goes_on

last_fails() {
    rm -rf "$work/run"
    LLAVA_FAIL_POINT=checkpoint.file.synced:3=full train 1 run
}
check "the last checkpoint fails: that is no exit status 0" refused 1 \
    'llava train: the checkpoint of step 12 was not written: .*that of step 8' last_fails
first_fails() {
    rm -rf "$work/run"
    LLAVA_FAIL_POINT=checkpoint.begin=full train 1 run
}
check "the first fails: there is none to go back to" refused 0 \
    'the checkpoint of step 4 was not written: .*there is none to go back to' first_fails

# ---- damage ----

rm -rf "$work/run"
check "a run of two ranks with three checkpoints" train 2 run
newest=$work/run/checkpoints/step-000012
damaged() { # damaged PATTERN COMMAND...: passed over by that name, the one before is used
    local pattern=$1
    shift
    "$@" && refused 0 "^llava: passing over a checkpoint: .*$pattern" train 2 run && same_end run 2
}
cut_short() { truncate -s -100 "$1"; }
for file in rank-00000.h5 rank-00001.h5 manifest.json; do
    check "a byte of $file is flipped" damaged "step-000012/$file: damaged" \
        flip "$newest/$file" 1500
    check "$file is missing" damaged "step-000012/$file: .*No such file" rm "$newest/$file"
    check "$file is cut short" damaged "step-000012/$file: " cut_short "$newest/$file"
done
two_damaged() {
    flip "$newest/rank-00000.h5" 900 && rm "$work/run/checkpoints/step-000008/manifest.json" &&
        train 3 run >"$work/log" 2>&1 && cat "$work/log" &&
        [ "$(grep -c 'passing over a checkpoint' "$work/log")" -eq 2 ] &&
        grep -q 'going on from .*step-000004' "$work/log"
}
check "two are passed over, the third is used" two_damaged
left_behind() {
    mkdir "$work/run/checkpoints/step-000007.tmp" "$work/run/checkpoints/step-000003.removed"
    touch "$work/run/checkpoints/step-000007.tmp/rank-00000.h5"
    train 1 run && ! ls "$work/run/checkpoints" | grep -E 'tmp|removed'
}
check "what killed jobs left half written is cleared away" left_behind
none_is_whole() {
    local manifest before
    for manifest in "$work"/run/checkpoints/*/manifest.json; do
        flip "$manifest" 700
    done
    before=$(find "$work/run/checkpoints" -type f -exec cksum {} +)
    refused 1 'llava train: .*none of the checkpoints there can be used' train 2 run &&
        [ "$(find "$work/run/checkpoints" -type f -exec cksum {} +)" = "$before" ]
}
check "none is whole: the run does not begin anew, and writes over nothing" none_is_whole

# Checkpoints on a disk of their own, which is not mounted.
elsewhere() {
    rm -rf "$work/run" && train 1 run && mv "$work/run/checkpoints" "$work/mounted" &&
        ln -s "$work/mounted" "$work/run/checkpoints" &&
        train 1 run --set train.max_steps=16 >"$work/log" 2>&1 && cat "$work/log" &&
        grep -q 'going on from .*step-000012' "$work/log" &&
        mv "$work/mounted" "$work/unmounted"
}
check "the folder of checkpoints may be a link" elsewhere
before=$(cksum "$work/run/metrics.jsonl")
check "if what it leads to is gone, the run does not begin anew" refused 1 \
    'llava train: .*run/checkpoints: a link to what is not there: mount' train 2 run
check "nor drop its metrics" test "$(cksum "$work/run/metrics.jsonl")" = "$before"
check "a run directory that is such a link is refused by that name" refused 1 \
    'checkpoints: a link to a directory that is not there$' train 1 run/checkpoints

# ---- a disk that is full, and one that is read-only ----

disk=$work/disk
if mkdir "$disk" && mount -t tmpfs -o size=300k tmpfs "$disk" 2>/dev/null; then
    trap 'umount "$disk"; rm -rf "$work"' EXIT
    check "a full disk: the run goes on to its end and says so" refused 1 \
        'llava train: the checkpoint of step 12 was not written: .*No space left' \
        train 1 disk --set checkpoint.every_steps=1 --set checkpoint.keep=100
    check "what could be written is whole" "$LLAVA" inspect "$disk"
    mkdir -p "$disk/checkpoints"
    make_room() {
        ls -d "$disk"/checkpoints/* | head -n -1 | xargs rm -r
    }
    check "room is made" make_room
    check "the run goes on and ends" train 1 disk
    check "every step is told once, with its samples" "$METRICS_DIFF" \
        "$work/peace-1/metrics.jsonl" "$disk/metrics.jsonl" samples_hash 0
    check "and the weights are right" cmp "$work/peace-1/projector.safetensors" \
        "$disk/projector.safetensors"
    # metrics have no room either: the more important of the two is the last word
    mkdir "$work/full" "$disk/none" && touch "$disk/lines" &&
        ln -s "$disk/none" "$work/full/checkpoints" &&
        ln -s "$disk/lines" "$work/full/metrics.jsonl"
    head -c 400k /dev/zero >"$disk/fill" 2>/dev/null
    check "no room for metrics and checkpoints: the last checkpoint is what is told last" \
        refused 1 'llava train: the checkpoint of step 12 was not written: .*No space' train 1 full
    check "after the metrics that are lost" refused 1 \
        '^llava: .*metrics.jsonl: writing: No space left on device$' train 1 full
    umount "$disk"
    mkdir -p "$work/readonly/checkpoints"
    mount -t tmpfs -o ro tmpfs "$work/readonly/checkpoints"
    trap 'umount "$work/readonly/checkpoints"; rm -rf "$work"' EXIT
    read_only() {
        train 2 readonly >"$work/log" 2>&1
        local status=$?
        cat "$work/log"
        [ $status -eq 1 ] && grep -q '"step":12,' "$work/readonly/metrics.jsonl" &&
            [ "$(grep -c 'WARNING: the checkpoint of .*Read-only' "$work/log")" -eq 2 ]
    }
    check "a read-only folder: each save is warned of, the run goes to its end and fails" read_only
else
    skip "a full and a read-only disk" "no tmpfs can be mounted here"
fi
finish
