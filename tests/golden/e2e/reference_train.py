#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `llava train CONFIG` must compute, by torch and transformers from the raw data.

    python reference_train.py CONFIG.json --data chat.json --images DIR --template plain|v1
        [--val-data chat.json --val-template plain|v1] [--precision f32|f64] --out DIR

Reads the config of a run, but not its packs: the LLaVA JSON and the photographs that were packed
are tokenised and preprocessed here (fast tokenizer, CLIPImageProcessor). The model is
CLIPVisionModel, torch Linears and LlamaForCausalLM; one sample at a time, without padding; torch's
AdamW, clipping and transformers' schedules. Nothing of llava.c is used. Needs `data.shuffle` false
and projector weights in a file, or in model.llava.

Writes into DIR: steps.json (loss, grad_norm, lr a step; val_loss), and initial.safetensors and
final.safetensors (the trained parameters by their canonical names, in f32 or f64).
Written with torch 2.13 and transformers 4.57 (the slow image processor) on a CPU.
"""
import argparse
import fnmatch
import json
import math
import os
import pathlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import (AutoTokenizer, CLIPImageProcessor, CLIPVisionModel,
                          LlamaConfig, LlamaForCausalLM, LlavaForConditionalGeneration,
                          get_scheduler)
from transformers.models.llama import modeling_llama

IMAGE = -200
MARK = "<image>"
SYSTEM = ("A chat between a curious user and an artificial intelligence assistant. The assistant "
          "gives helpful, detailed, and polite answers to the user's questions.")
MEAN_COLOUR = (122, 116, 104)
DEFAULTS = {
    "model": {"llava": None, "vision_tower": None, "language_model": None,
              "vision_select_layer": None, "vision_select_feature": None},
    "data": {"val_packs": [], "max_length": 2048, "image_aspect": "square"},
    "train": {"epochs": 1, "max_steps": None, "global_batch_size": 256, "val_every_steps": 0},
    "optim": {"projector_lr": None, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0,
              "schedule": "cosine", "warmup_ratio": 0.03, "max_grad_norm": 1.0},
}


def read_config(path):
    path = pathlib.Path(path)
    given = json.loads(path.read_text())
    config = {s: {**DEFAULTS.get(s, {}), **given.get(s, {})} for s in {*DEFAULTS, *given}}
    assert config["data"].get("shuffle") is False, "the order of a shuffled run is llava's own"

    def resolve(p):
        return str(path.parent / p) if p else None

    model = config["model"]
    model["projector"] = {"type": None, "weights": None, **(model.get("projector") or {})}
    for key in ("llava", "vision_tower", "language_model"):
        model[key] = resolve(model[key])
    model["projector"]["weights"] = resolve(model["projector"]["weights"])
    config["run"]["dir"] = resolve(config["run"]["dir"])
    return config


# ---- data ----

def open_tokenizer(directory):
    """The fast tokenizer, which is to find its EOS in the template's text wherever it stands: one
    that is `normalized` is looked for with the space marker in front."""
    tokenizer = AutoTokenizer.from_pretrained(directory, use_fast=True)
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    for token in backend["added_tokens"]:
        token["normalized"] &= token["content"] != tokenizer.eos_token
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(backend))
    assert tokenizer("a" + tokenizer.eos_token)["input_ids"][-1] == tokenizer.eos_token_id
    return tokenizer


def turn_with_image(text, n_images):
    """preprocess_multimodal: the mark in front, on its own line; several stay, each ends a line."""
    if MARK not in text or n_images == 0:
        return text
    if n_images > 1:
        return text.replace(MARK + "\n", MARK).replace(MARK, MARK + "\n").strip()
    return (MARK + "\n" + text.replace(MARK, "").strip()).strip()


def prompt_parts(record, template, eos, n_images):
    """The prompt as (text, supervised) parts."""
    turns = [(t["from"], t["value"]) for t in record["conversations"]]
    assert "system_prompt" not in record
    if template == "plain":
        (_, question), (_, caption) = turns
        assert MARK in question
        return [(MARK, False), (turn_with_image(caption, n_images) + "\n", True)]
    assert template == "v1"
    if turns[0][0] != "human":
        turns = turns[1:]
    parts = [(SYSTEM + " ", False)]
    for i, (role, text) in enumerate(turns):
        assert role == ("human", "gpt")[i % 2]
        text = turn_with_image(text, n_images)
        if role == "human":
            parts.append(("USER: " + text + " " if text else "USER:", False))
        else:
            parts += [("ASSISTANT:", False), (" " + text + eos, True)]
    return parts


def tokenise(tokenizer, parts):
    """Ids and supervised flags; the prompt is split at the marks as in tokenizer_image_token."""
    prompt = "".join(text for text, _ in parts)
    flags = [flag for text, flag in parts for _ in text]
    ids, supervised, at = [], [], 0
    for i, chunk in enumerate(prompt.split(MARK)):
        if i > 0:
            ids.append(IMAGE)
            supervised.append(False)
            at += len(MARK)
        encoded = tokenizer(chunk, return_offsets_mapping=True)
        for k, (token, (begin, end)) in enumerate(zip(encoded["input_ids"],
                                                      encoded["offset_mapping"])):
            bos = k == 0 and token == tokenizer.bos_token_id
            if bos and i > 0:
                continue
            ids.append(token)
            supervised.append(not bos and flags[at + begin])
        at += len(chunk)
    return ids, supervised


def expand2square(image):
    width, height = image.size
    size = max(width, height)
    square = Image.new("RGB", (size, size), MEAN_COLOUR)
    square.paste(image, ((size - width) // 2, (size - height) // 2))
    return square


class Data:
    def __init__(self, path, images, template, tokenizer, size, aspect):
        records = json.loads(pathlib.Path(path).read_text())
        self.images, self.aspect, self.pixels = pathlib.Path(images), aspect, {}
        self.processor = CLIPImageProcessor(size={"shortest_edge": size},
                                            crop_size={"height": size, "width": size})
        self.samples = []
        for record in records:
            names = record.get("image") or []
            names = [names] if isinstance(names, str) else names
            parts = prompt_parts(record, template, tokenizer.eos_token, len(names))
            ids, supervised = tokenise(tokenizer, parts)
            assert ids.count(IMAGE) == len(names) and any(supervised)
            self.samples.append((ids, supervised, names))

    def image(self, name):
        if name not in self.pixels:
            image = Image.open(self.images / name).convert("RGB")
            if self.aspect == "pad":
                image = expand2square(image)
            self.pixels[name] = self.processor(image, return_tensors="pt")["pixel_values"]
        return self.pixels[name]

    def rows(self, i, rows_per_image, max_length):
        """Row sources (an id, or IMAGE), and at each row the label of the row after it."""
        ids, supervised, names = self.samples[i]
        sources, targets = [], []
        for token, flag in zip(ids, supervised):
            n = rows_per_image if token == IMAGE else 1
            sources += [token] * n
            targets += [token if flag else -100] * n
        sources, targets = sources[:max_length], targets[:max_length]
        return sources, torch.tensor(targets[1:] + [-100]), names


# ---- model ----

def exact_rmsnorm(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def exact_rotary(self, x, position_ids):
    config = self.config
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    power = torch.arange(0, dim, 2, dtype=torch.float64) / dim
    angle = position_ids[..., None].double() * config.rope_theta ** -power
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos().to(x.dtype), angle.sin().to(x.dtype)


def go_to_f64():
    """These two of transformers' modules compute in f32 whatever the model's dtype is."""
    modeling_llama.LlamaRMSNorm.forward = exact_rmsnorm
    modeling_llama.LlamaRotaryEmbedding.forward = exact_rotary


def load_language_model(directory):
    """Not from_pretrained, which leaves a tied model without weights that stores lm_head alone."""
    model = LlamaForCausalLM(LlamaConfig.from_pretrained(directory))
    state = {name: value for file in pathlib.Path(directory).glob("*.safetensors")
             for name, value in load_file(file).items()}
    if model.config.tie_word_embeddings:
        state.setdefault("model.embed_tokens.weight", state.get("lm_head.weight"))
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state)
    return model


class Reference(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        layer, feature = model["vision_select_layer"], model["vision_select_feature"]
        if model["llava"]:
            whole = LlavaForConditionalGeneration.from_pretrained(model["llava"],
                                                                  dtype=torch.float32)
            strategy = whole.config.vision_feature_select_strategy
            layer = whole.config.vision_feature_layer if layer is None else layer
            feature = feature or {"default": "patch", "full": "cls_patch"}[strategy]
            self.vision_tower = whole.model.vision_tower
            layers = [whole.model.multi_modal_projector.linear_1]
            if whole.config.projector_hidden_act == "gelu":
                layers += [torch.nn.GELU(), whole.model.multi_modal_projector.linear_2]
            else:  # a linear projector: without an activation, and an identity behind it
                second = whole.model.multi_modal_projector.linear_2
                assert whole.config.projector_hidden_act == "linear"
                assert torch.equal(second.weight, torch.eye(len(second.weight)))
                assert not second.bias.any()
            self.projector = torch.nn.Sequential(*layers)
            self.language_model = LlamaForCausalLM(whole.config.text_config)
            self.language_model.model = whole.model.language_model
            self.language_model.lm_head = whole.lm_head
            if whole.config.text_config.tie_word_embeddings:
                self.language_model.tie_weights()
            self.tokenizer_dir = model["llava"]
        else:
            self.vision_tower = CLIPVisionModel.from_pretrained(model["vision_tower"])
            self.language_model = load_language_model(model["language_model"])
            weights = load_file(model["projector"]["weights"])
            self.projector = make_projector(model["projector"]["type"],
                                            self.vision_tower.config.hidden_size,
                                            self.language_model.config.hidden_size)
            self.projector.load_state_dict({name.removeprefix("projector."): value
                                            for name, value in weights.items()})
            self.tokenizer_dir = model["language_model"]
        self.layer = -2 if layer is None else layer
        self.feature = feature or "patch"

    def rows_per_image(self):
        vision = self.vision_tower.config
        return (vision.image_size // vision.patch_size) ** 2 + (self.feature == "cls_patch")

    def features(self, pixels):
        hidden = self.vision_tower(pixels, output_hidden_states=True).hidden_states[self.layer]
        hidden = hidden if self.feature == "cls_patch" else hidden[:, 1:]
        return self.projector(hidden)[0]

    def loss_sum(self, data, i, max_length):
        """The summed cross-entropy of a sample, None if no label is left of it; its labels."""
        dtype = self.language_model.lm_head.weight.dtype
        n_rows = self.rows_per_image()
        sources, targets, names = data.rows(i, n_rows, max_length)
        n_labels = int((targets != -100).sum())
        if n_labels == 0:
            return None, 0
        embeds, at, names = [], 0, iter(names)
        while at < len(sources):
            if sources[at] == IMAGE:
                rows = self.features(data.image(next(names)).to(dtype))
                embeds.append(rows[:len(sources) - at])
                at += len(rows)
            else:
                end = at
                while end < len(sources) and sources[end] != IMAGE:
                    end += 1
                text = torch.tensor(sources[at:end])
                embeds.append(self.language_model.get_input_embeddings()(text))
                at = end
        if not any(source == IMAGE for source in sources):
            # As in LLaVA, so that the tower and the projector have a gradient, of zero: torch's
            # AdamW passes over a parameter whose gradient is None, momentum, decay and all.
            size = self.vision_tower.config.image_size
            embeds.append(self.features(torch.zeros((1, 3, size, size), dtype=dtype))[:0])
        embeds = torch.cat(embeds)[None]
        logits = self.language_model(inputs_embeds=embeds, use_cache=False).logits[0]
        return F.cross_entropy(logits, targets, ignore_index=-100, reduction="sum"), n_labels


def make_projector(kind, n_in, n_out):
    if kind == "linear":
        return torch.nn.Sequential(torch.nn.Linear(n_in, n_out))
    depth = int(kind.removeprefix("mlp").removesuffix("x_gelu"))
    layers = [torch.nn.Linear(n_in, n_out)]
    for _ in range(depth - 1):
        layers += [torch.nn.GELU(), torch.nn.Linear(n_out, n_out)]
    return torch.nn.Sequential(*layers)


# ---- training ----

def is_trainable(name, globs):
    return any(fnmatch.fnmatchcase(name, g) if set(g) & set("*?[")
               else name == g or name.startswith(g + ".") for g in globs)


def undecayed_names(model):
    norms = (torch.nn.LayerNorm, modeling_llama.LlamaRMSNorm)
    names = {f"{prefix}.{name}" for prefix, module in model.named_modules()
             if isinstance(module, norms) for name, _ in module.named_parameters()}
    return names | {name for name, _ in model.named_parameters() if name.endswith("bias")}


def make_optimizer(model, optim):
    undecayed, groups = undecayed_names(model), {}
    for name, p in model.named_parameters():
        if p.requires_grad:
            own = optim["projector_lr"] is not None and name.startswith("projector.")
            groups.setdefault((own, name in undecayed), []).append(p)
    return torch.optim.AdamW(
        [{"params": ps, "lr": optim["projector_lr"] if own else optim["lr"],
          "weight_decay": 0.0 if plain else optim["weight_decay"]}
         for (own, plain), ps in groups.items()], betas=optim["betas"], eps=optim["eps"])


def make_schedule(optimizer, optim, n_steps):
    name = {"constant": "constant_with_warmup"}.get(optim["schedule"], optim["schedule"])
    n_warmup = math.ceil(optim["warmup_ratio"] * n_steps)
    return get_scheduler(name, optimizer, num_warmup_steps=n_warmup, num_training_steps=n_steps)


def validation(model, data, max_length):
    total, n = 0.0, 0
    with torch.no_grad():
        for i in range(len(data.samples)):
            loss, n_labels = model.loss_sum(data, i, max_length)
            total, n = total + (loss.item() if n_labels else 0.0), n + n_labels
    return total / n


def train_step(model, data, batch, max_length, optimizer, max_grad_norm):
    n_labels = sum(int((data.rows(i, model.rows_per_image(), max_length)[1] != -100).sum())
                   for i in batch)
    if n_labels == 0:
        return {"loss": None, "grad_norm": 0.0, "supervised_tokens": 0}
    total = 0.0
    optimizer.zero_grad()
    for i in batch:
        loss, n = model.loss_sum(data, i, max_length)
        if n:
            (loss / n_labels).backward()
            total += loss.item()
    trained = [p for p in model.parameters() if p.requires_grad]
    norm = torch.nn.utils.clip_grad_norm_(trained, max_grad_norm or float("inf"))
    optimizer.step()
    return {"loss": total / n_labels, "grad_norm": norm.item(), "supervised_tokens": n_labels}


def train(config, data, val_data, model):
    settings, max_length = config["train"], config["data"]["max_length"]
    n, size = len(data.samples), settings["global_batch_size"]
    steps_per_epoch = math.ceil(n / size)
    n_steps = settings["max_steps"] or settings["epochs"] * steps_per_epoch
    optimizer = make_optimizer(model, config["optim"])
    schedule = make_schedule(optimizer, config["optim"], n_steps)
    steps = []
    for s in range(n_steps):
        begin = s % steps_per_epoch * size
        batch = range(begin, min(begin + size, n))
        lr = schedule.lr_lambdas[0](s) * config["optim"]["lr"]
        step = train_step(model, data, batch, max_length, optimizer,
                          config["optim"]["max_grad_norm"])
        schedule.step()
        step |= {"step": s + 1, "lr": lr}
        every = settings["val_every_steps"]
        if every and ((s + 1) % every == 0 or s + 1 == n_steps):
            step["val_loss"] = validation(model, val_data, max_length)
        steps.append(step)
    return steps


def trained_parameters(model):
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", required=True)
    parser.add_argument("--template", required=True)
    parser.add_argument("--val-data")
    parser.add_argument("--val-template")
    parser.add_argument("--precision", default="f32", choices=["f32", "f64"])
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = read_config(args.config)
    model = Reference(config["model"]).train()
    for name, p in model.named_parameters():
        p.requires_grad_(is_trainable(name, config["train"]["trainable"]))
    if args.precision == "f64":
        go_to_f64()
        model.double()
    tokenizer = open_tokenizer(model.tokenizer_dir)

    def read(path, template):
        return Data(path, args.images, template, tokenizer,
                    model.vision_tower.config.image_size, config["data"]["image_aspect"])

    data = read(args.data, args.template)
    val_data = read(args.val_data, args.val_template) if args.val_data else None
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    save_file(trained_parameters(model), out / "initial.safetensors")
    steps = train(config, data, val_data, model)
    save_file(trained_parameters(model), out / "final.safetensors")
    (out / "steps.json").write_text("\n".join(json.dumps(step) for step in steps) + "\n")


if __name__ == "__main__":
    main()
