#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Both stages on the 400 COCO photographs of DATA/coco, with the small trained LLaMA of DATA/story
# and a small random tower; the last 40 photographs are held out. Draws the loss curves.
# Needs jq and gnuplot besides what tools/dependencies.sh installs.
set -euo pipefail
if [ $# -ne 2 ]; then
    echo "usage: tools/coco_run.sh DATA PICTURE.png" >&2
    exit 2
fi
data=$(realpath "$1")
picture=$(realpath -m "$2")
cd "$(dirname "$0")/.."
. tools/mpi_env.sh
llava=build/llava
out=runs/coco
rm -rf "$out"
mkdir -p "$out"
ln -s "$data/story" "$out/language_model"

# Held out by photograph, so that no held-out picture is seen with another caption.
first_held_out=$(jq -r '[.[].image // empty] | unique | .[-40]' "$data/coco/stage1_captions.json")
split_and_pack() { # FILE TEMPLATE NAME
    local part
    jq --arg first "$first_held_out" '[.[] | select((.image // "") < $first)]' \
        "$data/coco/$1" >"$out/$3-train.json"
    jq --arg first "$first_held_out" '[.[] | select((.image // "") >= $first)]' \
        "$data/coco/$1" >"$out/$3-held-out.json"
    for part in train held-out; do
        mpirun -n 2 "$llava" pack --data "$out/$3-$part.json" --images "$data/coco/images" \
            --tokenizer "$out/language_model" --template "$2" --out "$out/$3-$part"
    done
}
split_and_pack stage1_captions.json plain captions
split_and_pack stage2_instruct.json v1 instruct
"$llava" init --shape configs/shapes/coco-tower.json --seed 1 --out "$out/init"
mpirun -n 2 "$llava" train configs/coco/stage1.json
mpirun -n 2 "$llava" train configs/coco/stage2.json

for stage in stage1 stage2; do
    jq -r 'select(.loss) | "\(.step) \(.loss)"' "$out/$stage/metrics.jsonl" >"$out/$stage.loss"
    jq -r 'select(.val_loss) | "\(.step) \(.val_loss)"' "$out/$stage/metrics.jsonl" >"$out/$stage.val"
done
gnuplot <<END
set terminal pngcairo size 1100,420 font "sans,11"
set output "$picture"
set multiplot layout 1,2
set grid lc rgb "#dddddd"
set xlabel "step"
set ylabel "cross-entropy, nats a token"
set key top right
set yrange [0:*]
do for [stage in "stage1 stage2"] {
    set title stage eq "stage1" ? "Stage 1: projector, captions" : "Stage 2: projector and language model, instructions"
    plot "$out/".stage.".loss" with lines lc rgb "#9ecae1" title "training", \
         "$out/".stage.".val" with linespoints pt 7 ps 0.5 lw 2 lc rgb "#d94801" title "held out"
}
unset multiplot
END
echo "drew $picture"
