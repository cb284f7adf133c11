#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The bench's samples: a pack for llava, and the same ids, labels and pixels as tensors.

    samples.py --llava LLAVA --tokenizer DIR --size 224|336 --count N --out PACK

Each sample is one image of its own and TEXT_TOKENS tokens of text, SUPERVISED_TOKENS of them the
answer. Words are single tokens, pictures smooth noise, all from a seed. The pack stores pixels at
the tower's size, so that neither side decodes.
"""
import argparse
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

import h5py
import numpy as np
import torch
from PIL import Image

TEXT_TOKENS, SUPERVISED_TOKENS = 64, 32
IGNORE, IMAGE = -100, -200
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


def single_token_words(tokenizer):
    """Words that one piece spells with its space, too long to be a part of another's."""
    vocabulary = json.loads((pathlib.Path(tokenizer) / "tokenizer.json").read_text())
    words = [piece[1:] for piece in vocabulary["model"]["vocab"] if piece.startswith("▁")]
    return sorted(w for w in words if len(w) >= 3 and w.isascii() and w.islower() and w.isalpha())


def write_image(path, rng):
    coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((640, 480), Image.BICUBIC).save(path, quality=90)


def make_pack(llava, tokenizer, size, count, n_question_words, out):
    words, chooser, rng = single_token_words(tokenizer), random.Random(1), np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as work:
        work, records = pathlib.Path(work), []
        for i in range(count):
            write_image(work / f"{i}.jpg", rng)
            question, answer = (" ".join(chooser.choices(words, k=k))
                                for k in (n_question_words, SUPERVISED_TOKENS - 1))  # and EOS
            records.append({"id": i, "image": f"{i}.jpg", "system_prompt": "Be brief.",
                            "conversations": [{"from": "human", "value": f"<image>\nWhat {question}"},
                                              {"from": "gpt", "value": answer}]})
        (work / "chat.json").write_text(json.dumps(records))
        run(llava, "pack", "--data", work / "chat.json", "--images", work, "--tokenizer",
            tokenizer, "--template", "v1", "--store", "rgb", "--image-size", size, "--out", out)


def counts_of(pack):
    with h5py.File(pathlib.Path(pack) / "samples-00000.h5") as file:
        return file["counts"][:]


def make(llava, tokenizer, size, count, out):
    """The question has as many words as fill the sample: found with a first pack of one sample."""
    partial = pathlib.Path(str(out) + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    make_pack(llava, tokenizer, size, 1, 1, partial)
    n_tokens = counts_of(partial)[0][0] - 1  # without the image's mark
    shutil.rmtree(partial)
    make_pack(llava, tokenizer, size, count, 1 + TEXT_TOKENS - n_tokens, partial)
    counts = counts_of(partial)
    expected = [TEXT_TOKENS + 1, SUPERVISED_TOKENS, 1]
    assert counts.shape[0] == count and (counts[:, :3] == expected).all(), counts
    partial.rename(out)


def read(pack, size, image_token):
    """ids (N, rows) with image_token at the image's rows, labels (N, rows), pixels (N, 3, S, S)."""
    pack, rows = pathlib.Path(pack), (size // 14) ** 2
    with h5py.File(pack / "samples-00000.h5") as file:
        tokens, supervised = file["tokens"][:], file["supervised"][:]
        offsets = file["sample_offset"][:]
        assert (file["sample_image"][:] == np.arange(len(offsets) - 1)).all()
    images = []
    for path in sorted(pack.glob("images-*.h5")):
        with h5py.File(path) as file:
            images.append(file["bytes"][:].reshape(-1, size, size, 3))
    levels = torch.from_numpy(np.concatenate(images))
    ids, labels = [], []
    for begin, end in zip(offsets, offsets[1:]):
        sample, flags = tokens[begin:end], supervised[begin:end]
        repeats = np.where(sample == IMAGE, rows, 1)
        ids.append(np.repeat(np.where(sample == IMAGE, image_token, sample), repeats))
        labels.append(np.repeat(np.where(flags == 1, sample, IGNORE), repeats))
    pixels = ((levels.float() / 255 - MEAN) / STD).permute(0, 3, 1, 2).contiguous()
    return (torch.from_numpy(np.stack(ids)).long(), torch.from_numpy(np.stack(labels)).long(),
            pixels)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llava", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--out", required=True)
    make(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
