#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A whole small LLaVA, from 16 photographs to an answer, in a few minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
started=$SECONDS
tools/build.sh
. tools/mpi_env.sh

out=runs/quickstart
quick=configs/quickstart
llava=build/llava

step() { printf '\n== %s\n' "$*"; }

rm -rf "$out"
mkdir -p "$out"

step "1/6 Packing 16 photographs with captions, then with questions"
"$llava" pack --data $quick/captions.json --images $quick/photos --tokenizer configs/tokenizer \
    --template plain --out $out/captions
"$llava" pack --data $quick/questions.json --images $quick/photos --tokenizer configs/tokenizer \
    --template v1 --out $out/questions

step "2/6 A small CLIP tower and a small LLaMA with random weights"
"$llava" init --shape configs/shapes/tiny.json --tokenizer configs/tokenizer --seed 1 \
    --out $out/init

step "3/6 Stage 1: the projector learns captions, on two ranks"
mpirun -n 2 "$llava" train $quick/stage1.json

step "4/6 Stage 2: projector and language model learn questions, on two ranks"
mpirun -n 2 "$llava" train $quick/stage2.json

step "5/6 Is everything whole?"
"$llava" inspect $out/questions
"$llava" inspect $out/stage2/model

step "6/6 A question about a photograph"
photo=$quick/photos/000000565778.jpg
question="What colour is the train?"
echo "$photo"
echo "Q: $question"
printf 'A: '
"$llava" generate --model $out/stage2/model --image $photo --prompt "$question" \
    --max-new-tokens 40

cat <<END

Done in $((SECONDS - started)) s. What lies where:
  $out/captions, $out/questions        the packs
  $out/init                            random tower and language model
  $out/stage1/projector.safetensors    stage 1's projector
  $out/stage2/model                    the model: transformers loads it
  $out/stage*/metrics.jsonl            a line a step
  $out/stage*/checkpoints              where an interrupted run goes on from
The model has seen 16 photographs; it can repeat them, and nothing more. README.md continues with
your own data and the published recipe.
END
