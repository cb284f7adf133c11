#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Two ranks that print at once into one pipe or file: every message is one write, so every line is
# whole. A launcher keeps what is written at once together, up to the size of its buffer.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"
N=100

# whole FILE: each rank's lines, all of them, each from its beginning to its end.
whole() {
    local rank pattern n
    for rank in 0 1; do
        for pattern in "llava messages: [^ ]* of rank $rank ends" \
            "llava: rank $rank on [^ :]*: [^ ]* ends" "llava: [^ ]* of rank $rank ends" \
            "[^ ]* by rank $rank ends"; do
            n=$(grep -acx -- "$pattern" "$1")
            if [ "$n" -ne $N ]; then
                echo "$n lines are /$pattern/, not $N"
                return 1
            fi
        done
    done
    [ "$(wc -l <"$1")" -eq $((8 * N)) ]
}

through_a_pipe() { # what is written at once is kept together up to 4096 bytes
    mkfifo "$work/pipe"
    cat "$work/pipe" >"$work/piped" &
    mpirun -n 2 sh -c 'exec "$@" >"$0" 2>&1' "$work/pipe" "$MESSAGES" $N 1500 && wait $! &&
        whole "$work/piped"
}
check "errors, warnings and lines of output come whole through a pipe" through_a_pipe

into_a_file() {
    mpirun -n 2 sh -c 'exec "$@" >>"$0" 2>&1' "$work/file" "$MESSAGES" $N 20000 && whole "$work/file"
}
check "so do messages that are longer than any buffer, in a file" into_a_file

one_door() {
    ! grep -rnE 'stderr|perror|STDERR_FILENO' "$LLAVA_TEST_SOURCE"/{autograd,optim,data,train,tools} \
        --include='*.[ch]' | grep -vE '^[^:]*:[0-9]+:( \*|.*/\*|.*lv_message_write\(STDERR_FILENO,)'
}
check "nothing else writes to standard error" one_door
finish
