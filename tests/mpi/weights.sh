#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Frozen weights once a machine: copies in memory that ranks share give the same bits as the mapped
# files, end with their processes, and fail on all ranks together; and ranks whose files differ are
# told so by host.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"

# ---- shared memory ----
# shares RANKS BYTES GROUP... -- LINE...: the ranks' lines, in their order
shares() {
    local ranks=$1 lines
    shift
    mpirun -n "$ranks" "$SHARED_COPY" "${@:1:ranks + 1}" | sort >"$work/lines" || return 1
    cat "$work/lines"
    lines=$(printf '%s\n' "${@:ranks + 3}")
    [ "$(cat "$work/lines")" = "$lines" ]
}
check "one rank has memory of its own" shares 1 100000 5 -- "rank 0: part 0 of 1, 1 on this host"
check "two ranks share memory" shares 2 5000001 0 0 -- "rank 0: part 0 of 2, 1 on this host" \
    "rank 1: part 1 of 2, 1 on this host"
check "groups share memory each for themselves" shares 4 5000001 7 2 2 7 -- \
    "rank 0: part 0 of 2, 2 on this host" "rank 1: part 0 of 2, 2 on this host" \
    "rank 2: part 1 of 2, 2 on this host" "rank 3: part 1 of 2, 2 on this host"
check "a group may be a rank alone" shares 3 1 1 0 1 -- "rank 0: part 0 of 2, 2 on this host" \
    "rank 1: part 0 of 1, 2 on this host" "rank 2: part 1 of 2, 2 on this host"
too_much() {
    mpirun -n 2 "$SHARED_COPY" 1000000000000000 0 1 >"$work/log" 2>&1
    local status=$?
    cat "$work/log"
    [ "$status" -eq 1 ] &&
        [ "$(grep -c 'rank [01]: 2 x 1000.0 TB, but this host has .*left' "$work/log")" -eq 2 ]
}
check "more than the host has is refused on all ranks" too_much

# As in a container for each rank: the other's process is not there, or it is another by that number.
in_another_namespace() {
    mpirun -n 1 "$SHARED_COPY" 1000 0 0 : \
        -n 1 unshare -pf --mount-proc "$SHARED_COPY" 1000 0 0 >"$work/log" 2>&1
    local status=$?
    cat "$work/log"
    [ "$status" -eq 1 ] && grep -qE 'rank 1 on [^:]*: memory that another rank of this host shares: /proc/[0-9]+/fd/[0-9]+.*one PID namespace' "$work/log"
}
if unshare -pf --mount-proc true 2>/dev/null; then
    check "a rank in another PID namespace is refused on all ranks" in_another_namespace
else
    skip "a rank in another PID namespace is refused on all ranks" "no PID namespaces here"
fi

# ---- training ----
check "inputs are made" make_inputs
for part in vision_tower language_model; do
    check "$part in bf16 is made" "$LLAVA" convert --model "$work/init/$part" --dtype bf16 \
        --out "$work/init/$part-bf16"
done
write_config "$work/stage1.json" 1
write_config "$work/stage2.json" 2
converted=(--set model.vision_tower="$work/init/vision_tower-bf16"
    --set model.language_model="$work/init/language_model-bf16")

# as_mapped STAGE RANKS NAME PLACE OPTION...: the copy trains as the mapped files do, bit for bit
as_mapped() {
    local stage=$1 ranks=$2 name=$3 place key
    for place in map "$4"; do
        run_stage "$name-$place" "$ranks" --set model.weights="$place" --set train.max_steps=8 \
            "${@:5}" >"$work/$name-$place.log" 2>&1 || { cat "$work/$name-$place.log"; return 1; }
    done
    for key in loss grad_norm samples_hash; do
        "$METRICS_DIFF" "$work/s$stage-$name-map/metrics.jsonl" \
            "$work/s$stage-$name-$4/metrics.jsonl" $key 0 || return 1
    done
}
for stage in 1 2; do
    check "stage $stage in f32: a copy gives the same bits" as_mapped $stage 2 f32 copy-per-node
    check "stage $stage in bf16, files in bf16: a copy gives the same bits" as_mapped $stage 3 \
        bf16 copy-per-node --set train.precision=bf16 "${converted[@]}"
    check "stage $stage in bf16, files in f32: a copy gives the same bits" as_mapped $stage 3 \
        narrowed copy-per-socket --set train.precision=bf16
    check "stage $stage: a rank alone has its copy too" as_mapped $stage 1 alone copy-per-socket \
        --set train.precision=bf16
done
shared_in() { # of a rank in the last step, beside MPI's own
    sed -n '$s/.*"rss_shmem_bytes":\([0-9]*\).*/\1/p' "$work/$1/metrics.jsonl"
}
copies_are_counted() {
    local copied mapped weights
    copied=$(shared_in s1-f32-copy-per-node) mapped=$(shared_in s1-f32-map)
    weights=$(cat "$work"/init/{vision_tower,language_model}/model.safetensors | wc -c)
    echo "$copied with copies, $mapped without, weights of $weights bytes"
    [ $((copied - mapped)) -gt $((weights / 2)) ]
}
check "rss_shmem_bytes counts the copies" copies_are_counted
same_output() {
    cmp "$work/s2-bf16-map/model/model.safetensors" \
        "$work/s2-bf16-copy-per-node/model/model.safetensors" &&
        cmp "$work/s2-narrowed-map/model/model.safetensors" \
            "$work/s2-narrowed-copy-per-socket/model/model.safetensors"
}
check "the models that are written are the same, frozen weights as in their files" same_output
resumed_mapped() {
    run_stage f32-copy-per-node 2 --set train.max_steps=10 --set model.weights=map
}
stage=2
check "a run with a copy goes on with mapped files" resumed_mapped

only_when_needed() { # said only where there are several sockets
    local sockets
    sockets=$(lscpu --online --parse=socket | grep -v '^#' | sort -u | wc -l)
    cat "$work/narrowed-copy-per-socket.log"
    [ "$sockets" -gt 1 ] || ! grep -q 'weights copy-per-socket' "$work/narrowed-copy-per-socket.log"
}
check "on one socket copy-per-socket has nothing to say" only_when_needed

# ---- plans ----
planned() { # planned PLACE STAGE LINE PATTERN OPTION...
    "$LLAVA" train "$work/stage$2.json" --dry-run --set model.weights="$1" "${@:5}" >"$work/plan" ||
        return 1
    cat "$work/plan"
    grep -E "^  $3 +$4" "$work/plan"
}
check "a plan for map has no line for copies" eval \
    '! planned map 1 "frozen weights, copied" "" && grep -q "frozen weights, mapped" "$work/plan"'
check "a plan says what is copied, once a node" planned copy-per-node 1 'frozen weights, copied' \
    '[0-9.]+ [kM]B  one copy for the ranks of a node'
check "a plan says what is copied, once a socket" planned copy-per-socket 1 \
    'frozen weights, copied' '[0-9.]+ [kM]B  one copy for the ranks of a socket'
check "then nothing is mapped" grep -qE '^  frozen weights, mapped +0 bytes' "$work/plan"
check "nor converted by each rank" planned copy-per-node 1 'frozen weights, converted' \
    '0 bytes' --set train.precision=bf16

# ---- memory while a run goes on, and after it was killed ----
begin_job() { # begin_job DIR OPTION...: $launcher, and $ranks: the processes of its ranks
    mpirun -n 2 "$LLAVA" train "$work/stage1.json" --set run.dir="$work/$1" \
        --set train.max_steps=100000 --set log.every_steps=1000 "${@:2}" >"$work/$1.log" 2>&1 &
    launcher=$!
    wait_for '"step":2,' "$work/$1/metrics.jsonl" 30
    cat "$work/$1.log"
    mapfile -t ranks < <(ranks_in "$1")
}
memory_of() { # memory_of PID: the device and inode of what it shares and cannot write
    awk '/ r--s .*memfd:llava-frozen-weights \(deleted\)/ { print $4, $5 }' "/proc/$1/maps"
}
one_memory_that_goes() {
    local memory same=1
    begin_job killed --set model.weights=copy-per-node
    if [ ${#ranks[@]} -eq 2 ]; then
        grep -h memfd "/proc/${ranks[0]}/maps" "/proc/${ranks[1]}/maps"
        memory=$(memory_of "${ranks[0]}")
        [ -n "$memory" ] && [ "$memory" = "$(memory_of "${ranks[1]}")" ]
        same=$?
    fi
    kill -9 "${ranks[@]}" "$launcher"
    wait "$launcher"
    for _ in $(seq 100); do
        grep -qs " ${memory:-none} .*memfd:llava" /proc/[0-9]*/maps || return $same
        sleep 0.1
    done
    echo "it is still there"
    return 1
}
check "two ranks have one read-only memory without a name; it goes with a kill -9 of all" \
    one_memory_that_goes

files_are_cut() { # in the middle of a run that has copied them
    local last='"step":400,'
    cp -r "$work/init" "$work/cut"
    begin_job through --set model.weights=copy-per-node --set train.max_steps=400 \
        --set model.vision_tower="$work/cut/vision_tower" \
        --set model.language_model="$work/cut/language_model"
    truncate -s 5000 "$work"/cut/*/model.safetensors
    grep "$last" "$work/through/metrics.jsonl" && return 1 # too late
    wait "$launcher" # the output is written from the files
    tail -n 5 "$work/through.log"
    grep "$last" "$work/through/metrics.jsonl"
}
check "the steps of a run that has copies do not miss the files" files_are_cut

# ---- failures ----
# One of two ranks fails while it copies: both end, and the failure is told once.
fails_together() {
    refused 1 'llava train: rank 1 on [^:]*: fail point weights.piece' mpirun -n 1 "$LLAVA" train \
        "$work/stage1.json" --set run.dir="$work/failed" --set model.weights=copy-per-node : \
        -n 1 env LLAVA_FAIL_POINT=weights.piece:2=error "$LLAVA" train "$work/stage1.json" \
        --set run.dir="$work/failed" --set model.weights=copy-per-node
}
check "a rank that cannot read ends the job with its message" fails_together

# ---- ranks that agree ----
# Two directories with the same names: a rank works in each, and finds other files by the same path.
mkdir -p "$work/here" "$work/there"
for dir in here there; do
    cp -r "$work/init" "$work/captions" "$work/questions" "$work/$dir/"
done
other_seed() {
    "$LLAVA" init --shape "$LLAVA_TEST_SOURCE/tests/support/shape.json" --seed 4 \
        --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer" --out "$work/other"
}
check "a model with other weights is made" other_seed
host=$(hostname)

# in_both STAGE: on two ranks, each with the files of its directory.
in_both() {
    local command=("$LLAVA" train "$work/stage$1.json" --set run.dir="$work/both"
        --set model.vision_tower=/proc/self/cwd/init/vision_tower
        --set model.language_model=/proc/self/cwd/init/language_model
        --set "data.packs=[\"/proc/self/cwd/$([ "$1" = 1 ] && echo captions || echo questions)\"]"
        --set train.max_steps=2)
    rm -rf "$work/both"
    mpirun -n 1 -wdir "$work/here" "${command[@]}" : -n 1 -wdir "$work/there" "${command[@]}"
}
differs() { # differs STAGE PATTERN
    refused 1 "llava train: $2 are not the same on all ranks: on $host \(rank 1\) they are not those of rank 0 on $host;" \
        in_both "$1"
}
for stage in 1 2; do
    check "stage $stage: copies of the files are as good as the files" in_both $stage
done
swap() { # swap NAME: there, the other model's
    mv "$work/there/init/$1" "$work/there/$1.kept" && cp -r "$work/other/$1" "$work/there/init/$1"
}
swap_back() {
    rm -r "$work/there/init/$1" && mv "$work/there/$1.kept" "$work/there/init/$1"
}
swap language_model
check "another frozen language model: the host is named" differs 1 'the models \(.*\)'
check "another language model to begin with: the host is named" differs 2 'the trainable weights'
swap_back language_model
swap vision_tower
check "another frozen tower: the host is named" differs 2 'the models \(.*\)'
swap_back vision_tower
rm -r "$work/there/captions"
cp -r "$work/questions" "$work/there/captions"
check "another pack: the host is named" differs 1 'the packs'
finish
