#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# stream.sh [MB] [LIMIT_MB]: packs so many megabytes of made-up records, text only, from an array and
# from lines, and fails if the program's own memory (RssAnon) ever goes beyond the limit.
# Prints time, rate and peak. From meson also MAKE_RECORDS.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"
megabytes=${1:-1000} limit_mb=${2:-300}

# peak PID: highest RssAnon in kB until the process is gone, read 20 times a second.
peak() {
    local highest=0 now
    while now=$(awk '/^RssAnon/ { print $2 }' "/proc/$1/status" 2>/dev/null) && [ -n "$now" ]; do
        [ "$now" -gt "$highest" ] && highest=$now
        sleep 0.05
    done
    echo "$highest"
}

# pack_flat LAYOUT: pack it, watch it, and look at what came of it.
pack_flat() {
    local data=$work/$1.json out=$work/pack-$1 start=$EPOCHREALTIME pid highest status=0 seconds
    "$MAKE_RECORDS" "${megabytes}000000" "$1" text >"$data" || return 1
    start=$EPOCHREALTIME
    "$LLAVA" pack --data "$data" --template v1 --out "$out" \
        --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer" >"$work/log" 2>&1 &
    pid=$!
    highest=$(peak "$pid")
    wait "$pid" || status=$?
    seconds=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
    tail -n 1 "$work/log"
    awk -v mb="$megabytes" -v s="$seconds" -v kb="$highest" -v what="$1" 'BEGIN {
        printf "# %s: %d MB in %.1f s, %.1f MB/s, peak RssAnon %.0f MB\n", what, mb, s, mb / s, kb / 1000
    }' | tee -a "$work/figures"
    rm -rf "$data" "$out"
    [ "$status" -eq 0 ] && [ "$highest" -gt 0 ] && [ "$highest" -lt $((limit_mb * 1000)) ]
}

for layout in array jsonl; do
    check "$megabytes MB as $layout pack in less than $limit_mb MB" pack_flat "$layout"
done
cat "$work/figures"
finish
