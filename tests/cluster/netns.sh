#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Several hosts over TCP, and the link of one of them is cut, or slowed to a crawl, in the middle of
# a run: within the time that was set the job says what stands still and its ranks end, the launcher
# as soon as it reaches all hosts again; nothing is left running, and the run goes on to the end of
# one that was left alone.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"
env_sh=$LLAVA_TEST_SOURCE/tests/cluster/netns_env.sh
export LV_NETNS=lvt$$
STEPS=100
LIMIT_S=6   # comm.stall_minutes 0.1
BOUND_S=60  # from the cut to the end of the last process

if [ "$(id -u)" -ne 0 ] || ! command -v ip tc mpirun >/dev/null; then
    skip "ranks on several hosts" "needs root, ip, tc and OpenMPI's mpirun"
    finish
    exit
fi
if ! "$env_sh" up 3 >"$work/up.log" 2>&1; then
    skip "ranks on several hosts" "no network namespaces here: $(tail -n 1 "$work/up.log")"
    finish
    exit
fi
trap '"$env_sh" down; rm -rf "$work"' EXIT

check "inputs are made" make_inputs
write_config "$work/config.json" 2

train() { # train DIR OPTION...: one rank a host
    local dir=$1
    shift
    "$env_sh" run "$LLAVA" train "$work/config.json" --set run.dir="$work/$dir" \
        --set train.max_steps=$STEPS --set comm.stall_minutes=0.1 --set comm.on_stall=stop "$@"
}
hosts_are_counted() {
    refused 0 '^3 hosts, 3 ranks of 1 thread' train whole
}
check "a run on three hosts, left alone" hosts_are_counted

# disturbed DIR COMMAND...: does it at step 30, and waits for the end.
disturbed() {
    local dir=$1 launcher status begin
    shift
    train "$dir" >"$work/$dir.log" 2>&1 &
    launcher=$!
    for _ in $(seq $((20 * BOUND_S))); do
        grep -q '"step":30,' "$work/$dir/metrics.jsonl" 2>/dev/null && break
        sleep 0.05
    done
    grep -q '"step":30,' "$work/$dir/metrics.jsonl" && "$@" || return 1
    begin=$SECONDS
    while kill -0 "$launcher" 2>/dev/null && [ $((SECONDS - begin)) -lt $BOUND_S ]; do
        sleep 0.1
    done
    echo "mpirun took $((SECONDS - begin)) s, with a limit of $LIMIT_S s"
    cat "$work/$dir.log"
    if kill -0 "$launcher" 2>/dev/null; then
        echo "the job hangs"
        "$env_sh" pids | xargs -r kill -9
        return 1
    fi
    wait "$launcher"
    status=$?
    echo "(exit status $status)"
    [ "$status" -ne 0 ] && ! grep -q "\"step\":$STEPS," "$work/$dir/metrics.jsonl" || return 1
    gone ranks
}

# gone ranks|processes: none of them runs on any host, soon.
gone() {
    local pid left
    for _ in $(seq $((10 * BOUND_S))); do
        left=$("$env_sh" pids)
        if [ "$1" = ranks ]; then
            left=$(for pid in $left; do grep -sqx llava "/proc/$pid/comm" && echo "$pid"; done)
        fi
        [ -n "$left" ] || return 0
        sleep 0.1
    done
    echo "left running:"
    ps -o pid,args -p "$(paste -sd, <<<"$left")"
    kill -9 $left
    return 1
}

told() { # told DIR PATTERN: once, as one rank's words
    cat "$work/$1.log"
    [ "$(grep -cE "^llava:   $2" "$work/$1.log")" -eq 1 ] &&
        [ "$(grep -cE '^llava: rank [0-9] on node[0-9]: has waited [0-9]+ seconds for other ranks' \
            "$work/$1.log")" -eq 1 ]
}

goes_on() {
    refused 0 "going on from .*/step-0" train "$1"
}

same() { # the same bits as those of the run that was left alone
    "$METRICS_DIFF" "$work/whole/metrics.jsonl" "$work/$1/metrics.jsonl" loss 0 &&
        "$METRICS_DIFF" "$work/whole/metrics.jsonl" "$work/$1/metrics.jsonl" samples_hash 0 &&
        cmp "$work/whole/model/model.safetensors" "$work/$1/model/model.safetensors"
}

network='nobody: all 3 ranks wait for each other: the network between their hosts.*node1, node2, node3'
cut_until_told() {
    local told=0
    "$env_sh" cut node2
    wait_for 'rank 0 on node1: ends the job' "$work/cut.log" "$BOUND_S" && gone ranks || told=1
    "$env_sh" heal node2
    return $told
}
check "the link of a host is cut: all ranks end; the launcher too when the link is back" \
    disturbed cut cut_until_told
check "cut: it is said what stands still" told cut "$network"
check "cut: nothing is left running" gone processes
check "cut: with the link restored the run goes on" goes_on cut
check "cut: and ends as if nothing had been" same cut

check "the link of a host is slowed to a crawl: the job ends on all hosts" \
    disturbed crawl "$env_sh" shape 8kbit node2
check "crawl: it is said what stands still" told crawl "$network"
"$env_sh" shape none node2
check "crawl: nothing is left running" gone processes
check "crawl: with the link restored the run goes on" goes_on crawl
check "crawl: and ends as if nothing had been" same crawl

stop_rank() {
    local pid
    for pid in $(ip netns pids "$LV_NETNS-node3"); do
        ! grep -qx llava "/proc/$pid/comm" || kill -STOP "$pid"
    done
}
check "the rank of a host is stopped: the job ends on all hosts" disturbed stopped stop_rank
check "stopped: it is named" told stopped 'rank 2 on node3: no sign of life any more'
check "stopped: nothing is left running" gone processes
check "stopped: the run goes on" goes_on stopped
check "stopped: and ends as if nothing had been" same stopped
finish
