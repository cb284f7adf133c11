#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# compare_builds.sh OLD NEW: a fixed run (packs, init, stages 1 and 2 in both precisions on two
# ranks, resume, export, convert, an answer) with two llava programs. HDF5, safetensors and text
# files have to be equal byte for byte, JSON as values but for times, rates, memory and its own
# checksums; JSON that is spelt otherwise is listed. Exit 0 if all is equal. By hand; python3.
set -euo pipefail
old=$(realpath "$1") new=$(realpath "$2")
root=$(realpath "$(dirname "$0")/../..")
. "$root/tools/mpi_env.sh"
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fixed_run() {
    local llava=$1
    cp -r "$root/configs" "$root/tests" .
    local quick=configs/quickstart
    "$llava" pack --data $quick/captions.json --images $quick/photos --tokenizer configs/tokenizer \
        --template plain --out captions
    mpirun -n 2 "$llava" pack --data $quick/questions.json --images $quick/photos \
        --tokenizer configs/tokenizer --template v1 --store rgb --image-size 56 --out questions_rgb
    "$llava" pack --data $quick/questions.json --images $quick/photos \
        --tokenizer configs/tokenizer --template v1 --out questions
    "$llava" init --shape tests/support/shape.json --tokenizer configs/tokenizer --seed 3 --out init
    local precision stage trainable pack output
    for precision in f32 bf16; do
        for stage in 1 2; do
            trainable='"projector"' pack=captions output=projector
            [ $stage = 1 ] || trainable='"projector", "language_model"' pack=questions output=full
            cat >config_$precision$stage.json <<END
{ "run": { "dir": "run_$precision$stage" },
  "model": { "vision_tower": "init/vision_tower", "language_model": "init/language_model",
             "projector": { "type": "mlp2x_gelu" } },
  "data": { "packs": ["$pack"], "max_length": 256, "workers": 1 },
  "train": { "trainable": [$trainable], "max_steps": 12, "global_batch_size": 6,
             "micro_batch_tokens": 4096, "precision": "$precision", "output": "$output" },
  "optim": { "lr": 5e-4, "weight_decay": 0.01 },
  "checkpoint": { "every_steps": 5, "keep": 9 } }
END
            mpirun -n 2 "$llava" train config_$precision$stage.json --set train.max_steps=12
        done
        cp -r run_${precision}2 resumed_$precision
        rm -r resumed_$precision/model resumed_$precision/checkpoints/step-00001*
        "$llava" train config_${precision}2.json --set run.dir=resumed_$precision
        "$llava" export --checkpoint run_${precision}2/checkpoints/step-000005 \
            --out exported_$precision
    done
    "$llava" convert --model run_f322/model --dtype bf16 --out converted
    "$llava" generate --model run_f322/model --image $quick/photos/000000565778.jpg \
        --prompt "What colour is the train?" --max-new-tokens 20 >answer.txt
    rm -r configs tests
}

for build in old new; do
    mkdir "$work/run" # the same for both: absolute paths are written
    (cd "$work/run" && fixed_run "${!build}" >"$work/$build.log" 2>&1) || {
        tail -20 "$work/$build.log"
        exit 1
    }
    rm "$work"/run/*/lock # host and process
    mv "$work/run" "$work/$build"
done

python3 - "$work/old" "$work/new" <<'END'
import json
import os
import sys

old, new = sys.argv[1:]
TIMES = ("step_s", "data_wait_s", "comm_wait_s", "tokens_per_s", "mfu", "rss_anon_bytes",
         "rss_file_bytes", "rss_shared_bytes", "self_crc32")
counts, longer = {"equal": 0, "values": 0}, 0
differ, spelt = [], {}


def files(root):
    return sorted(os.path.relpath(os.path.join(d, f), root)
                  for d, _, names in os.walk(root) for f in names)


def stripped(value, exact):
    """Without times; numbers to 15 digits, which is all that some programs write."""
    if isinstance(value, float) and not exact:
        return float(f"{value:.15g}")
    if isinstance(value, dict):
        return {k: stripped(v, exact) for k, v in value.items() if k not in TIMES}
    return [stripped(v, exact) for v in value] if isinstance(value, list) else value


def values(text, path, exact=False):
    try:
        lines = text.splitlines() if path.endswith(".jsonl") else [text]
        return [stripped(json.loads(line), exact) for line in lines]
    except ValueError:
        return None


def walk(a, b, at):
    if isinstance(a, dict) and isinstance(b, dict):
        for k in sorted(set(a) | set(b)):
            yield from walk(a.get(k), b.get(k), f"{at}.{k}")
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b)):
            yield from walk(x, y, f"{at}[{i}]")
    elif a != b:
        yield f"{at}: {a!r} {b!r}"


for path in sorted(set(files(old)) | set(files(new))):
    try:
        a, b = (open(os.path.join(root, path), "rb").read() for root in (old, new))
    except FileNotFoundError as e:
        differ.append(f"{path}: only in one ({e.filename})")
        continue
    if a == b:
        counts["equal"] += 1
    elif ".json" in path:
        x, y = values(a.decode(), path), values(b.decode(), path)
        if x is not None and x == y:
            counts["values"] += 1
            longer += sum(p != q and "metrics" in path for p, q in zip(*(
                values(text.decode(), path, exact=True) for text in (a, b))))
            if "metrics" not in path:
                spelt[path] = [(p, q) for p, q in zip(a.decode().splitlines(),
                                                      b.decode().splitlines()) if p != q]
        else:
            differ.append(path + ": " + "; ".join(list(walk(x, y, ""))[:6]))
    else:
        differ.append(path)
print(f"{counts['equal']} files equal byte for byte, {counts['values']} JSON files equal as values "
      f"({longer} lines of metrics with more digits), {len(differ)} differ")
for path, lines in spelt.items():
    for before, after in lines[:4]:
        print(f"  spelt otherwise: {path}: {before.strip()[:90]} -> {after.strip()[:90]}")
for line in differ:
    print("  differs:", line)
sys.exit(bool(differ))
END
