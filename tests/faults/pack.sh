#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Packs that go wrong: a folder in use, leftovers, damage, a wrong folder of images, a full disk,
# flags that do not go together. Nothing is lost, and what is wrong is said early and by name.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"

pack() { # pack FOLDER FLAG...: of the quickstart, but for what the flags have others
    local flag command=(pack --data "$quick/captions.json" --out "$1")
    shift
    local -A preset=([--images]=$quick/photos [--template]=plain
        [--tokenizer]=$LLAVA_TEST_SOURCE/configs/tokenizer)
    for flag in "${!preset[@]}"; do
        [[ " $* " == *" $flag "* ]] || command+=("$flag" "${preset[$flag]}")
    done
    "$LLAVA" "${command[@]}" "$@"
}
same_as_peace() { diff -r "$work/peace" "$1"; }

check "a pack is made in peace" pack "$work/peace"
for ranks in 2 3 4; do
    many() { mpirun -n $ranks "$LLAVA" pack --data "$quick/captions.json" --images "$quick/photos" \
        --template plain --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer" --out "$work/by$ranks"; }
    check "a pack is made by $ranks ranks" many
    check "with the same bytes" same_as_peace "$work/by$ranks"
done
says_complete() { pack "$work/peace" | grep "^pack $work/peace is already complete: 80 samples"; }
check "one that is finished says so" says_complete
check "and stays as it was" same_as_peace "$work/by2"
moved_images() {
    cp -r "$quick/photos" "$work/photos"
    pack "$work/peace" --images "$work/photos" | grep 'already complete'
}
check "the folder of images may have moved" moved_images
check "other options are refused" refused 2 'template is plain, not v1' pack "$work/peace" \
    --template v1

# ---- flags ----
check "--image-size without --store rgb" refused 2 'pack: --image-size is for --store rgb' \
    pack "$work/flags" --image-size 336
check "--aspect without --store rgb" refused 2 'pack: --aspect is for --store rgb' \
    pack "$work/flags" --aspect pad
check "--store rgb without --image-size" refused 2 '--store rgb needs --image-size N' \
    pack "$work/flags" --store rgb
no_bos() {
    mkdir "$work/no_bos" &&
        sed -e '/^"post_processor"/,/^"decoder"/{/^"decoder"/!d}' -e 's/"<s>"/"<nothing>"/' \
            "$LLAVA_TEST_SOURCE/configs/tokenizer/tokenizer.json" >"$work/no_bos/tokenizer.json"
    "$LLAVA" pack --data "$quick/questions.json" --images "$quick/photos" --template llama_2 \
        --tokenizer "$work/no_bos" --out "$work/flags"
}
check "a tokenizer without the BOS that the template writes is refused before any work" refused 2 \
    'template llama_2: the tokenizer has no BOS piece' no_bos
check "none of them made a folder" test ! -e "$work/flags"
mistyped() { LLAVA_FAIL_POINT=pack.shrad=kill pack "$work/mistyped"; }
check "a fail point that is not there" refused 2 'LLAVA_FAIL_POINT=pack.shrad=kill: expected' mistyped

# ---- the folder ----
in_use() {
    mkdir -p "$work/used"
    (
        flock -x 9 && echo "another, process 17" >&9 && touch "$work/locked" && exec sleep 1000
    ) 9>"$work/used/lock" &
    holder=$!
    until [ -e "$work/locked" ]; do sleep 0.05; done
    refused 2 "$work/used: in use by another run \(another, process 17\)" pack "$work/used"
    local result=$?
    kill -9 $holder
    wait $holder
    return $result
} 2>/dev/null
check "a folder in use is refused with who uses it" in_use
linked_lock() {
    mkdir -p "$work/linked" && echo mine >"$work/precious" && ln -s ../precious "$work/linked/lock"
    refused 2 "$work/linked/lock: a symbolic link" pack "$work/linked" &&
        grep -x mine "$work/precious"
}
check "a lock that is a link to another file is refused, and that file stays" linked_lock
leftovers() {
    cp -r "$work/peace" "$work/left" && rm "$work/left/manifest.json" "$work/left/images-00001.h5" &&
        echo half >"$work/left/images-00001.h5.tmp-host-1" && echo "dead, process 7" >"$work/left/lock" &&
        echo half >"$work/left/manifest.json.tmp77" && echo half >"$work/left/stop.tmp" &&
        mkdir "$work/left/tokenizer.tmp" && pack "$work/left" && same_as_peace "$work/left"
}
check "what killed runs leave is no obstacle and goes" leftovers
not_ours() {
    mkdir "$work/notes" && echo mine >"$work/notes/mine.tmp" && pack "$work/notes" &&
        grep mine "$work/notes/mine.tmp"
}
check "what is not of a pack stays" not_ours

not_our_tokenizer() { # a folder of that name, with something else in it
    mkdir -p "$work/model/tokenizer" &&
        cp "$LLAVA_TEST_SOURCE"/configs/tokenizer/* "$work/model/tokenizer/" &&
        echo mine >"$work/model/tokenizer/vocab.txt" &&
        refused 2 'holds a folder "tokenizer" that is not this pack.s.*vocab.txt is not of a pack' \
            pack "$work/model" && grep mine "$work/model/tokenizer/vocab.txt"
}
check "somebody else's folder \"tokenizer\" is not replaced" not_our_tokenizer

# ---- damage ----
mended() { # mended FILE OFFSET: found and written again
    rm -rf "$work/damaged"
    cp -r "$work/peace" "$work/damaged" && rm "$work/damaged/manifest.json" &&
        flip "$work/damaged/$1" "$2" && pack "$work/damaged" && same_as_peace "$work/damaged"
}
size=$(stat -c %s "$work/peace/images-00000.h5")
for offset in 3 400 513 600 $((size / 2)) $((size - 1)); do
    check "byte $offset of a shard that was kept is mended" mended images-00000.h5 "$offset"
done
cut_shard() {
    rm -rf "$work/damaged"
    cp -r "$work/peace" "$work/damaged" && rm "$work/damaged/manifest.json" &&
        truncate -s -1 "$work/damaged/samples-00000.h5" && pack "$work/damaged" &&
        same_as_peace "$work/damaged"
}
check "a shard cut short is written again" cut_shard

# ---- rejects ----
mkdir "$work/empty"
wrong_images() { pack "$work/wrong" --images "$work/empty"; }
check "a wrong folder of images fails with the reason" refused 1 \
    '80 of 80 records were rejected, most often for "No such file or directory" \(80; the first is record 0: .*empty/[0-9]*.jpg: No such file or directory\): more than the allowed fraction \(--max-rejects 0.01\); see .*rejects.jsonl' \
    wrong_images
check "and lists them" grep -q \
    '"image":"[0-9]*.jpg","reason":".*/empty/[0-9]*.jpg: No such file' "$work/wrong/rejects.jsonl"
right_images() { pack "$work/wrong" && same_as_peace "$work/wrong"; }
check "with the right one the same pack is finished" right_images
missing_one() {
    local first
    first=$(ls "$work/photos" | head -1)
    rm "$work/photos/$first"
    mpirun -n 2 "$LLAVA" pack --data "$quick/captions.json" --images "$work/photos" --template plain \
        --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer" --out "$work/some" --max-rejects 0.5 \
        >"$work/some.log" || return 1
    cat "$work/some.log"
    grep -qE '^5 of 80 records were rejected: see .*/some/rejects.jsonl$' "$work/some.log" &&
        grep -qE '^  5 times: No such file or directory$' "$work/some.log" &&
        [ "$(wc -l <"$work/some/rejects.jsonl")" = 5 ]
}
check "rejects are summed up by their reasons" missing_one
check "a pack without a sample is none" refused 1 'nothing is left to train on; see' pack \
    "$work/forgiven" --images "$work/empty" --max-rejects 1
finished_before() {
    refused 1 'rejects.jsonl; the pack was finished before: to pack again, remove it first' \
        pack "$work/some" --max-rejects 0 --images "$quick/photos"
}
check "what was rejected by a pack that is finished is not tried again, and that is said" \
    finished_before
absolute() {
    sed -e "s#\"image\": *\"#&$work/photos/#" "$quick/captions.json" >"$work/absolute.json" &&
        "$LLAVA" pack --data "$work/absolute.json" --images "$1" --template plain --max-rejects 0.5 \
            --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer" --out "$work/absolute$2"
}
check "an image's name from the root on is taken within the folder" absolute "$work/photos/" 1
check "and within /" absolute / 2
check "but not outside of it" refused 1 'the name leads out of the folder of images' absolute \
    "$work/empty" 3
strict() { mpirun -n 3 "$LLAVA" pack --data "$quick/captions.json" --images "$work/photos" \
    --template plain --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer" --out "$work/strict" \
    --strict; }
check "--strict on three ranks stops with one message" refused 1 \
    'record [0-9]+, image ".*\.jpg": .*No such file' strict

# ---- a full disk ----
full_disk() {
    # root in there is somebody else outside: OpenMPI needs a folder of its own
    TMPDIR=$work unshare --map-root-user --mount bash -c '
        small=$1
        mount -t tmpfs -o size=$3 none "$2/disk" || exit 99
        shift 3
        "$@" --out "$small/pack" 2>"$small.log"
        status=$?
        cat "$small.log"
        test ! -e "$small/pack/manifest.json" || exit 98
        ! ls "$small/pack" | grep -q tmp || exit 97
        mount -o remount,size=64m "$small" || exit 96
        "$@" --out "$small/pack" || exit 95
        diff -r "$small/pack" "$small/../peace" || exit 94
        exit $status' full "$work/disk" "$work" "$1" "$LLAVA" pack --data "$quick/captions.json" \
        --images "$quick/photos" --template plain \
        --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer"
}
mkdir -p "$work/disk"
if unshare --map-root-user --mount true 2>/dev/null; then
    for kb in 16 60 180 300 520 560; do
        check "a disk of ${kb} kB: a message, nothing half written, and finished with room again" \
            refused 1 "^llava pack: $work/disk/pack/.*: .*[Nn]o space left on device" full_disk ${kb}k
    done
else
    skip "a full disk" "no namespaces of one's own here"
fi
finish
