#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# overlap.sh [RATE [ROUNDS [OPTION...]]]: how much of the communication hides behind the computing.
# Stage 2 of a 110M LLaMA, 8 samples a step, two ranks of one thread on two hosts (netns_env.sh) with
# RATE (2gbit) between them, for each wire format: steps with comm.overlap and without take turns,
# ROUNDS (5) times. Prints medians, and
#   overlap = (step without - step with) / communication of the step without
# OPTION...: of llava train. Prints figures; it decides nothing. Needs root, iproute2, jq, an idle
# machine, and 6 GB.
set -euo pipefail
root=$(realpath "$(dirname "$0")/../..")
rate=${1:-2gbit} rounds=${2:-5}
shift $(($# > 2 ? 2 : $#))
hosts=$root/tests/cluster/netns_env.sh
llava=${LLAVA:-$root/build/llava}
quick=$root/configs/quickstart
export LV_NETNS=lvov OMP_NUM_THREADS=1 # a name of its own: other tests may stand beside it
. "$root/tools/mpi_env.sh"
work=$(mktemp -d)
trap '"$hosts" down >/dev/null 2>&1; rm -rf "$work"' EXIT

echo "making a model and a pack" >&2
jq '.vision_tower.num_hidden_layers = 2 | .language_model.tie_word_embeddings = false' \
    "$root/configs/shapes/110m.json" >"$work/shape.json"
"$llava" init --shape "$work/shape.json" --seed 1 --tokenizer "$root/configs/tokenizer" \
    --out "$work/init" >/dev/null
"$llava" pack --data "$quick/questions.json" --images "$quick/photos" --template v1 \
    --tokenizer "$root/configs/tokenizer" --out "$work/questions" >/dev/null
cat >"$work/stage2.json" <<END
{ "run": { "dir": "run" },
  "model": { "vision_tower": "init/vision_tower", "language_model": "init/language_model",
             "projector": { "type": "mlp2x_gelu" } },
  "data": { "packs": [{ "path": "questions", "weight": 8 }], "workers": 1, "shuffle": false },
  "train": { "trainable": ["projector", "language_model"], "max_steps": 5, "precision": "bf16",
             "global_batch_size": 8, "output": "full" },
  "optim": { "lr": 1e-4 }, "checkpoint": { "every_steps": 0, "every_minutes": 0 } }
END

"$hosts" up 2 >/dev/null
"$hosts" shape "$rate" >/dev/null

# run NAME OPTION...: medians of step_s and comm_wait_s, of the steps after the first.
run() {
    local name=$1
    shift
    rm -rf "$work/run-$name"
    "$hosts" run -n 2 "$llava" train "$work/stage2.json" --set run.dir="$work/run-$name" "$@" \
        >"$work/$name.log" 2>&1 || {
        cat "$work/$name.log" >&2
        exit 1
    }
    jq -rs 'def median: sort | .[length / 2 | floor];
        [.[] | select(.step > 1)] |
        "\([.[].step_s] | median) \([.[].comm_wait_s] | median)"' "$work/run-$name/metrics.jsonl"
}

median() {
    sort -g | awk '{ x[NR] = $1 } END { print x[int((NR + 1) / 2)] }'
}

printf '%-5s  %10s %10s  %10s %10s  %8s\n' wire 'after, s' 'of it comm' 'behind, s' 'of it comm' overlap
for wire in f32 bf16; do
    for round in $(seq "$rounds"); do
        figures=$(run after --set comm.wire=$wire --set comm.overlap=false "$@")
        read -r after after_wait <<<"$figures"
        figures=$(run behind --set comm.wire=$wire "$@")
        read -r behind behind_wait <<<"$figures"
        echo "$after $after_wait $behind $behind_wait" >>"$work/$wire"
        awk -v a="$after" -v aw="$after_wait" -v b="$behind" -v bw="$behind_wait" -v w="$wire" 'BEGIN {
            printf "%-5s  %10.3f %10.3f  %10.3f %10.3f  %7.0f%%\n", w, a, aw, b, bw, 100 * (a - b) / aw }'
    done
    printf '%-5s  median overlap: %.0f%%\n' "$wire" \
        "$(awk '{ print 100 * ($1 - $3) / $2 }' "$work/$wire" | median)"
done
