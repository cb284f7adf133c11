#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden data for the models: small random LLaVAs with what PyTorch and transformers make of them.

    python make_golden.py [--story DIR]

Writes, beside this file, one folder a shape:
  vision_tower/ language_model/ projector.safetensors   the model (or llava/, one directory, bf16)
  samples.json            token ids (-200: an image), supervised mask, per sample and total loss
  reference.safetensors   pixels; features; logits.<sample>; grad.<parameter> of the summed loss
  run_<name>.json/.safetensors   30 steps of AdamW: loss and gradient norm a step; the final change
                          of every trained parameter
and, if the story model is there, story.json: prompts and their greedy continuations.

Everything is computed in f64 from the f32 (or bf16) weights that are stored and rounded to f32
once; the same in f32 must agree within 1e-5, or the script stops.
Written with torch 2.13 and transformers 4.57 on a CPU; big models' files are not involved.
"""
import argparse
import copy
import json
import pathlib
import shutil

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import (AutoTokenizer, CLIPVisionConfig, LlamaConfig, LlamaForCausalLM,
                          LlavaConfig, LlavaForConditionalGeneration,
                          get_cosine_schedule_with_warmup)
from transformers.models.llama import modeling_llama

HERE = pathlib.Path(__file__).resolve().parent
IMAGE = -200
IMAGE_ID = 47  # transformers wants an id for it; no text has it
IGNORE = -100
VOCAB = 48


def rmsnorm_without_downcast(self, x):
    """LlamaRMSNorm, which goes down to f32, in the precision of its input."""
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


modeling_llama.LlamaRMSNorm.forward = rmsnorm_without_downcast

VISION = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2,
              image_size=8, patch_size=4, projection_dim=12, hidden_act="quick_gelu")
TEXT = dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=40, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
            bos_token_id=1, eos_token_id=2, tie_word_embeddings=False)
SHAPES = {
    # grouped queries, untied, the usual connector: the shape of LLaVA 1.5
    "gqa": dict(vision={}, text={}, projector="mlp2x_gelu", layer=-2, feature="patch"),
    # the first LLaVA's connector; tied, biases, gelu, last hidden state, class row kept
    "bias": dict(vision=dict(hidden_act="gelu"),
                 text=dict(num_key_value_heads=4, tie_word_embeddings=True, attention_bias=True),
                 projector="linear", layer=-1, feature="cls_patch"),
    # heads that are not hidden_size / n_heads wide, one key/value head, another theta
    "headdim": dict(vision=dict(hidden_size=24, num_attention_heads=3, layer_norm_eps=1e-4),
                    text=dict(num_key_value_heads=1, head_dim=12, mlp_bias=True,
                              num_hidden_layers=3, rope_theta=500000.0, rms_norm_eps=1e-3),
                    projector="mlp2x_gelu", layer=1, feature="patch"),
    # one LLaVA directory as transformers writes it, bf16
    "llava_bf16": dict(vision={}, text=dict(tie_word_embeddings=True), projector="mlp2x_gelu",
                       layer=-3, feature="cls_patch"),
}


def build(spec, generator):
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**{**VISION, **spec["vision"]}),
        text_config=LlamaConfig(**{**TEXT, **spec["text"]}),
        image_token_index=IMAGE_ID, vision_feature_layer=spec["layer"],
        vision_feature_select_strategy="default" if spec["feature"] == "patch" else "full",
        projector_hidden_act="gelu", tie_word_embeddings=spec["text"].get("tie_word_embeddings", False))
    config._attn_implementation = "sdpa"
    model = LlavaForConditionalGeneration(config)
    if spec["projector"] == "linear":
        model.model.multi_modal_projector = torch.nn.Linear(config.vision_config.hidden_size,
                                                            config.text_config.hidden_size)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if name.endswith("bias"):
                p.copy_(0.2 * noise)
            elif "norm" in name:
                p.copy_(1 + 0.2 * noise)
            elif p.dim() == 1 or "embed" in name:
                p.copy_(0.7 * noise)
            else:
                p.copy_(noise / p[0].numel() ** 0.5)
    return model.eval()


def canonical(name):
    name = name.removeprefix("model.")
    for old, new in (("multi_modal_projector.linear_1.", "projector.0."),
                     ("multi_modal_projector.linear_2.", "projector.2."),
                     ("multi_modal_projector.", "projector.0."),
                     ("language_model.", "language_model.model."),
                     ("lm_head.", "language_model.lm_head.")):
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def make_samples(n, generator):
    """Different lengths; one image, two images and none; answers in one or two spans."""
    kinds = [(1, 9, 1), (0, 11, 1), (2, 12, 2), (1, 5, 1), (0, 3, 1), (1, 14, 2)]
    samples = []
    for i in range(n):
        n_images, n_text, spans = kinds[i % len(kinds)]
        n_text += i // len(kinds)
        ids = torch.randint(3, IMAGE_ID, (n_text,), generator=generator).tolist()
        mask = [0] * n_text
        for s in range(spans):
            end = n_text if s == 0 else n_text // 2
            for t in range(max(1, end - 3), end):
                mask[t] = 1
        tokens, supervised = [1], [0]
        for k in range(n_images):  # the first image after BOS, the second inside the text
            at = 0 if k == 0 else 3
            ids.insert(at, IMAGE)
            mask.insert(at, 0)
        samples.append(dict(tokens=tokens + ids, supervised=supervised + mask, n_images=n_images))
    return samples


def inputs_of(sample, rows_per_image):
    ids, labels = [], []
    for token, supervised in zip(sample["tokens"], sample["supervised"]):
        count = rows_per_image if token == IMAGE else 1
        ids += [IMAGE_ID if token == IMAGE else token] * count
        labels += [token if supervised else IGNORE] * count
    return torch.tensor([ids]), torch.tensor(labels)


def run_sample(model, sample, pixels):
    """Logits of all rows and the summed loss of one sample, by itself: no padding anywhere."""
    side = model.config.vision_config.image_size // model.config.vision_config.patch_size
    rows = side * side + (model.config.vision_feature_select_strategy == "full")
    ids, labels = inputs_of(sample, rows)
    logits = model(input_ids=ids, pixel_values=pixels if len(pixels) else None).logits[0]
    loss = F.cross_entropy(logits[:-1], labels[1:], ignore_index=IGNORE, reduction="sum")
    return logits, loss


def split_pixels(samples, pixels):
    out, first = [], 0
    for sample in samples:
        out.append(pixels[first:first + sample["n_images"]])
        first += sample["n_images"]
    return out


def relative(a, b):
    return float((a.double() - b.double()).norm() / b.double().norm().clamp_min(1e-30))


def evaluate(model, samples, pixels, dtype):
    model = copy.deepcopy(model).to(dtype)
    out = dict(losses=[], tensors={})
    for i, (sample, mine) in enumerate(zip(samples, split_pixels(samples, pixels.to(dtype)))):
        logits, loss = run_sample(model, sample, mine)
        loss.backward()
        out["losses"].append(loss.item())
        out["tensors"][f"logits.{i}"] = logits.detach()
    features = model.get_image_features(
        pixel_values=pixels.to(dtype), vision_feature_layer=model.config.vision_feature_layer,
        vision_feature_select_strategy=model.config.vision_feature_select_strategy)
    out["tensors"]["features"] = torch.cat(tuple(features)).detach()
    for name, p in model.named_parameters():
        if p.grad is not None:
            out["tensors"]["grad." + canonical(name)] = p.grad
    return out


def check_f32(f64, f32):
    all_grads = sum(float(t.norm()) ** 2 for n, t in f64["tensors"].items() if n.startswith("grad"))
    for name, want in f64["tensors"].items():
        floor = 1e-7 * all_grads ** 0.5 if name.startswith("grad") else 0
        error = float((f32["tensors"][name].double() - want).norm())
        assert error <= 1e-5 * max(float(want.norm()), floor) or error <= floor, (name, error)
    assert abs(sum(f32["losses"]) / sum(f64["losses"]) - 1) < 1e-6


def save_model(model, spec, folder):
    if folder.name == "llava_bf16":
        with torch.no_grad():  # of the parameters only: inv_freq is a buffer and stays f32
            for p in model.parameters():
                p.copy_(p.to(torch.bfloat16))
        copy.deepcopy(model).to(torch.bfloat16).save_pretrained(folder / "llava")
        return
    model.model.vision_tower.save_pretrained(folder / "vision_tower")
    text = LlamaForCausalLM(model.config.text_config)
    text.model.load_state_dict(model.model.language_model.state_dict())
    text.lm_head.load_state_dict(model.lm_head.state_dict())
    text.save_pretrained(folder / "language_model")
    save_file({canonical(n): p.detach().contiguous() for n, p in model.named_parameters()
               if canonical(n).startswith("projector.")}, folder / "projector.safetensors")


STEPS, BATCH = 30, 4
RUNS = {
    "stage1": dict(trainable=["projector"], lr=2e-2, weight_decay=0.0),
    "stage2": dict(trainable=["projector", "language_model"], lr=5e-3, weight_decay=0.0),
    "stage2_decay": dict(trainable=["projector", "language_model"], lr=5e-3, weight_decay=0.1),
}


def train(model, samples, pixels, run, dtype):
    model = copy.deepcopy(model).to(dtype)
    pixels = split_pixels(samples, pixels.to(dtype))
    named = {canonical(n): p for n, p in model.named_parameters()}
    for name, p in named.items():
        p.requires_grad_(name.split(".")[0] in run["trainable"])
    trained = {n: p for n, p in named.items() if p.requires_grad}
    before = {n: p.detach().clone() for n, p in trained.items()}
    plain = [n for n in trained if n.endswith("bias") or "norm" in n]
    optimizer = torch.optim.AdamW(
        [dict(params=[p for n, p in trained.items() if n not in plain],
              weight_decay=run["weight_decay"]),
         dict(params=[trained[n] for n in plain], weight_decay=0.0)],
        lr=run["lr"], betas=(0.9, 0.999), eps=1e-8)
    scheduler = get_cosine_schedule_with_warmup(optimizer, STEPS // 10, STEPS)
    losses, norms = [], []
    for step in range(STEPS):
        batch = [(BATCH * step + j) % len(samples) for j in range(BATCH)]
        count = sum(sum(samples[i]["supervised"]) for i in batch)
        optimizer.zero_grad()
        loss = sum(run_sample(model, samples[i], pixels[i])[1] for i in batch) / count
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(list(trained.values()), 1.0)))
        losses.append(loss.item())
        optimizer.step()
        scheduler.step()
    changes = {n: (p.detach() - before[n]) for n, p in trained.items()}
    return losses, norms, changes


def write_runs(model, samples, pixels, folder):
    for name, run in RUNS.items():
        losses, norms, changes = train(model, samples, pixels, run, torch.float64)
        losses32, _, changes32 = train(model, samples, pixels, run, torch.float32)
        worst = max(abs(a / b - 1) for a, b in zip(losses32, losses))
        worst_change = max(relative(changes32[n], changes[n]) for n in changes)
        clipped = sum(n > 1 for n in norms)
        print(f"  {name}: loss {losses[0]:.3f} -> {losses[-1]:.3f}, clipped {clipped}/{STEPS}, "
              f"f32 apart by {worst:.1e}, changes {worst_change:.1e}")
        assert 0 < clipped < STEPS and worst < 1e-5
        write_json(folder / f"run_{name}.json",
                   dict(**run, betas=[0.9, 0.999], eps=1e-8, max_grad_norm=1.0, steps=STEPS,
                        warmup_steps=STEPS // 10, batch=BATCH, losses=losses, grad_norms=norms))
        save_file({n: t.float().contiguous() for n, t in changes.items()},
                  folder / f"run_{name}.safetensors")


def write_json(path, value):
    path.write_text(json.dumps(value, indent=None, separators=(", ", ": ")) + "\n")


def write_shape(name, spec, index):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    generator = torch.Generator().manual_seed(100 + index)
    model = build(spec, generator)
    save_model(model, spec, folder)  # rounds to bf16 where that is stored
    samples = make_samples(10 if name == "gqa" else 6, generator)
    n_images = sum(s["n_images"] for s in samples)
    pixels = torch.randn((n_images, 3, 8, 8), generator=generator)
    f64 = evaluate(model, samples, pixels, torch.float64)
    check_f32(f64, evaluate(model, samples, pixels, torch.float32))
    print(f"{name}: loss {sum(f64['losses']):.6f}")
    write_json(folder / "samples.json",
               dict(projector=spec["projector"], vision_select_layer=spec["layer"],
                    vision_select_feature=spec["feature"], losses=f64["losses"], samples=samples))
    save_file({"pixels": pixels,
               **{n: t.float().contiguous() for n, t in f64["tensors"].items()}},
              folder / "reference.safetensors")
    if name == "gqa":
        write_runs(model, samples, pixels, folder)


def write_story(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = LlamaForCausalLM(LlamaConfig.from_pretrained(folder))
    weights = load_file(pathlib.Path(folder) / "model.safetensors")
    weights.setdefault("model.embed_tokens.weight", weights.get("lm_head.weight"))  # tied
    missing, unknown = model.load_state_dict(weights, strict=False)
    assert set(missing) <= {"lm_head.weight"} and not unknown
    model.tie_weights()
    model = model.double().eval()
    out = []
    for text in ("Once upon a time", "The little dog was very", "Lily and Tom went to the park. They"):
        ids = [model.config.bos_token_id] + tokenizer(text, add_special_tokens=False)["input_ids"]
        new = []
        while len(new) < 80:
            with torch.no_grad():
                best = model(torch.tensor([ids + new])).logits[0, -1].topk(2)
            assert best.values[0] - best.values[1] > 1e-3, "too close to call in f32"
            if int(best.indices[0]) == model.config.eos_token_id:
                break
            new.append(int(best.indices[0]))
        print("story:", text, "...", tokenizer.decode(new)[:100])
        out.append(dict(prompt=ids, continuation=new))
    write_json(HERE / "story.json", out)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--story", default=str(HERE.parents[3] / "shared" / "data" / "story"))
    args = parser.parse_args()
    torch.manual_seed(0)
    for index, (name, spec) in enumerate(SHAPES.items()):
        write_shape(name, spec, index)
    if pathlib.Path(args.story).exists():
        write_story(args.story)


if __name__ == "__main__":
    main()
