#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Decode and preprocess against Pillow and CLIPImageProcessor (transformers 4.57), file by file.

    images_against_pillow.py PROBE DATA [--size 336]

PROBE: BUILD/tests/bench/data/image_probe. DATA: the folder with coco/, llava_examples/ and
odd_images/. Compared are every photograph, every file of the other two, the committed golden files
and some 200 pictures made here: each form of PNG, JPEG and WebP, of 1 to 700 pixels a side.

Four differences are printed, largest and mean: of decoded pixels; of squares, against Pillow's
horizontal pass before its vertical one (all versions up to 12, and what this project computes);
of squares against CLIPImageProcessor as it is installed (Pillow 13 takes the vertical pass first
where that is cheaper, a matter of rounding in a few sizes; shown, not limited); and of the
normalized floats, in levels of 1/255/std.
Limits: 1 level, mean 0.02. A file that either refuses is listed. Exit status 1 if a limit is broken
or if a file that Pillow refuses is taken.
"""
import argparse
import collections
import glob
import io
import os
import random
import struct
import subprocess
import sys
import tempfile
import warnings
import zlib

import numpy as np
from PIL import Image
from transformers import CLIPImageProcessor

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "../../golden/image")
PAD = (122, 116, 104)
STD = np.array([0.26862954, 0.26130258, 0.27577711]).reshape(3, 1, 1)
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
         (0, 1, 1, 2)]  # x, y, step of x, step of y
warnings.simplefilter("ignore")


class Probe:
    def __init__(self, path, size, aspect):
        self.size = size
        self.process = subprocess.Popen([path, "pixels", str(size), aspect], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def array(self, dtype, *shape):
        data = self.process.stdout.read(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return np.frombuffer(data, dtype).reshape(shape)

    def __call__(self, path):
        """(picture, square, floats), or the message for which the file was refused."""
        self.process.stdin.write(path.encode() + b"\n")
        self.process.stdin.flush()
        code, width, height = self.array(np.int32, 3)
        if code < 0:
            return self.process.stdout.read(height).decode()
        return (self.array(np.uint8, height, width, 3),
                self.array(np.uint8, self.size, self.size, 3),
                self.array(np.float32, 3, self.size, self.size))


def pad_to_square(image):
    side = max(image.size)
    square = Image.new("RGB", (side, side), PAD)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def processor(size, **how):
    return CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size},
                              **how)


def two_pass_processor(size, **how):
    made = processor(size, **how)

    def resize(image, size, **_):
        short, n = min(image.shape[:2]), size["shortest_edge"]
        width, height = (n if d == short else int(n * d / short) for d in image.shape[1::-1])
        across = Image.fromarray(image).resize((width, image.shape[0]), Image.BICUBIC)
        return np.array(across.resize((width, height), Image.BICUBIC))

    made.resize = resize
    return made


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_rows(samples, depth):
    rows = samples.reshape(samples.shape[0], -1)
    if depth == 16:
        return b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    bits = (rows[:, :, None] >> np.arange(depth - 1, -1, -1)) & 1
    return b"".join(b"\0" + np.packbits(row.astype(np.uint8).ravel()).tobytes() for row in bits)


def png(rng, width, height, depth, color, interlaced, transparency):
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    samples = rng.integers(0, 1 << depth, (height, width, channels))
    passes = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7] if interlaced else [samples]
    raw = b"".join(png_rows(p, depth) for p in passes if p.size)
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, int(interlaced))
    body = chunk(b"PLTE", rng.bytes(3 << depth)) if color == 3 else b""
    if transparency:
        one = struct.pack(">H", int(samples[0, 0, 0]))
        body += chunk(b"tRNS", {0: one, 2: one * 3, 3: rng.bytes(2)}[color])
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body +
            chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))


def write_pngs(folder):
    rng = np.random.default_rng(1)
    depths = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
    for color in depths:
        for depth in depths[color]:
            for interlaced in (False, True):
                for transparency in (False, True)[:1 if color > 3 else 2]:
                    size = [int(rng.integers(1, 70)) for _ in range(2)]
                    name = f"png_{color}_{depth}_{int(interlaced)}_{int(transparency)}.png"
                    with open(os.path.join(folder, name), "wb") as f:
                        f.write(png(rng, *size, depth, color, interlaced, transparency))


def natural(rng, width, height, channels):
    """Slow waves and a little noise: what photographs are to a decoder."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [127 + 100 * np.sin(x / rng.uniform(3, 60) + y / rng.uniform(3, 60) + rng.uniform(0, 6))
             for _ in range(channels)]
    noise = rng.normal(0, 12, (height, width, channels))
    return np.clip(np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


def write_jpegs_and_webps(folder):
    rng = np.random.default_rng(2)
    for i in range(24):
        size = [int(rng.integers(20, 700)) for _ in range(2)]
        rgb = Image.fromarray(natural(rng, *size, 3))
        rgba = Image.fromarray(natural(rng, *size, 4), "RGBA")
        save = lambda image, name, kind, **how: image.save(os.path.join(folder, f"{name}_{i}"), kind,
                                                           **how)
        quality = int(rng.integers(20, 100))
        save(rgb, "baseline", "JPEG", quality=quality, subsampling=i % 3)
        save(rgb, "progressive", "JPEG", quality=quality, subsampling=i % 3, progressive=True)
        save(rgb.convert("CMYK") if i % 2 else rgb.convert("L"), "inks", "JPEG", quality=quality)
        save(rgb if i % 2 else rgba, "lossy", "WEBP", quality=quality)
        save(rgb if i % 2 else rgba, "lossless", "WEBP", lossless=True, exact=bool(i % 4), quality=0)
        if i < 4:
            save(rgba, "animation", "WEBP", save_all=True, append_images=[rgba.rotate(90)], quality=70)
            save(rgb, "apng", "PNG", save_all=True, append_images=[rgb.rotate(90)])
            save(rgb, "mpo", "MPO", save_all=True, append_images=[rgb.rotate(90)])


def write_other_jpegs(folder):
    maker = os.path.join(folder, "make_jpeg")
    subprocess.run(["cc", os.path.join(GOLDEN, "make_jpeg.c"), "-o", maker, "-ljpeg"], check=True)
    for form in ("411", "440", "410", "odd", "arithmetic", "arithmetic_progressive", "rgb", "ycck"):
        for width, height in ((333, 250), (17, 301), (8, 8)):
            path = os.path.join(folder, f"{form}_{width}")
            subprocess.run([maker, path, str(width), str(height), form], check=True)
    os.remove(maker)


def write_damaged(folder):
    """Photographs' and pictures' bytes, cut or changed."""
    random.seed(3)
    for path in sorted(glob.glob(GOLDEN + "/*.jpg") + glob.glob(GOLDEN + "/*.webp")):
        data = bytearray(open(path, "rb").read())
        name = os.path.join(folder, os.path.basename(path).replace(".", "_"))
        open(name + "_cut", "wb").write(data[:random.randrange(len(data))])
        for _ in range(4):
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        open(name + "_changed", "wb").write(data)


class Tally:
    def __init__(self):
        self.worst, self.sum, self.n = 0.0, 0.0, 0

    def add(self, a, b):
        difference = np.abs(a.astype(np.float64) - b.astype(np.float64))
        self.worst = max(self.worst, float(difference.max()))
        self.sum += float(difference.sum())
        self.n += difference.size
        return difference.max() <= 1.0001 and difference.mean() < 0.02

    def __str__(self):
        return f"{self.worst:7.4f} {self.sum / max(self.n, 1):9.6f}"


def levels(floats):
    return floats.astype(np.float64) * STD * 255


def compare(group, paths, probes, size, lenient=False):
    """returns the number of files beyond a limit; prints a line for the group."""
    tallies = collections.defaultdict(Tally)
    outcome, broken = collections.Counter(), 0
    raw = {"do_normalize": False, "do_rescale": False}
    two_pass, installed = two_pass_processor(size, **raw), processor(size, **raw)
    normalizing = two_pass_processor(size)
    for path in paths:
        try:
            image = Image.open(path).convert("RGB")
        except Exception as reason:
            image, why = None, type(reason).__name__
        for aspect, probe in probes.items():
            ours = probe(path)
            if isinstance(ours, str) or image is None:
                kind = ("both refuse" if image is None else "only we refuse") \
                    if isinstance(ours, str) else "ONLY PILLOW REFUSES"
                outcome[kind] += aspect == "square"
                broken += kind.isupper()
                if aspect == "square" and kind != "both refuse" and not lenient:
                    print(f"    {os.path.basename(path)}: {kind}: "
                          f"{ours if isinstance(ours, str) else why}")
                continue
            outcome["equal decision"] += aspect == "square"
            picture = pad_to_square(image) if aspect == "pad" else image
            made = [how(picture, input_data_format="channels_last")["pixel_values"][0]
                    for how in (two_pass, installed, normalizing)]
            same = tallies["decoded"].add(ours[0], np.array(image)) if aspect == "square" else True
            same &= tallies["square"].add(ours[1], made[0].transpose(1, 2, 0))
            same &= tallies["floats"].add(levels(ours[2]), levels(made[2]))
            if not tallies["installed"].add(ours[1], made[1].transpose(1, 2, 0)):
                print(f"    {os.path.basename(path)}, {aspect}: the installed Pillow differs from "
                      "its own two passes")
            if not same:
                broken += 1
                print(f"    {os.path.basename(path)}, {aspect}: beyond the limit")
    parts = " |".join(str(tallies[key]) for key in ("decoded", "square", "installed", "floats"))
    print(f"{group:<22}|{parts} | " + ", ".join(f"{n} {k}" for k, n in sorted(outcome.items())))
    sys.stdout.flush()
    return broken


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("probe")
    parser.add_argument("data")
    parser.add_argument("--size", type=int, default=336)
    how = parser.parse_args()
    probes = {aspect: Probe(how.probe, how.size, aspect) for aspect in ("square", "pad")}
    print(f"size {how.size}: largest and mean difference in levels of 255\n"
          f"{'':<22}|{'decoded':^17} |{'square':^17} |{'installed':^17} |{'floats':^17} |")
    broken = 0
    with tempfile.TemporaryDirectory() as work:
        folders = {}
        for name, write in (("PNG forms", write_pngs), ("JPEG, WebP, MPO", write_jpegs_and_webps),
                            ("other JPEG forms", write_other_jpegs), ("cut or changed", write_damaged)):
            folders[name] = os.path.join(work, name)
            os.mkdir(folders[name])
            write(folders[name])
        groups = [("photographs", how.data + "/coco/images/*.jpg"),
                  ("llava_examples", how.data + "/llava_examples/images/**/*.*"),
                  ("odd_images/ok", how.data + "/odd_images/ok/*.*"),
                  ("odd_images/bad", how.data + "/odd_images/bad/*.[jp]*g"),
                  ("golden", GOLDEN + "/*.[jpw]*[gp]")]
        groups += [(name, folder + "/*") for name, folder in folders.items()]
        for name, pattern in groups:
            paths = sorted(glob.glob(pattern, recursive=True))
            broken += compare(name, paths, probes, how.size, lenient=name == "cut or changed")
    print("limits kept" if broken == 0 else f"{broken} beyond the limits")
    return broken > 0


if __name__ == "__main__":
    sys.exit(main())
