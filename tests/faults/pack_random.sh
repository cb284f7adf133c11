#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 50 packs of the COCO photographs by 2 or 3 ranks, each killed (one rank, all of them, or the
# launcher) at random moments until one call gets through: the bytes are those of a pack left in
# peace. With a fixed seed: PACK_SEED, PACK_ROUNDS.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"
. "$LLAVA_TEST_SOURCE/tests/support/kill.sh"
coco=${LLAVA_TEST_DATA:-}/coco
seed=${PACK_SEED:-1}
rounds=${PACK_ROUNDS:-50}
RANDOM=$seed

if [ ! -e "$coco/stage1_captions.json" ]; then
    skip "packs killed at random moments" "no COCO photographs here"
    finish
    exit
fi

pack=("$LLAVA" pack --data "$coco/stage1_captions.json" --images "$coco/images" --template plain
    --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer")
begin=$(date +%s%N)
check "a pack is made in peace" mpirun -n 2 "${pack[@]}" --out "$work/peace"
peace_ms=$((($(date +%s%N) - begin) / 1000000))
sums() { (cd "$1" && find . -type f -exec sha256sum {} + | sort -k 2); }
sums "$work/peace" >"$work/peace.sums"

one_round() {
    local out=$work/out whom launcher attempt
    rm -rf "$out"
    for attempt in 1 2 3; do # then one is left in peace
        mpirun -n $((2 + RANDOM % 2)) "${pack[@]}" --out "$out" >"$work/log" 2>&1 &
        launcher=$!
        sleep "$(awk -v ms=$peace_ms -v r=$RANDOM 'BEGIN { print 0.001 * ms * r / 32768 }')"
        whom=$(sed -n "$((1 + RANDOM % 3))p" <<<$'rank\nall\nlauncher')
        kill_job $launcher $whom && echo $whom >>"$work/kills"
        wait $launcher 2>/dev/null
        echo "attempt $attempt: $whom; $(ls "$out" 2>/dev/null | wc -l) files"
    done
    mpirun -n $((1 + RANDOM % 3)) "${pack[@]}" --out "$out" || return 1
    sums "$out" | diff "$work/peace.sums" -
}
for round in $(seq "$rounds"); do
    check "round $round" one_round
done
sort "$work/kills" | uniq -c | sed "s/^/# kills: /"
check "there were kills in the midst of work" test "$(wc -l <"$work/kills")" -ge "$rounds"
finish
