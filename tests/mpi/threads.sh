#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A host's cores are shared out to its ranks, and one line says so; nobody complains unless there
# are more threads than cores, or the launcher keeps cores back.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"
unset OMP_NUM_THREADS OMP_PROC_BIND OMP_PLACES

cores=$(lscpu --online --parse=core,socket | grep -v '^#' | sort -u | wc -l)
if [ "$(nproc)" != "$(lscpu --online --parse=cpu | grep -vc '^#')" ] ||
    grep -qs '^[0-9]' /sys/fs/cgroup/cpu.max; then
    skip "cores are shared out" "this test itself may not use all of them"
    finish
    exit
fi
check "inputs are made" make_inputs
write_config "$work/config.json" 1

# run NAME COMMAND...: two steps; what it said is in $work/NAME.log.
run() {
    local name=$1
    shift
    "$@" train "$work/config.json" --set run.dir="$work/$name" --set train.max_steps=2 \
        >"$work/$name.log" 2>&1 || { cat "$work/$name.log"; return 1; }
}

# says NAME THREADS BINDING COMPLAINTS
says() {
    cat "$work/$1.log"
    [ "$(grep -cE "^1 host, [0-9]+ ranks? of $2 threads?, $3; in f32 on " "$work/$1.log")" = 1 ] &&
        [ "$(grep -c '^llava: ' "$work/$1.log")" = "$4" ]
}

if [ "$cores" = 1 ]; then
    all='bound to a core'
else
    all='each bound to a core'
fi
check "alone" run alone "$LLAVA"
check "alone: a thread a core" says alone "$cores" "$all" 0
check "threads bound by OpenMP" run openmp env OMP_PROC_BIND=true "$LLAVA"
check "threads bound by OpenMP: as many" says openmp "$cores" \
    'binding left to OMP_PROC_BIND and OMP_PLACES' 0
check "more threads than cores are asked for" run asked env OMP_NUM_THREADS=$((cores + 1)) "$LLAVA"
check "more threads than cores: one line says so" says asked $((cores + 1)) 'not bound' 1
check "fewer threads than cores, or as many" run fewer env OMP_NUM_THREADS=1 "$LLAVA"
check "fewer threads than cores are not bound" says fewer 1 \
    "$([ "$cores" = 1 ] && echo bound to a core || echo not bound)" 0

for ranks in 1 2 3; do
    check "$ranks ranks" run "$ranks" mpirun --bind-to none -n "$ranks" "$LLAVA"
    if [ "$ranks" -gt "$cores" ]; then
        check "$ranks ranks: more than cores, which one line says" says "$ranks" 1 'not bound' 1
    else
        threads=$((cores / ranks))
        check "$ranks ranks: $threads threads each" says "$ranks" "$threads" \
            "$([ "$threads" = 1 ] && echo bound to a core || echo each bound to a core)" 0
    fi
done
if [ "$cores" -gt 1 ]; then
    check "a rank that the launcher keeps on one core" run kept mpirun --bind-to core -n 1 "$LLAVA"
    check "one line says what to do" says kept 1 'bound to a core' 1
    check "it is the right one" grep -q "1 of its $cores cores.*--bind-to none" "$work/kept.log"
fi

crowded_pack() {
    mpirun -n $((cores + 1)) "$LLAVA" pack --data "$quick/captions.json" --images "$quick/photos" \
        --template plain --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer" --out "$work/crowded" \
        >"$work/pack.log" 2>&1 && [ "$(grep -c '^llava: ' "$work/pack.log")" = 1 ]
}
check "more ranks of pack than cores: one line says so" crowded_pack
finish
