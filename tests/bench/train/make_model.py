#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random weights in Hugging Face's LLaVA layout, which transformers and llava both read.

    make_model.py --shape 110m|1.1b --tower given|clip-l --size 224|336 --dtype bf16|f32
                  --tokenizer DIR --out DIR

The same seed gives the same values whatever the dtype: those of f32 are bf16's, widened. The tower
`clip-l` is CLIP-L/14. `given` stands for features that come from elsewhere: as wide, but with one
layer, which the features of layer -2 do not pass: its patch embedding and norm are all that runs.
"""
import argparse
import os
import pathlib
import shutil

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

VOCAB = 32000
IMAGE_TOKEN = VOCAB - 1  # no text has it: the bench's tokenizer is smaller than the vocabulary
LLAMA = {
    "110m": dict(hidden_size=768, intermediate_size=2048, num_hidden_layers=12,
                 num_attention_heads=12, num_key_value_heads=12),
    "1.1b": dict(hidden_size=2048, intermediate_size=5632, num_hidden_layers=22,
                 num_attention_heads=32, num_key_value_heads=4),
}
TOWER_LAYERS = {"given": 1, "clip-l": 24}


def config_of(shape, tower, size):
    text = LlamaConfig(vocab_size=VOCAB, max_position_embeddings=2048, rms_norm_eps=1e-5,
                       rope_theta=10000.0, tie_word_embeddings=False, bos_token_id=1,
                       eos_token_id=2, pad_token_id=None, **LLAMA[shape])
    vision = CLIPVisionConfig(hidden_size=1024, intermediate_size=4096,
                              num_hidden_layers=TOWER_LAYERS[tower], num_attention_heads=16,
                              image_size=size, patch_size=14, hidden_act="quick_gelu",
                              projection_dim=768)
    return LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE_TOKEN,
                       projector_hidden_act="gelu", vision_feature_layer=-2,
                       vision_feature_select_strategy="default",
                       image_seq_length=(size // 14) ** 2, tie_word_embeddings=False)


def fill(model, seed):
    """Matrices normal with 1/sqrt(fan_in), so that activations neither vanish nor grow; the rest
    as it is. In the order of the names, and each from a generator of its own."""
    with torch.no_grad():
        for i, (name, p) in enumerate(sorted(model.named_parameters())):
            generator = torch.Generator().manual_seed(1000 * seed + i)
            if p.dim() >= 2:
                scale = 0.02 if "embed" in name or "lm_head" in name else p[0].numel() ** -0.5
                p.copy_(torch.randn(p.shape, generator=generator) * scale)


def make(shape, tower, size, dtype, tokenizer, out, seed=1):
    out = pathlib.Path(out)
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    torch.manual_seed(seed)
    torch.set_default_dtype(torch.bfloat16)
    model = LlavaForConditionalGeneration(config_of(shape, tower, size))
    torch.set_default_dtype(torch.float32)
    fill(model, seed)
    if dtype == "f32":
        model = model.float()
    model.save_pretrained(partial)
    for file in pathlib.Path(tokenizer).iterdir():
        shutil.copy(file, partial)
    partial.rename(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=LLAMA, required=True)
    parser.add_argument("--tower", choices=TOWER_LAYERS, required=True)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--dtype", choices=["bf16", "f32"], default="bf16")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--out", required=True)
    make(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
