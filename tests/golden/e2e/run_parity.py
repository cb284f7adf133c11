#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run llava and reference_train.py on the same configs and data, and print how far they differ.

    python run_parity.py --data DATA --out OUT [--llava build/llava] [--only NAME]...

DATA holds coco/ and story/ (the runs that need them are left out if it is not given); OUT gets
everything that is made. For every run: the largest relative difference of loss, of gradient norm
and of lr over the steps; of the held-out losses; and of the change of a trained tensor,
|change - reference's change| / |reference's change| in the 2-norm. Where llava is further from
torch in f32 than F32_BOUND, torch in f64 decides: llava must be no further from it than torch's
f32 is (times SLACK), and the three differences stand side by side: llava from f32, llava from f64,
torch's f32 from f64. A key's bias in CLIP has no gradient but rounding, and is not compared.
"""
import argparse
import copy
import json
import os
import pathlib
import subprocess
import sys

import torch
from safetensors.torch import load_file, save_file

from reference_train import make_projector

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
QUICK = ROOT / "configs/quickstart"
F32_BOUND = {"loss": 1e-5, "grad_norm": 1e-4, "lr": 1e-14, "val_loss": 1e-5, "weights": 1e-3}
SLACK = 3

BASE = {
    "model": {"vision_select_layer": -2, "vision_select_feature": "patch",
              "projector": {"type": "mlp2x_gelu"}},
    "data": {"shuffle": False, "max_length": 512, "workers": 1},
    "train": {"trainable": ["projector"], "max_steps": 30, "global_batch_size": 8,
              "micro_batch_tokens": 512, "precision": "f32", "output": "full"},
    "optim": {"lr": 2e-3, "max_grad_norm": 1.0},
    "checkpoint": {"every_steps": 10},
}
STAGE2 = ["projector", "language_model"]
ALL = STAGE2 + ["vision_tower"]

# name: (data set, ranks, what differs from BASE)
RUNS = {
    "stage1": ("captions", 1, {
        "train.output": "projector", "optim.lr": 1e-2}),
    "stage1-linear": ("captions", 1, {
        "model.projector.type": "linear", "model.vision_select_layer": -1,
        "model.vision_select_feature": "cls_patch", "optim.lr": 1e-2, "optim.weight_decay": 0.1}),
    "stage2": ("questions", 1, {
        "train.trainable": STAGE2, "optim.projector_lr": 5e-4, "optim.weight_decay": 0.1,
        "data.val_packs": ["captions"], "train.val_every_steps": 10, "optim.schedule": "linear"}),
    "stage2-tower": ("questions", 1, {
        "train.trainable": ALL, "train.recompute": "layer", "data.image_aspect": "pad",
        "optim.weight_decay": 0.1, "optim.betas": [0.8, 0.95]}),
    "stage2-cut": ("several", 1, {
        "train.trainable": STAGE2, "data.max_length": 120, "optim.schedule": "constant"}),
    "stage2-ranks": ("questions", 2, {
        "train.trainable": STAGE2, "train.micro_batch_tokens": 200, "optim.max_grad_norm": 0,
        "model.vision_select_layer": 1}),
    "stage2-globs": ("several", 2, {
        "train.trainable": ["projector", "language_model.model.layers.[13].*"],
        "train.recompute": "layer", "data.image_aspect": "pad"}),
    "story": ("instruct", 2, {
        "train.trainable": STAGE2, "train.global_batch_size": 16, "train.max_steps": 30,
        "optim.lr": 1e-3, "train.micro_batch_tokens": 1024}),
    "stage2-again": ("questions", 1, {
        "train.trainable": STAGE2, "model.llava": "stage2", "optim.lr": 1e-3}),
    "linear-again": ("questions", 1, {
        "train.trainable": STAGE2, "model.llava": "stage1-linear", "train.max_steps": 10}),
    "story-again": ("instruct", 1, {
        "train.trainable": STAGE2, "model.llava": "story", "optim.lr": 1e-3,
        "train.max_steps": 10}),
}


def run(*command, **more):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **more)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def several(questions):
    """Images in a later turn, two images, text alone: what a short length limit cuts in places."""
    questions = [q for q in questions if "image" in q and len(q["conversations"]) > 2]
    records = []
    for i, record in enumerate(questions):
        record = copy.deepcopy(record)
        turns = record["conversations"]
        if i % 3 == 0:  # the answer to a question without the image, then the image
            turns[0]["value"] = turns[0]["value"].replace("<image>", "").strip()
            turns[2]["value"] = "Look. " + turns[2]["value"] + " <image>"
        elif i % 3 == 1:
            record["image"] = [record["image"], questions[i - 1]["image"]]
            turns[2]["value"] = "And here? <image> " + turns[2]["value"]
        records.append(record)
        records.append({"id": f"text-{i}", "conversations": [
            {"from": "gpt", "value": "Dropped, since it comes first."},
            {"from": "human", "value": f"What is {i} + {i}?"},
            {"from": "gpt", "value": f"It is {2 * i}, which is what one gets. " * (1 + i % 5)}]})
    return records


class Bench:
    """The folder OUT: data sets, packs, initial models and runs."""

    def __init__(self, llava, data, out):
        self.llava, self.out = pathlib.Path(llava).resolve(), pathlib.Path(out).resolve()
        self.out.mkdir(parents=True, exist_ok=True)
        self.sets = {
            "captions": (QUICK / "captions.json", QUICK / "photos", "plain"),
            "questions": (QUICK / "questions.json", QUICK / "photos", "v1"),
            "several": (self.out / "several.json", QUICK / "photos", "v1"),
        }
        questions = json.loads((QUICK / "questions.json").read_text())
        (self.out / "several.json").write_text(json.dumps(several(questions)))
        self.tokenizer = {name: ROOT / "configs/tokenizer" for name in self.sets}
        self.story = pathlib.Path(data).resolve() / "story" if data else None
        if data:
            coco = pathlib.Path(data).resolve() / "coco"
            records = json.loads((coco / "stage2_instruct.json").read_text())
            texts = [r for r in records if "image" not in r]
            chosen = records[:28] + texts[:2] + records[28:56] + texts[2:4]
            (self.out / "instruct.json").write_text(json.dumps(chosen))
            self.sets["instruct"] = (self.out / "instruct.json", coco / "images", "v1")
            self.tokenizer["instruct"] = self.story
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}

    def pack(self, name):
        out = self.out / "packs" / name
        if not out.exists():
            data, images, template = self.sets[name]
            run(self.llava, "pack", "--data", data, "--images", images, "--template", template,
                "--tokenizer", self.tokenizer[name], "--out", out)
            assert (out / "rejects.jsonl").read_text() == ""
        return str(out)

    def init(self, shape, *more):
        out = self.out / "init" / shape
        if not out.exists():
            run(self.llava, "init", "--shape", ROOT / f"configs/shapes/{shape}.json", "--seed", 1,
                "--out", out, *more)
        return out

    def models(self, story):
        tiny = self.init("tiny", "--tokenizer", ROOT / "configs/tokenizer")
        if story:
            return self.init("coco-tower") / "vision_tower", self.story
        return tiny / "vision_tower", tiny / "language_model"

    def projector(self, kind, tower, language_model):
        widths = [json.loads((d / "config.json").read_text())["hidden_size"]
                  for d in (tower, language_model)]
        path = self.out / "init" / f"{kind}-{widths[0]}-{widths[1]}.safetensors"
        torch.manual_seed(1)
        layers = make_projector(kind, *widths)
        save_file({f"projector.{n}": p for n, p in layers.state_dict().items()}, path)
        return str(path)

    def config(self, name):
        data_set, _, changes = RUNS[name]
        config = copy.deepcopy(BASE)
        config["run"] = {"dir": str(self.out / "runs" / name)}
        config["data"]["packs"] = [self.pack(data_set)]
        for key, value in changes.items():
            *sections, last = key.split(".")
            at = config
            for section in sections:
                at = at[section]
            at[last] = value
        config["data"]["val_packs"] = [self.pack(p) for p in config["data"].get("val_packs", [])]
        model = config["model"]
        if "llava" in model:
            model["llava"] = str(self.out / "runs" / model["llava"] / "model")
            for key in ("vision_select_layer", "vision_select_feature", "projector"):
                del model[key]
        else:
            tower, language_model = self.models(data_set == "instruct")
            model |= {"vision_tower": str(tower), "language_model": str(language_model)}
            model["projector"]["weights"] = self.projector(model["projector"]["type"], tower,
                                                           language_model)
        path = self.out / "configs" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(config, indent=2))
        return path

    def train(self, name):
        directory = self.out / "runs" / name
        config = self.config(name)
        if not any((directory / f).exists() for f in ("model", "projector.safetensors")):
            mpirun = f". {ROOT}/tools/mpi_env.sh; exec mpirun \"$@\""
            run("bash", "-c", mpirun, "mpirun", "-n", RUNS[name][1], self.llava, "train", config,
                env=self.environment)
        return config, directory

    def reference(self, name, config, precision):
        out = self.out / "reference" / f"{name}-{precision}"
        if not (out / "steps.json").exists():
            data, images, template = self.sets[RUNS[name][0]]
            more = []
            for val in RUNS[name][2].get("data.val_packs", []):
                more = ["--val-data", self.sets[val][0], "--val-template", self.sets[val][2]]
            run(sys.executable, HERE / "reference_train.py", config, "--data", data, "--images",
                images, "--template", template, "--precision", precision, "--out", out, *more)
        return out


# ---- comparison ----

def canonical(name):
    """Names of transformers' LLaVA and of projector.safetensors."""
    name = name.removeprefix("model.")
    for old, new in (("multi_modal_projector.linear_1.", "projector.0."),
                     ("multi_modal_projector.linear_2.", "projector.2."),
                     ("mm_projector.weight", "projector.0.weight"),
                     ("mm_projector.bias", "projector.0.bias"),
                     ("vision_tower.vision_tower.", "vision_tower."),
                     ("language_model.model.", "language_model.model."),
                     ("language_model.lm_head.", "language_model.lm_head."),
                     ("lm_head.", "language_model.lm_head."),
                     ("language_model.", "language_model.model."),
                     ("layers.", "language_model.model.layers."),
                     ("norm.", "language_model.model.norm."),
                     ("embed_tokens.", "language_model.model.embed_tokens.")):
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def result_of_llava(directory):
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    steps = {}
    for line in lines:
        steps.setdefault(line["step"], {}).update(line)
    files = list((directory / "model").glob("*.safetensors"))
    files = files or [directory / "projector.safetensors"]
    weights = {canonical(n): t for file in files for n, t in load_file(file).items()}
    return [steps[s] for s in sorted(steps)], weights


def result_of_reference(directory):
    steps = [json.loads(line) for line in (directory / "steps.json").read_text().splitlines()]
    return steps, load_file(directory / "final.safetensors")


def relative(a, b):
    return 0.0 if a == b else abs(a - b) / abs(b)


def compare(ours, theirs, initial):
    """Largest relative differences of one result from another."""
    out = {}
    assert len(ours[0]) == len(theirs[0])
    for key in ("loss", "grad_norm", "lr", "val_loss"):
        assert [s["step"] for s in ours[0] if s.get(key) is None] == \
               [s["step"] for s in theirs[0] if s.get(key) is None], key
        out[key] = max((relative(a[key], b[key]) for a, b in zip(ours[0], theirs[0])
                        if b.get(key) is not None), default=None)
    assert [s["supervised_tokens"] for s in ours[0]] == [s["supervised_tokens"] for s in theirs[0]]
    worst = (0.0, "")
    for name, start in initial.items():
        if name.startswith("vision_tower.") and name.endswith("k_proj.bias"):
            continue
        a, b, start = (t.double() for t in (ours[1][name][:len(start)], theirs[1][name], start))
        change = (b - start).norm().item()
        error = (a - b).norm().item()
        worst = max(worst, (error / change if change else float(error > 0), name))
    return out | {"weights": worst[0], "worst": worst[1]}


def judge(rows):
    """The first key in which llava is off, "" if it is not."""
    for key, bound in F32_BOUND.items():
        f32, *f64 = [row[key] for row in rows]
        if f32 is not None and f32 > bound and not (f64 and f64[0] <= SLACK * f64[1]):
            return f"{key} {rows[0]['worst'] if key == 'weights' else ''}"
    return ""


def report(name, bench, always_f64):
    config, directory = bench.train(name)
    f32 = bench.reference(name, config, "f32")
    initial = load_file(f32 / "initial.safetensors")
    ours, torch32 = result_of_llava(directory), result_of_reference(f32)
    rows = [compare(ours, torch32, initial)]
    if always_f64 or judge(rows):
        torch64 = result_of_reference(bench.reference(name, config, "f64"))
        rows += [compare(ours, torch64, initial), compare(torch32, torch64, initial)]
    off = judge(rows)
    limit = json.loads(pathlib.Path(config).read_text())["optim"]["max_grad_norm"]
    norms = [s["grad_norm"] for s in torch32[0]]
    clipped = sum(n > limit for n in norms) if limit else 0
    losses = [s["loss"] for s in torch32[0] if s["loss"]]
    print(f"| {name} | {len(norms)} | {losses[0]:.3f} to {losses[-1]:.3f} | {clipped} | "
          + " | ".join(" / ".join("-" if r[k] is None else f"{r[k]:.0e}" for r in rows)
                       for k in ("loss", "grad_norm", "lr", "val_loss", "weights"))
          + f" | {'DIFFERS: ' + off if off else 'ok'} |", flush=True)
    return not off


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llava", default=ROOT / "build/llava")
    parser.add_argument("--data")
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", action="append")
    parser.add_argument("--f64", action="store_true", help="always, not only where f32 differs")
    args = parser.parse_args()
    bench = Bench(args.llava, args.data, args.out)
    names = args.only or [n for n, (data_set, _, _) in RUNS.items()
                          if args.data or data_set != "instruct"]
    print("| run | steps | loss | clipped | loss | grad_norm | lr | val_loss | weights | |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    return 0 if all([report(name, bench, args.f64) for name in names]) else 1


if __name__ == "__main__":
    sys.exit(main())
