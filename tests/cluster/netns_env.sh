#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Several hosts on one machine, for tests and measurements: network namespaces node1, node2, ... on a
# switch, each with a host name of its own, so that ranks on different ones talk over real TCP. Needs
# root, iproute2 and OpenMPI.
#
#   netns_env.sh up N                   make node1 .. nodeN (what was left of an earlier use goes)
#   netns_env.sh run [-n RANKS] [mpirun's options] COMMAND...
#                                       mpirun on node1 over all nodes; RANKS (default: one a node)
#                                       are dealt out to the nodes in turn
#   netns_env.sh shape RATE|none [NODE...]
#                                       limit each direction of the links of these nodes (default:
#                                       of all) with tc tbf to RATE: 2gbit, 100mbit, 8kbit
#   netns_env.sh cut NODE               its packets vanish without a word, as on a dead switch port
#   netns_env.sh heal NODE              the link is whole again
#   netns_env.sh exec NODE COMMAND...   run there
#   netns_env.sh pids                   all processes that run on the nodes
#   netns_env.sh down                   kill what runs on the nodes, and remove them
#
# LV_NETNS (default lv) begins the names of all that is made: two sets with different names can stand
# side by side. For example, the step time of two ranks of one thread over a link of 2 Gbit/s:
#   netns_env.sh up 2 && netns_env.sh shape 2gbit
#   OMP_NUM_THREADS=1 netns_env.sh run -n 2 build/llava train config.json
#   netns_env.sh down
set -euo pipefail
self=$(readlink -f "$0")
prefix=${LV_NETNS:-lv}
switch=$prefix-switch

usage() {
    sed -n '7,/^set/s/^# \{0,1\}//p' "$self" >&2
    exit 2
}

nodes() { # node1 node2 ..., as far as they are there
    ip netns list | awk -v prefix="$prefix-" 'index($1, prefix "node") == 1 {
        print substr($1, length(prefix) + 1) }' | sort -V
}

# A port of the switch bears the name of its node.
make_node() { # make_node NUMBER OF
    local space=$prefix-node$1 i
    ip netns add "$space"
    ip link add eth0 netns "$space" type veth peer name "node$1" netns "$switch"
    ip -n "$switch" link set "node$1" master bridge up
    ip -n "$space" link set lo up
    ip -n "$space" link set eth0 up
    ip -n "$space" address add "10.77.0.$1/24" dev eth0
    mkdir -p "/etc/netns/$space" # what ip netns exec puts over /etc
    : >"/etc/netns/$space/resolv.conf"
    {
        echo "127.0.0.1 localhost"
        for i in $(seq "$2"); do
            echo "10.77.0.$i node$i"
        done
    } >"/etc/netns/$space/hosts"
}

up() {
    local i
    down
    ip netns add "$switch"
    ip -n "$switch" link add bridge type bridge
    ip -n "$switch" link set bridge up
    for i in $(seq "$1"); do
        make_node "$i" "$1"
    done
}

pids() {
    local node
    for node in $(nodes); do
        ip netns pids "$prefix-$node"
    done
}

down() {
    local node left
    left=$(pids)
    [ -z "$left" ] || kill -9 $left 2>/dev/null || true
    for node in $(nodes); do
        ip netns delete "$prefix-$node"
        rm -rf "/etc/netns/$prefix-$node"
    done
    ! ip netns list | grep -q "^$switch\b" || ip netns delete "$switch"
}

on() { # on NODE COMMAND...
    exec ip netns exec "$prefix-$1" unshare --uts sh -c 'hostname "$1"; shift; exec "$@"' sh "$@"
}

run() {
    local ranks="" list=() node
    if [ "${1:-}" = -n ]; then
        ranks=$2
        shift 2
    fi
    list=($(nodes))
    ranks=${ranks:-${#list[@]}}
    node=$((1 + (ranks - 1) / ${#list[@]})) # slots on each
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    on node1 mpirun --mca plm rsh --mca plm_rsh_agent "$self agent" --mca plm_rsh_no_tree_spawn 1 \
        --mca oob_tcp_if_include eth0 --mca btl_tcp_if_include eth0 \
        --mca btl self,vader,tcp --mca btl_vader_single_copy_mechanism none \
        --host "$(printf "%s:$node," "${list[@]}" | sed 's/,$//')" --map-by node --bind-to none \
        -n "$ranks" "$@"
}

# OpenMPI starts its daemons by: agent NODE COMMAND..., a text for the shell of the other host.
agent() {
    local node=$1
    shift
    on "$node" sh -c "$*"
}

# Bytes that tbf may send at once: what comes in a tick of the kernel, and a packet at the least.
burst_of() {
    awk -v rate="$1" 'BEGIN {
        bits = rate + 0
        if (rate ~ /kbit$/) bits *= 1e3
        if (rate ~ /mbit$/) bits *= 1e6
        if (rate ~ /gbit$/) bits *= 1e9
        bytes = int(bits / 8 / 250)
        print (bytes > 1600 ? bytes : 1600) }'
}

limit() { # limit SPACE DEVICE RATE|none
    tc -n "$1" qdisc delete dev "$2" root 2>/dev/null || true
    [ "$3" = none ] ||
        tc -n "$1" qdisc add dev "$2" root tbf rate "$3" burst "$(burst_of "$3")" latency 50ms
}

shape() {
    local rate=$1 node
    shift
    [ $# -gt 0 ] || set -- $(nodes)
    for node in "$@"; do
        limit "$prefix-$node" eth0 "$rate"
        limit "$switch" "$node" "$rate"
    done
}

needs() { # needs N ARGUMENT...: that many at least
    [ $(($# - 1)) -ge "$1" ] || usage
}

command=${1:-}
[ $# -eq 0 ] || shift
case $command in
up) needs 1 "$@" && up "$1" ;;
down) down ;;
pids) pids ;;
cut) needs 1 "$@" && ip -n "$switch" link set "$1" nomaster ;;
heal) needs 1 "$@" && ip -n "$switch" link set "$1" master bridge ;;
shape) needs 1 "$@" && shape "$@" ;;
run) needs 1 "$@" && run "$@" ;;
exec) needs 2 "$@" && on "$@" ;;
agent) needs 2 "$@" && agent "$@" ;;
*) usage ;;
esac
