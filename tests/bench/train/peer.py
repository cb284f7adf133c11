#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The peer: transformers' LlavaForConditionalGeneration trained by a plain torch loop on the CPU.

    peer.py --model DIR --pack PACK --size 224 --samples 4 --stage 1|2 --precision f32|pure|autocast
            [--features given|live] [--micro N] [--attention sdpa|eager] [--optimizer fused|foreach]
            [--head default|supervised] [--compile] [--threads N]

Loads the model and waits for lines on its standard input; "step" makes one optimizer step on the
samples and answers with a JSON line: loss, grad_norm, seconds. The end of the input ends it.

precision   pure: weights, gradients and moments in bf16. autocast: weights that are trained f32,
            the frozen ones bf16, products bf16. f32: everything.
features    given: the tower's output is computed once, before the first step. live: each step.
head        default: transformers' own, logits and loss of every row. supervised: tuned by hand,
            logits of the supervised rows alone.
"""
import argparse
import contextlib
import json
import os
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import torch.nn.functional as F
from transformers import LlavaForConditionalGeneration

import samples

LR = {1: 1e-3, 2: 2e-5}
MAX_GRAD_NORM = 1.0


def load(args):
    dtype = torch.float32 if args.precision == "f32" else torch.bfloat16
    model = LlavaForConditionalGeneration.from_pretrained(args.model, dtype=dtype,
                                                          attn_implementation=args.attention)
    model.train()
    model.requires_grad_(False)
    trained = [model.model.multi_modal_projector]
    if args.stage == 2:
        trained += [model.model.language_model, model.lm_head]
    for module in trained:
        module.requires_grad_(True)
        if args.precision == "autocast":
            module.float()
    return model


class Trainer:
    def __init__(self, args):
        self.args, self.model = args, load(args)
        config = self.model.config
        ids, labels, pixels = samples.read(args.pack, args.size, config.image_token_id)
        n, self.dtype = args.samples, next(self.model.model.vision_tower.parameters()).dtype
        self.ids, self.labels, pixels = ids[:n], labels[:n], pixels[:n].to(self.dtype)
        self.pixels = self.features = None
        if args.features == "live":
            self.pixels = pixels
        else:
            self.features = self.given_features(pixels)
            self.model.model.vision_tower = None
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=LR[args.stage], weight_decay=0.0,
                                           fused=args.optimizer == "fused",
                                           foreach=args.optimizer == "foreach")
        self.forward = torch.compile(self.loss) if args.compile else self.loss

    @torch.no_grad()
    def given_features(self, pixels):
        """What the tower's hidden state -2 is where it has one layer: that of before the layer."""
        hidden = self.model.model.vision_tower(pixels, output_hidden_states=True).hidden_states
        return hidden[self.model.config.vision_feature_layer][:, 1:].contiguous()

    def embeds(self, ids, features):
        """With features given nothing has to be searched for or scattered: they have one place."""
        rows = features.shape[1]
        at = int((ids[0] == self.model.config.image_token_id).nonzero()[0])
        text = self.model.get_input_embeddings()(ids)
        image = self.model.model.multi_modal_projector(features).to(text.dtype)
        return torch.cat((text[:, :at], image, text[:, at + rows:]), dim=1)

    def loss(self, ids, labels, pixels, features):
        """The mean over the supervised tokens of these samples."""
        inputs = dict(input_ids=ids, pixel_values=pixels)
        if features is not None:
            inputs = dict(inputs_embeds=self.embeds(ids, features))
        if self.args.head == "default":
            return self.model(**inputs, labels=labels, use_cache=False).loss
        hidden = self.model.model(**inputs, use_cache=False).last_hidden_state
        targets = F.pad(labels[:, 1:], (0, 1), value=samples.IGNORE)
        keep = targets != samples.IGNORE
        return F.cross_entropy(self.model.lm_head(hidden[keep]).float(), targets[keep])

    def step(self):
        start, total = time.perf_counter(), 0.0
        n, micro = self.args.samples, self.args.micro or self.args.samples
        autocast = contextlib.nullcontext()
        if self.args.precision == "autocast":
            autocast = torch.autocast("cpu", dtype=torch.bfloat16)
        for begin in range(0, n, micro):
            part = slice(begin, begin + micro)
            with autocast:
                loss = self.forward(self.ids[part], self.labels[part],
                                    None if self.pixels is None else self.pixels[part],
                                    None if self.features is None else self.features[part])
                loss = loss * (micro / n)  # every sample has as many labels
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(self.trained, MAX_GRAD_NORM).item()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return dict(loss=total, grad_norm=norm, seconds=time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--pack", required=True)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--stage", type=int, choices=[1, 2], required=True)
    parser.add_argument("--precision", choices=["f32", "pure", "autocast"], required=True)
    parser.add_argument("--features", choices=["given", "live"], default="given")
    parser.add_argument("--micro", type=int)
    parser.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa")
    parser.add_argument("--optimizer", choices=["fused", "foreach"], default="fused")
    parser.add_argument("--head", choices=["default", "supervised"], default="default")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    trainer = Trainer(args)
    for line in sys.stdin:
        assert line.strip() == "step", line
        print(json.dumps(trainer.step()), flush=True)


if __name__ == "__main__":
    main()
