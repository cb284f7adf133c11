#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write groups.txt: the epochs that LLaVA's own sampler makes of small sets of samples.

    make_golden.py LLAVA > groups.txt        LLAVA: a checkout of haotian-liu/LLaVA

get_modality_length_grouped_indices is taken from llava/train/llava_trainer.py and run as it is; its
torch.randperm is replaced by the permutations of data/loader/permutation.h, written here a second time, so
that what differs is the structure alone: which samples make a megabatch, their order in it, and
what becomes of the last ones. A line a case: name, samples, batch, seed, epoch, then the samples
("5i" 5 words and an image, "7t" 7 words of text), then after "=" the epoch's ids.
"""
import ast
import math
import pathlib
import random
import sys
import types
from typing import List, Optional  # noqa: F401  (names that the source uses)

import torch

MASK = (1 << 64) - 1
KEY_KIND, KEY_MEGABATCHES = 0x5A4F, 0x5A50
TEXT, IMAGE = 0, 1


def philox(key, high, low):
    """Philox4x32-10 (Salmon et al. 2011): the first 64 bits."""
    c = [low & 0xFFFFFFFF, low >> 32, high & 0xFFFFFFFF, high >> 32]
    k = [key & 0xFFFFFFFF, key >> 32]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [p1 >> 32 ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, p0 >> 32 ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c[1] << 32 | c[0]


def permutation(n, key):
    """Where a Feistel network over digits to the base ceil(sqrt(n)) sends 0..n-1."""
    base = math.isqrt(n - 1) + 1 if n > 0 else 1

    def send(i):
        while True:
            a, b = divmod(i, base)
            for turn in range(8):
                a, b = b, (a + philox(key, turn, b) % base) % base
            i = a * base + b
            if i < n:
                return i

    return [send(i) for i in range(n)]


def sampler_of(llava):
    source = pathlib.Path(llava, "llava/train/llava_trainer.py").read_text()
    wanted = {"split_to_even_chunks", "get_modality_length_grouped_indices",
              "get_length_grouped_indices"}
    tree = ast.parse(source)
    tree.body = [node for node in tree.body
                 if isinstance(node, ast.FunctionDef) and node.name in wanted]
    names = {"torch": types.SimpleNamespace()}
    exec(compile(tree, "llava_trainer.py", "exec"), names)
    return names


def epoch_of(names, lengths, batch, seed, epoch):
    n_images = sum(length > 0 for length in lengths)
    n_texts = len(lengths) - n_images
    drawn = []
    if n_images:
        drawn.append((n_images, philox(seed, IMAGE << 32 | KEY_KIND, epoch)))
    if n_texts:
        drawn.append((n_texts, philox(seed, TEXT << 32 | KEY_KIND, epoch)))
    if n_images and n_texts:
        n_full = math.ceil(n_images / batch) - 1 + math.ceil(n_texts / batch) - 1
        drawn.append((n_full, philox(seed, KEY_MEGABATCHES, epoch)))
    turns = iter(drawn)

    def randperm(n, generator=None):
        expected, key = next(turns)
        assert n == expected, (n, expected)
        return torch.tensor(permutation(n, key), dtype=torch.int64)

    names["torch"].randperm = randperm
    if n_images == 0:
        # LLaVA sorts these by their negative lengths, so shortest first: of a step's samples the
        # order is of no consequence, and here all megabatches have the longest first
        lengths = [-length for length in lengths]
    # one rank: its share of a megabatch is the megabatch
    ids = names["get_modality_length_grouped_indices"](lengths, batch, 1)
    assert next(turns, None) is None
    return [int(i) for i in ids]


CASES = [  # name, images, texts, batch
    ("mixed", 37, 23, 8), ("full-last-of-both", 24, 16, 8), ("full-last-of-one", 24, 13, 8),
    ("merged-of-one-step", 19, 11, 8), ("few-texts", 40, 2, 6), ("few-images", 1, 30, 7),
    ("all-in-one", 3, 4, 16), ("two-last-alone", 5, 6, 8), ("images-alone", 29, 0, 8),
    ("texts-alone", 0, 21, 4), ("batch-of-one", 6, 5, 1), ("large-seed", 50, 50, 12),
]


def main():
    names = sampler_of(sys.argv[1])
    for number, (name, n_images, n_texts, batch) in enumerate(CASES):
        chance = random.Random(number)
        kinds = [1] * n_images + [-1] * n_texts
        chance.shuffle(kinds)
        lengths = [kind * chance.randint(1, 12) for kind in kinds]  # few, so that many are equal
        seed = 999999999999999 if name == "large-seed" else 42 + number
        for epoch in (0, 3):
            ids = epoch_of(names, lengths, batch, seed, epoch)
            samples = " ".join(f"{abs(x)}{'i' if x > 0 else 't'}" for x in lengths)
            print(name, len(lengths), batch, seed, epoch, samples, "=", *ids)


if __name__ == "__main__":
    main()
