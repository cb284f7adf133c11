#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does `llava generate` say what transformers says of the same model directory?

    python check_generation.py MODEL --images DIR [--llava build/llava] [--seeds 300]

MODEL is a directory in transformers' LLaVA layout (`llava train` with a full output, or `llava
export`). For each of several photographs of DIR and several questions: the processor and
`generate` of transformers, greedily, against the text of `llava generate`; and the processor's ids
against those of reference_train.py. Then the first token of sampled answers, one llava a seed, is
counted and compared with the distribution that transformers' logits give: the chi-square must lie
below its 99.9% point. Exit status 0 if all of it agrees.
"""
import argparse
import collections
import os
import pathlib
import subprocess
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

from reference_train import IMAGE, MARK, SYSTEM, tokenise

ROOT = pathlib.Path(__file__).resolve().parents[3]
QUESTIONS = ["What is in the picture?", "What colour is it? Name  two things.",
             "Où est-ce ? 写真 🙂", "<image>\nDescribe the photograph in detail."]


def ask_llava(llava, model, image, question, *more):
    command = [llava, "generate", "--model", model, "--prompt", question, *more]
    command += ["--image", image] if image else []
    done = subprocess.run([str(c) for c in command], capture_output=True, check=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    return done.stdout.decode().removesuffix("\n")


def prompt_of(question, with_image):
    text = question.replace(MARK, "").strip() if MARK in question else question
    return f"{SYSTEM} USER: {MARK + chr(10) if with_image else ''}{text} ASSISTANT:"


def whole_characters(text):
    return text.rstrip("\ufffd")  # llava prints a character when its last byte is there


class Transformers:
    def __init__(self, directory):
        self.model = LlavaForConditionalGeneration.from_pretrained(directory, dtype=torch.float32)
        self.model.eval()
        self.processor = AutoProcessor.from_pretrained(directory)
        self.tokenizer = self.processor.tokenizer

    def inputs(self, image, question):
        images = {"images": Image.open(image).convert("RGB")} if image else {}
        return self.processor(text=prompt_of(question, bool(image)), return_tensors="pt", **images)

    def answer(self, image, question, n):
        inputs = self.inputs(image, question)
        out = self.model.generate(**inputs, max_new_tokens=n, do_sample=False)
        new = out[0, inputs["input_ids"].shape[1]:]
        return self.tokenizer.decode(new, skip_special_tokens=True)

    def check_ids(self, image, question):
        """The processor's ids are those of training, with as many image tokens as rows."""
        ids = self.inputs(image, question)["input_ids"][0].tolist()
        parts = [(prompt_of(question, bool(image)), False)]
        expected, _ = tokenise(self.tokenizer, parts)
        image_id = self.model.config.image_token_id
        shrunk = [IMAGE if t == image_id else t for i, t in enumerate(ids)
                  if t != image_id or ids[i - 1] != image_id]
        return shrunk == expected

    def distribution(self, image, question, temperature, top_p):
        with torch.no_grad():
            logits = self.model(**self.inputs(image, question)).logits[0, -1].double()
        p, order = (logits / temperature).softmax(-1).sort(descending=True)
        p[p.cumsum(0) - p >= top_p] = 0
        return dict(zip(order.tolist(), (p / p.sum()).tolist()))


def check_greedy(reference, llava, model, images):
    wrong = 0
    for image in images:
        for question in QUESTIONS if image else QUESTIONS[:3]:
            ours = ask_llava(llava, model, image, question, "--max-new-tokens", 40)
            theirs = whole_characters(reference.answer(image, question, 40))
            same_ids = reference.check_ids(image, question)
            if ours != theirs or not same_ids:
                wrong += 1
                print(f"DIFFERS {image} {question!r}, ids {'equal' if same_ids else 'differ'}\n"
                      f"  llava        {ours!r}\n  transformers {theirs!r}")
            else:
                print(f"equal: {question!r} {ours[:50]!r}")
    return wrong


def check_sampling(reference, llava, model, image, n_seeds, temperature, top_p):
    expected = collections.Counter()
    for token, p in reference.distribution(image, QUESTIONS[0], temperature, top_p).items():
        text = reference.tokenizer.decode([token], skip_special_tokens=True)
        expected[whole_characters(text)] += p * n_seeds
    counts = collections.Counter(
        ask_llava(llava, model, image, QUESTIONS[0], "--max-new-tokens", 1, "--temperature",
                  temperature, "--top-p", top_p, "--seed", seed) for seed in range(n_seeds))
    impossible = [text for text in counts if expected[text] == 0]
    classes = [[0, 0.0]]  # likelier ones alone, the others together
    for text, e in expected.most_common():
        if classes[-1][1] >= 15:
            classes.append([0, 0.0])
        classes[-1] = [classes[-1][0] + counts[text], classes[-1][1] + e]
    if len(classes) > 1 and classes[-1][1] < 5:
        n, e = classes.pop()
        classes[-1] = [classes[-1][0] + n, classes[-1][1] + e]
    chi2 = sum((n - e) ** 2 / e for n, e in classes)
    df = len(classes) - 1
    # Wilson and Hilferty's cube: 3.09 standard deviations of a normal variable are 99.9%
    limit = df * (1 - 2 / (9 * df) + 3.09 * (2 / (9 * df)) ** 0.5) ** 3 if df else 0.0
    fits = chi2 <= limit and not impossible
    print(f"{'fits' if fits else 'DIFFERS'}: temperature {temperature} top_p {top_p}: {n_seeds} "
          f"seeds, {len(classes)} classes, chi-square {chi2:.1f}, 99.9% point {limit:.1f}"
          + (f", impossible: {impossible}" if impossible else ""))
    return not fits


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--images", required=True)
    parser.add_argument("--llava", default=ROOT / "build/llava")
    parser.add_argument("--photographs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=300)
    args = parser.parse_args()
    torch.set_num_threads(1)
    reference = Transformers(args.model)
    images = sorted(pathlib.Path(args.images).glob("*.jpg"))[:args.photographs]
    wrong = check_greedy(reference, args.llava, args.model, images + [None])
    for temperature, top_p in ((1.0, 1.0), (2.5, 0.95), (4.0, 0.6)) if args.seeds else ():
        wrong += check_sampling(reference, args.llava, args.model, images[0], args.seeds,
                                temperature, top_p)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
