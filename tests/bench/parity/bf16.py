#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How far bf16 training strays from f32: llava's bf16 beside torch's own.

    bf16.py --data DATA --out OUT [--llava build/llava] [--steps 200] [--seeds 1,2,3]
            [--report FILE|none]

Both stages on DATA/coco, with the trained LLaMA of DATA/story and a random tower, the same order of
samples everywhere. torch runs in f32, which is what distances are counted from, and in bf16:

    pure        weights, gradients and moments bf16, as after model.to(torch.bfloat16)
    master      bf16 copies of f32 weights compute, everything activated is bf16: what llava does
    autocast    torch.autocast: f32 weights and residual stream, products in bf16

The distance of a run is |loss - f32's loss| over the steps. llava's bf16 must stay within 1.5 times
that of the nearest of torch's, in the mean and at its largest, over all seeds (of the projector).
What torch computed is kept in OUT; llava always runs anew. Exit status 1 if it does not stay.
"""
import argparse
import copy
import datetime
import json
import os
import pathlib
import shutil
import statistics
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path += [str(ROOT / "tests/golden/e2e"), str(ROOT / "tests/bench/train")]

import torch

import machine
import reference_train
import run_parity

SLACK = 1.5
MODES = ["pure", "master", "autocast"]
STAGES = {
    "stage1": {"data": "stage1_captions.json", "template": "plain", "trainable": ["projector"],
               "lr": 1e-3},
    "stage2": {"data": "stage2_instruct.json", "template": "v1",
               "trainable": ["projector", "language_model"], "lr": 2e-4},
}


# ---- torch ----

def as_if(mode, model):
    """Make the model compute as the mode says; the trained parameters stay `model.parameters()`."""
    head = model.language_model.lm_head  # logits go to the loss in f32, as in transformers' own
    head.register_forward_hook(lambda module, inputs, logits: logits.float())
    loss_sum = type(model).loss_sum
    if mode == "pure":
        model.bfloat16()
    elif mode == "autocast":
        def with_autocast(*args):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return loss_sum(model, *args)
        model.loss_sum = with_autocast
    elif mode == "master":
        type(model).forward = loss_sum
        frozen = {n: p.bfloat16() for n, p in model.named_parameters() if not p.requires_grad}

        def with_copies(*args):
            copies = {n: p.bfloat16() for n, p in model.named_parameters() if p.requires_grad}
            return torch.func.functional_call(model, frozen | copies, args)
        model.loss_sum = with_copies


def torch_losses(path, stage, coco, mode):
    torch.manual_seed(0)
    config = reference_train.read_config(path)
    model = reference_train.Reference(config["model"]).train()
    for name, p in model.named_parameters():
        p.requires_grad_(reference_train.is_trainable(name, config["train"]["trainable"]))
    as_if(mode, model)
    tokenizer = reference_train.open_tokenizer(model.tokenizer_dir)
    data = reference_train.Data(coco / stage["data"], coco / "images", stage["template"], tokenizer,
                                model.vision_tower.config.image_size, "square")
    return [s["loss"] for s in reference_train.train(config, data, None, model)]


# ---- runs ----

class Runs:
    def __init__(self, args):
        self.bench = run_parity.Bench(args.llava, args.data, args.out)
        self.coco, self.n_steps = pathlib.Path(args.data).resolve() / "coco", args.steps
        for name, stage in STAGES.items():
            self.bench.sets[name] = (self.coco / stage["data"], self.coco / "images",
                                     stage["template"])
            self.bench.tokenizer[name] = self.bench.story

    def config(self, name, seed, precision):
        stage, bench = STAGES[name], self.bench
        tower = bench.init("coco-tower") / "vision_tower"
        config = copy.deepcopy(run_parity.BASE)
        run = bench.out / "runs" / f"{name}-{seed}-{precision}"
        config["run"] = {"dir": str(run)}
        config["model"] |= {"vision_tower": str(tower), "language_model": str(bench.story)}
        config["model"]["projector"]["weights"] = self.projector(seed, tower)
        config["data"]["packs"] = [bench.pack(name)]
        config["train"] |= {"trainable": stage["trainable"], "max_steps": self.n_steps,
                            "micro_batch_tokens": 2048, "precision": precision}
        config["optim"]["lr"] = stage["lr"]
        config["checkpoint"]["every_steps"] = 0
        path = bench.out / "configs" / f"{run.name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(config, indent=2))
        return path, run

    def projector(self, seed, tower):
        """The seed's own, from run_parity's, which is that of seed 1."""
        path = pathlib.Path(self.bench.projector("mlp2x_gelu", tower, self.bench.story))
        weights = run_parity.load_file(path)
        torch.manual_seed(seed)
        widths = weights["projector.0.weight"].shape[1], weights["projector.2.weight"].shape[0]
        layers = reference_train.make_projector("mlp2x_gelu", *widths)
        path = path.with_name(f"seed-{seed}.safetensors")
        run_parity.save_file({f"projector.{n}": p for n, p in layers.state_dict().items()}, path)
        return str(path)

    def torch(self, name, seed, mode):
        out = self.bench.out / "reference" / f"{name}-{seed}-{mode}-{self.n_steps}.json"
        out.parent.mkdir(exist_ok=True)
        if not out.exists():
            path, _ = self.config(name, seed, "f32")
            out.write_text(json.dumps(torch_losses(path, STAGES[name], self.coco, mode)))
        return json.loads(out.read_text())

    def llava(self, name, seed, precision):
        path, run = self.config(name, seed, precision)
        shutil.rmtree(run, ignore_errors=True)
        run_parity.run(self.bench.llava, "train", path, env=self.bench.environment)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return [line["loss"] for line in lines]


# ---- comparison ----

def distances(losses, exact):
    assert len(losses) == len(exact)
    return [abs(a - b) for a, b in zip(losses, exact)]


def compare(runs, name, seeds):
    """Table rows {who: (mean, max)} over all seeds; which of torch's is nearest; if llava stays."""
    all_of = {}
    for seed in seeds:
        exact = runs.torch(name, seed, "f32")
        for mode in MODES:
            all_of.setdefault(f"torch {mode}", []).extend(
                distances(runs.torch(name, seed, mode), exact))
        for precision in ("f32", "bf16"):
            all_of.setdefault(f"llava {precision}", []).extend(
                distances(runs.llava(name, seed, precision), exact))
        ends = f"{exact[0]:.3f} to {exact[-1]:.3f}"
    rows = {who: (statistics.fmean(d), max(d)) for who, d in all_of.items()}
    nearest = min((who for who in rows if who.startswith("torch")), key=lambda who: rows[who][0])
    stays = all(ours <= SLACK * theirs for ours, theirs in zip(rows["llava bf16"], rows[nearest]))
    return rows, nearest, stays, ends


def table(name, rows, nearest, stays, ends):
    out = [f"## {name}", "", f"Loss of torch's f32 run, last seed: {ends}.", "",
           "| run | mean distance | largest | llava bf16 is so many times as far |",
           "|---|---|---|---|"]
    ours = rows["llava bf16"]
    for who, (mean, largest) in rows.items():
        times = ""
        if who.startswith("torch"):
            times = f"{ours[0] / mean:.2f} / {ours[1] / largest:.2f}"
        out.append(f"| {who} | {mean:.2e} | {largest:.2e} | {times} |")
    verdict = "stays within" if stays else "DOES NOT STAY within"
    return out + ["", f"llava's bf16 {verdict} {SLACK} times the distance of {nearest}, the "
                      "nearest of torch's.", ""]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--llava", default=ROOT / "build/llava")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--report", default=ROOT / "tests/reports" /
                        f"{datetime.date.today()}-bf16-parity.md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    load, seeds = os.getloadavg()[0], [int(seed) for seed in args.seeds.split(",")]
    runs, good = Runs(args), True
    text = ["# bf16 against f32, llava's and torch's", "",
            f"`tests/bench/parity/bf16.py`, {datetime.date.today()}: {args.steps} steps of 8 "
            f"samples of COCO, projector seeds {args.seeds}. Distance: |loss - loss of torch's f32 run|, "
            "step by step, nats a token.", "", *machine.lines(1, load), ""]
    for name in args.stages.split(","):
        result = compare(runs, name, seeds)
        good &= result[2]
        text += table(name, *result)
    print("\n".join(text))
    if str(args.report) != "none":
        pathlib.Path(args.report).write_text("\n".join(text))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
