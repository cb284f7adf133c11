#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What llava bench measures, llava train --dry-run takes.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"

check "inputs are made" make_inputs
write_config "$work/stage2.json" 2

# The flags on the last line, in $flags.
flags_of() {
    cat "$work/bench"
    read -ra flags <<<"$(sed -n '$s/^for llava train --dry-run --ranks N: //p' "$work/bench")"
    [ "${#flags[@]}" -gt 0 ]
}

comm() { # comm RANKS
    mpirun -n "$1" "$LLAVA" bench comm --message-mb 0.5 --parameters 2000000 >"$work/bench" && flags_of &&
        grep -qE 'ranks of a host +[0-9.]+ us +[0-9.]+ GB/s' "$work/bench" &&
        grep -qE 'exchange of 2 million .* gradients in f32 [0-9.]+ s, new weights' "$work/bench" &&
        "$LLAVA" train "$work/stage2.json" --dry-run --ranks 2 --ranks-per-node 2 --gflops 10 \
            "${flags[@]}"
}
for ranks in 2 3; do
    check "messages of $ranks ranks are measured once, and the dry run takes the result" comm $ranks
done

compute() { # compute COMMAND...
    "$@" "$LLAVA" bench compute --config "$work/stage2.json" >"$work/bench" && flags_of &&
        [ "$(grep -c 'as it trains' "$work/bench")" -eq 1 ] &&
        "$LLAVA" train "$work/stage2.json" --dry-run --ranks 1 "${flags[@]}" >"$work/plan" &&
        ! grep 'measured here' "$work/plan"
}
check "what one rank computes is measured, and the dry run takes the result" compute env
check "what two ranks compute together is measured" compute mpirun -n 2

check "without a config there is the machine alone" "$LLAVA" bench compute
check "one rank has nobody to talk to" refused 2 'mpirun -n 2 llava bench' "$LLAVA" bench comm
check "what to measure must be known" refused 2 'expected comm or compute, found "disk"' "$LLAVA" \
    bench disk
check "what to measure must be said" refused 2 'comm\|compute is missing' "$LLAVA" bench
check "buckets of less than an element are refused" refused 2 '--bucket-mb: 1e-07, expected 0 or at' \
    mpirun -n 2 "$LLAVA" bench comm --bucket-mb 1e-7
few_parameters() { # their exchange is all latency: no measure of a bandwidth
    mpirun -n 2 "$LLAVA" bench comm --message-mb 0.5 --parameters 1 >"$work/bench" && flags_of &&
        awk '/--local-gb-s/ { sub(/.*--local-gb-s /, ""); exit !($1 > 0.05) }' "$work/bench"
}
check "an exchange of one parameter is not taken for the bandwidth of a host" few_parameters
check "--config is for compute" refused 2 'is for compute' mpirun -n 2 "$LLAVA" bench comm \
    --config "$work/stage2.json"
finish
