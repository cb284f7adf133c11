#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Images a second a core, side by side with Pillow + CLIPImageProcessor (transformers 4.57).

    rates.py BUILD DATA [--images 200] [--copies 12] [--size 336] [--repeats 5]

BUILD: a build directory with tests. DATA: the folder with coco/ and llama/. Everything runs in one
go, ours and theirs in turn, and the median of the ratios of neighbours is printed, so that what
else the machine does hits both. Seconds are those of the CPU (user and system); a pack's include
start-up, reading and writing, of each photograph under --copies names. Ours is checked against
theirs before anything is timed.

    loader    stored JPEG -> picture -> square -> normalized floats            goal 2.5 times
    original  llava pack --store original: each file read, proved whole, stored    goal 4 times
    rgb       llava pack --store rgb --image-size SIZE                         goal 1.5 times
    2 ranks   mpirun -n 2 llava pack against -n 1, in images a second of the clock, beside two
              packs side by side against one: what the machine itself loses    goal within 10%
"""
import argparse
import glob
import io
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
from PIL import Image
from transformers import CLIPImageProcessor

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from images_against_pillow import Probe, levels  # noqa: E402

torch.set_num_threads(1)
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive",
                   OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                   OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_MCA_btl="self,vader",
                   OMPI_MCA_btl_vader_single_copy_mechanism="none")


def theirs(processor, data):
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return processor(image, return_tensors="pt")["pixel_values"][0]


def pass_of_theirs(processor, files):
    start = time.thread_time()
    for data in files:
        theirs(processor, data)
    return time.thread_time() - start


def check(probe, processor, paths):
    for path in paths:
        _, _, floats = probe(path)
        want = theirs(processor, open(path, "rb").read()).numpy()
        difference = np.abs(levels(floats) - levels(want))
        if difference.max() > 1.0001 or difference.mean() >= 0.02:
            sys.exit(f"{path}: differs by {difference.max()} levels, {difference.mean()} on average")


def start(command):
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE)


def finish(processes):
    for process in processes:
        message = process.communicate()[1].decode()
        if process.returncode:
            sys.exit(message[-1000:])


def child_cpu_s(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    finish([start(command)])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def clock_s(commands):
    begin = time.monotonic()
    finish([start(command) for command in commands])
    return time.monotonic() - begin


class Packer:
    """Packs of the same images; each call writes a new one and removes it before the next."""

    def __init__(self, how, work, paths):
        self.work = work
        names = [f"{copy}_{os.path.basename(p)}" for copy in range(how.copies) for p in paths]
        os.mkdir(os.path.join(work, "images"))
        for i, name in enumerate(names):
            os.symlink(os.path.abspath(paths[i % len(paths)]), os.path.join(work, "images", name))
        self.base = [how.build + "/llava", "pack", "--images", os.path.join(work, "images"),
                     "--tokenizer", how.data + "/llama/tokenizer.json", "--template", "plain"]
        records = [{"id": name, "image": name, "conversations": [
            {"from": "human", "value": "<image>\nDescribe."},
            {"from": "gpt", "value": "A photograph."}]} for name in names]
        self.data = os.path.join(work, "data.json")
        with open(self.data, "w") as f:
            json.dump(records, f)
        self.rgb = ["--store", "rgb", "--image-size", str(how.size)]

    def command(self, name, *extra):
        out = os.path.join(self.work, name)
        shutil.rmtree(out, ignore_errors=True)
        return self.base + ["--data", self.data, "--out", out, *extra]


def report(name, n, ours, their, goal):
    ratio = statistics.median(t / o for t, o in zip(their, ours))
    print(f"{name:<9}{n / statistics.median(ours):8.1f} images/s a core, theirs "
          f"{n / statistics.median(their):6.1f}: {ratio:5.2f} times (goal {goal})")
    sys.stdout.flush()


def time_loader(how, processor, paths, files):
    probe = subprocess.Popen([how.build + "/tests/bench/data/image_probe", "time", str(how.size),
                              "square", *paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             text=True, bufsize=1)
    ours, their, stages = [], [], []
    for _ in range(how.repeats):
        probe.stdin.write("\n")
        stages.append([float(s) for s in probe.stdout.readline().split()])
        ours.append(sum(stages[-1][1:]))
        their.append(pass_of_theirs(processor, files))
    report("loader", len(files), ours, their, 2.5)
    medians = [statistics.median(column) / len(files) * 1e3 for column in zip(*stages)]
    print("         ms an image: decode {1:.2f}, square {2:.2f}, normalize {3:.2f}; a check of the "
          "file alone {0:.2f}".format(*medians))


def time_pack(how, packer, processor, files, store, extra, goal):
    ours, their = [], []
    for _ in range(how.repeats):
        ours.append(child_cpu_s(packer.command(store, *extra)) / how.copies)
        their.append(pass_of_theirs(processor, files))
    report(store, len(files), ours, their, goal)


def time_ranks(how, packer, store, extra):
    ranks, processes = [], []
    mpirun = ["mpirun", "--bind-to", "none", "-n"]
    for _ in range(how.repeats):
        one = clock_s([mpirun + ["1"] + packer.command("a", *extra)])
        ranks.append(one / clock_s([mpirun + ["2"] + packer.command("a", *extra)]))
        one = clock_s([packer.command("a", *extra)])
        both = clock_s([packer.command("a", *extra), packer.command("b", *extra)])
        processes.append(2 * one / both)
    ranks, processes = statistics.median(ranks), statistics.median(processes)
    print(f"2 ranks  {ranks:5.2f} times one ({store}); two processes side by side {processes:5.2f} "
          f"times one: {ranks / processes:.2f} of that")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("data")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--copies", type=int, default=12)
    parser.add_argument("--size", type=int, default=336)
    parser.add_argument("--repeats", type=int, default=5)
    how = parser.parse_args()
    paths = sorted(glob.glob(how.data + "/coco/images/*.jpg"))[:how.images]
    files = [open(path, "rb").read() for path in paths]
    processor = CLIPImageProcessor(size={"shortest_edge": how.size},
                                   crop_size={"height": how.size, "width": how.size})
    check(Probe(how.build + "/tests/bench/data/image_probe", how.size, "square"), processor,
          paths[:40])
    print(f"{len(paths)} photographs, size {how.size}, medians of {how.repeats}")
    time_loader(how, processor, paths, files)
    with tempfile.TemporaryDirectory(dir=how.build) as work:
        packer = Packer(how, work, paths)
        time_pack(how, packer, processor, files, "original", [], 4)
        time_pack(how, packer, processor, files, "rgb", packer.rgb, 1.5)
        for store, extra in (("original", []), ("rgb", packer.rgb)):
            time_ranks(how, packer, store, extra)


if __name__ == "__main__":
    main()
