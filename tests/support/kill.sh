# SPDX-License-Identifier: Apache-2.0
# To be sourced, after common.sh, by tests that kill jobs.

ranks_of() { # the processes of a launcher's ranks
    pgrep -P "$1" -x "$(basename "$LLAVA")"
}

# end_of_job LAUNCHER: waits for it, and returns its status. OpenMPI's launcher now and then waits for
# ever for ranks that are gone: then it is killed, 10 s after them.
end_of_job() {
    local gone=0
    while kill -0 "$1" 2>/dev/null && [ $gone -lt 100 ]; do
        gone=$((gone + 1))
        [ -z "$(ranks_of "$1")" ] || gone=0
        sleep 0.1
    done
    kill -9 "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}

# kill_job LAUNCHER rank|all|launcher: gone are launcher and ranks when it returns; 1 if there was
# no rank.
kill_job() {
    local launcher=$1 pids pid
    pids=$(ranks_of "$launcher")
    [ -n "$pids" ] || return 1
    case $2 in
    rank) kill -9 "$(shuf -n 1 --random-source=<(yes $RANDOM) <<<"$pids")" ;;
    all) kill -9 $pids ;;
    launcher) kill -9 "$launcher" ;;
    esac 2>/dev/null
    end_of_job "$launcher"
    for pid in $pids; do
        while [ -e "/proc/$pid" ] && [ "$(cut -d ' ' -f 3 "/proc/$pid/stat" 2>/dev/null)" != Z ]; do
            sleep 0.02
        done
    done
}
