#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Load a directory that llava wrote with transformers (4.57 or 5), and say what it says.

Every warning that names the model is an error: a missing, unexpected or mismatched tensor, a
deprecated key, a tokenizer or processor that complains. Then one forward pass in float32:

    check_export.py DIR                          warnings, and the logits of a fixed input
    check_export.py DIR --reference DIR2         the same input through both; they must agree
    check_export.py DIR --ids 1,-200,5 --pixels image.f32 --out logits.f32
                                                 an input of one's own, for comparison with llava:
                                                 -200 stands for the image, files are raw float32

Exit status 0 if there was no warning and the logits agree.
"""
import argparse
import json
import logging
import os
import sys
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import transformers

# What says something about this machine or a default, and nothing about the directory.
NOT_OURS = ("torchvision", "`use_fast`")
IMAGE = -200


class Collector(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


def collect(function, *args, **kwargs):
    """The function's result and the warnings that it gave, by either mechanism."""
    handler = Collector()
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function(*args, **kwargs)
    logger.removeHandler(handler)
    messages = handler.messages + [str(w.message) for w in caught]
    return result, [m for m in messages if not any(part in m for part in NOT_OURS)]


def load(directory):
    with open(os.path.join(directory, "config.json")) as file:
        name = json.load(file)["architectures"][0]
    (model, info), messages = collect(getattr(transformers, name).from_pretrained, directory,
                                      output_loading_info=True, dtype=torch.float32)
    messages += [f"{key}: {sorted(value)}" for key, value in info.items() if value]
    return model.eval(), messages


def check_processor(directory, config):
    """The processor turns one <image> into as many image tokens as there are feature rows."""
    if not any(os.path.exists(os.path.join(directory, name))
               for name in ("tokenizer.json", "tokenizer.model")):
        print("no tokenizer in the directory: processor not tried")
        return []
    processor, messages = collect(transformers.AutoProcessor.from_pretrained, directory)
    size = config.vision_config.image_size
    image = np.full((size * 3 // 4, size, 3), 128, np.uint8)
    inputs, more = collect(processor, images=image, text="a <image>\nb", return_tensors="pt")
    messages += more
    n_image = int((inputs["input_ids"] == config.image_token_id).sum())
    rows = (size // config.vision_config.patch_size) ** 2
    rows += config.vision_feature_select_strategy == "full"
    if n_image != rows:
        messages.append(f"the processor gives {n_image} image tokens, the model has {rows} rows")
    if tuple(inputs["pixel_values"].shape[-2:]) != (size, size):
        messages.append(f"the processor gives images of {tuple(inputs['pixel_values'].shape)}")
    print("processor:", type(processor.image_processor).__name__, type(processor.tokenizer).__name__,
          "ids", inputs["input_ids"][0, :4].tolist(), "...")
    return messages


def vision_pixels(config, path):
    shape = (1, config.num_channels, config.image_size, config.image_size)
    if path:
        return torch.from_numpy(np.fromfile(path, "<f4").reshape(shape).copy())
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def outputs_of(model, ids, pixels):
    config = model.config
    with torch.no_grad():
        if config.model_type == "clip_vision_model":
            return model(pixel_values=vision_pixels(config, pixels)).last_hidden_state[0]
        text = config.get_text_config()
        ids = ids or [1, 5, IMAGE, 7, 3, 9] if config.model_type == "llava" else ids or [1, 5, 7, 3]
        images = {}
        if IMAGE in ids:
            vision = config.vision_config
            rows = (vision.image_size // vision.patch_size) ** 2
            rows += config.vision_feature_select_strategy == "full"
            at = ids.index(IMAGE)
            ids = ids[:at] + [config.image_token_id] * rows + ids[at + 1:]
            images["pixel_values"] = vision_pixels(vision, pixels)
        assert max(ids) < text.vocab_size, "an id outside the vocabulary"
        return model(input_ids=torch.tensor([ids]), **images).logits[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--reference", help="a directory whose logits must be the same")
    parser.add_argument("--tolerance", type=float, default=0.0, help="largest difference allowed")
    parser.add_argument("--ids", help="token ids, separated by commas; -200 is the image")
    parser.add_argument("--pixels", help="normalised pixels (3, N, N), raw float32")
    parser.add_argument("--out", help="file for the logits (rows, vocabulary), raw float32")
    args = parser.parse_args()
    ids = [int(i) for i in args.ids.split(",")] if args.ids else None

    model, messages = load(args.directory)
    if model.config.model_type == "llava":
        messages += check_processor(args.directory, model.config)
    outputs = outputs_of(model, ids, args.pixels)
    top = torch.topk(outputs[-1], min(5, outputs.shape[-1]))
    print("transformers", transformers.__version__, "outputs", tuple(outputs.shape))
    print("last row:", [(int(i), round(float(v), 6)) for v, i in zip(*top)])
    if args.out:
        outputs.numpy().astype("<f4").tofile(args.out)
    failed = bool(messages)
    for message in messages:
        print("WARNING:", message)
    if args.reference:
        expected = outputs_of(load(args.reference)[0], ids, args.pixels)
        width = min(expected.shape[-1], outputs.shape[-1])  # an export may have more rows
        worst = float((expected[:, :width] - outputs[:, :width]).abs().max())
        print("largest difference from the reference:", worst)
        failed |= not worst <= args.tolerance
    print("FAILED" if failed else "ok")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
