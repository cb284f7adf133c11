#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A pack that is killed, or whose disk fails, at any named point of its life: the next call with the
# same arguments finishes it, on whatever number of ranks, keeps the shards that were there, and the
# bytes are those of a pack that was left in peace.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"
export OMPI_MCA_orte_abort_print_stack=0

points=$(sed -n 's/^ *X("\(pack\.[a-z.]*\)".*/\1/p' "$LLAVA_TEST_SOURCE/data/base/fail_point.h")

pack() { # pack FOLDER RANKS
    local run=()
    [ "$2" = 1 ] || run=(mpirun -n "$2")
    "${run[@]}" "$LLAVA" pack --data "$quick/captions.json" --images "$quick/photos" \
        --template plain --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer" --out "$1"
}

sums() { # every file of a folder, with its digest
    (cd "$1" && find . -type f -exec sha256sum {} + | sort -k 2)
}

kept() { # the shards that are there: name, inode, time
    (cd "$1" 2>/dev/null && stat -c '%n %i %Y.%y' ./*.h5 2>/dev/null)
}

finishes() { # finishes FOLDER RANKS: keeping what is there, with the bytes of a pack left in peace
    local before now
    before=$(kept "$1")
    pack "$1" "$2" || return 1
    now=$(kept "$1")
    while read -r line; do
        [ -z "$line" ] || grep -qxF -- "$line" <<<"$now" || {
            echo "written again: $line"
            return 1
        }
    done <<<"$before"
    diff <(sums "$work/peace") <(sums "$1")
}

killed() { # killed FOLDER RANKS POINT: the call does not end well, and leaves something to do
    local log=$work/killed.log
    LLAVA_FAIL_POINT=$3=kill pack "$1" "$2" >"$log" 2>&1 && {
        echo "it was not killed"
        return 1
    }
    [ "$3" = pack.manifest.written ] || [ ! -e "$1/manifest.json" ]
}

fails() { # fails FOLDER POINT HOW PATTERN
    local how=$3
    failing() { LLAVA_FAIL_POINT=$2=$how pack "$1" 1; }
    refused 1 "^llava pack: $1.*: fail point $2: $4" failing "$1" "$2"
}

check "a pack is made in peace" pack "$work/peace" 1
check "the list of points is read" test "$(wc -l <<<"$points")" -ge 12
for point in $points; do
    for ranks in 1 2; do
        dir=$work/killed-$ranks
        rm -rf "$dir"
        check "$point: killed on $ranks" killed "$dir" $ranks "$point"
        check "$point: killed on $ranks and finished" finishes "$dir" $((3 - ranks))
    done
    dir=$work/failed
    rm -rf "$dir"
    check "$point: an I/O error is a message with the file" fails "$dir" "$point" error \
        'Input/output error'
    [ "$point" = pack.manifest.written ] || # then nothing is left to fail
        check "$point: so is a full disk" fails "$dir" "$point" full 'No space left on device'
    check "$point: failed and finished" finishes "$dir" 1
done
check "the third dataset of the second shard: killed" killed "$work/later" 1 pack.shard.dataset:13
check "and finished on three ranks" finishes "$work/later" 3
finish
