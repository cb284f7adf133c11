# SPDX-License-Identifier: Apache-2.0
"""Makes the golden files of this folder with LLaVA's own preprocessing and Hugging Face tokenizers.

    make_golden.py --llava CHECKOUT --data SHARED_DATA [--tokenizer configs/tokenizer]

CHECKOUT is a clone of https://github.com/haotian-liu/LLaVA (c121f04); of its code nothing is kept.
Needs torch, transformers 4.57 (which still has the slow tokenizer), sentencepiece, Pillow.

    samples.json   crafted samples, the committed tokenizer: LLaVA's ids, and its mask as a string of
                   0 and 1, null where it masks the whole sample ("tokenization mismatch")
    encode.json    texts and their ids, the committed tokenizer with each rule for the space marker
    coco.json      the COCO files of SHARED_DATA with LLaMA's tokenizer: for each sample the CRC-32 of
                   the ids (int32, little endian), of the mask (a byte each; null as above), and the counts
"""
import argparse
import copy
import importlib
import json
import os
import random
import sys
import types
import zlib

import numpy as np
from tokenizers import Tokenizer
from transformers import AutoTokenizer, LlamaTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
MARKER = "\u2581"


def load_llava(checkout):
    """LLaVA's train.py without its models and trainer, which this machine need not be able to import."""
    package = types.ModuleType("llava")
    package.__path__ = [os.path.join(checkout, "llava")]
    train = types.ModuleType("llava.train")
    train.__path__ = [os.path.join(checkout, "llava", "train")]
    trainer = types.ModuleType("llava.train.llava_trainer")
    trainer.LLaVATrainer = object
    sys.modules.update({"llava": package, "llava.train": train, "llava.train.llava_trainer": trainer,
                        "llava.model": types.ModuleType("llava.model")})
    return importlib.import_module("llava.train.train"), importlib.import_module("llava.conversation")


class Reference:
    def __init__(self, checkout):
        self.train, self.conversation = load_llava(checkout)

    def __call__(self, tokenizer, template, sample):
        """ids and mask (None: wholly masked) of a sample, as LLaVA's dataset makes them."""
        name = {"plain": "plain", "v1": "v1"}[template]
        self.conversation.default_conversation = self.conversation.conv_templates[name]
        sources = copy.deepcopy([sample["conversations"]])
        if "image" in sample:
            options = types.SimpleNamespace(is_multimodal=True, mm_use_im_start_end=False)
            sources = self.train.preprocess_multimodal(sources, options)
        made = self.train.preprocess(sources, tokenizer, has_image="image" in sample)
        ids, labels = made["input_ids"][0].tolist(), made["labels"][0].tolist()
        mask = [int(label != -100 and label != -200) for label in labels]
        return ids, mask if any(mask) else None


def sample(*turns, image="a.jpg", first="human"):
    roles = ["human", "gpt"] if first == "human" else ["gpt", "human"]
    made = {"id": "x", "conversations": [{"from": roles[i % 2], "value": t} for i, t in enumerate(turns)]}
    return dict(made, image=image) if image else made


CRAFTED = [
    ("caption", "plain", sample("Describe it.\n<image>", "two dogs play with a frisbee")),
    ("caption, mark in front", "plain", sample("<image>\nDescribe it.", "A red bus on a street.")),
    ("caption, two marks in the human turn", "plain", sample("<image> and <image>", "a cat")),
    ("caption with spaces and newlines around it", "plain", sample("<image>", "  a cat \n on a  couch \n")),
    ("caption that begins with a newline", "plain", sample("<image>", "\na cat")),
    ("caption of one newline", "plain", sample("<image>", "\n")),
    ("caption of one space", "plain", sample("<image>", " ")),
    ("caption, unicode", "plain", sample("<image>", "na\u00efve \u732b \U0001f600 caf\u00e9\u3000x")),
    ("caption with </s> in the human turn", "plain", sample("<image> </s>", "a cat")),
    ("mark and newline in front", "v1", sample("<image>\nWhat is this?", "A cat.")),
    ("mark without newline", "v1", sample("<image>What is this?", "A cat.")),
    ("mark at the end", "v1", sample("What is this?\n<image>", "A cat.")),
    ("mark at the end, spaces", "v1", sample("What is this? <image>  ", "A cat.")),
    ("mark in the middle", "v1", sample("What in <image> is this?", "A cat.")),
    ("mark alone", "v1", sample("<image>", "A cat.")),
    ("mark and newlines alone", "v1", sample("\n<image>\n\n", "A cat.")),
    ("two marks in a turn fold into one", "v1", sample("<image>\n<image>\nWhat is this?", "A cat.")),
    ("a mark in a later turn", "v1", sample("Hello.", "Hello!", "<image>\nWhat is this?", "A cat.")),
    ("a mark in an answer", "v1", sample("Draw a cat.", "Here it is: <image> you see?")),
    ("a mark alone in an answer", "v1", sample("Draw a cat.", "<image>")),
    ("two rounds", "v1", sample("<image>\nWhat is this?", "A cat.", "What color?", "Black.")),
    ("five rounds", "v1", sample("<image>\nq 1", "a 1", "q 2", "a 2", "q 3", "a 3", "q 4", "a 4", "q 5", "a 5")),
    ("text only", "v1", sample("What is the capital of France?", "Paris.", image=None)),
    ("text only, two rounds", "v1", sample("Hello.", "Hello!", "And then?", "Nothing.", image=None)),
    ("a leading gpt turn is dropped", "v1", sample("I am here.", "<image>\nWhat is this?", "A cat.", first="gpt")),
    ("an unanswered question at the end", "v1", sample("<image>\nWhat?", "A cat.", "And this?")),
    ("double spaces", "v1", sample("<image>\nWhat  is   this?", "A  cat   here.")),
    ("spaces around question and answer", "v1", sample("  What is this?  ", "  A cat.  ", image=None)),
    ("spaces around an answer, image", "v1", sample("<image>\n What is this? ", " A cat. ")),
    ("an answer of spaces", "v1", sample("<image>\nWhat?", "  ")),
    ("an empty question, text only", "v1", sample("", "A cat.", image=None)),
    ("an empty question in round two", "v1", sample("<image>\nWhat?", "A cat.", "", "Yes.")),
    ("newline runs", "v1", sample("<image>\n\n\nWhat\n\nis this?\n\n", "\n\nA\n\n\ncat.\n\n")),
    ("tabs and carriage returns", "v1", sample("<image>\r\nWhat\tis\r\nthis?\t", "\tA\r\ncat.\r\n")),
    ("python white space is stripped", "v1", sample("\u00a0\u3000<image>\u2028What?\u001f\u0085", "A cat.\u00a0")),
    ("chinese and emoji", "v1", sample("<image>\n\u8fd9\u662f\u4ec0\u4e48\uff1f", "\u4e00\u53ea\u732b\u3002\U0001f408\u200d\u2b1b \U0001f600")),
    ("accents, composed and not", "v1", sample("<image>\ncaf\u00e9 cafe\u0301 \u00c4pfel", "Gr\u00f6\u00dfe \u0645\u0631\u062d\u0628\u0627")),
    ("the space marker itself", "v1", sample("<image>\n\u2581a \u2581 b", "\u2581\u2581c")),
    ("ASSISTANT: in an answer", "v1", sample("<image>\nWhat?", "I say ASSISTANT: hello. ASSISTANT: bye.")),
    ("ASSISTANT: in a question", "v1", sample("<image>\nWhat does ASSISTANT: mean?", "A role.")),
    ("USER: in the texts", "v1", sample("<image>\nUSER: what is USER: here?", "USER: you.", "USER:", "Yes.")),
    ("ASSISTANT at the seams", "v1", sample("<image>\nASSISTANT", "ASSISTANT")),
    ("digits and punctuation", "v1", sample("<image>\n12.5% of $3,000?", "375! (= 3000 * 0.125)")),
    ("byte pieces as text", "v1", sample("<image>\n<0x0A> <unused>", "<0x41>")),
    ("quotes and markup", "v1", sample("<image>\n\"a\" 'b' <p>c</p> {d}", "`e` \\f\\ /g/ &amp;")),
    ("a long word", "v1", sample("<image>\n" + "abc" * 60, "x" * 100 + "\u00e9" * 20)),
]

# Samples in which someone writes a special piece: transformers turns it into its id, llava.c keeps the
# characters. What is expected is put together here from a tokenizer that knows no special pieces.
SPECIAL = [
    ("</s> in a question", sample("<image>\nWhat is </s>?", "A piece.")),
    ("</s> in an answer", sample("<image>\nSay it.", "It is </s> and <s>.")),
    ("<s> and <unk> in texts", sample("<image>\n<s> <unk>", "<unk>", "</s>", "</s></s>")),
]
SYSTEM = ("A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
          "detailed, and polite answers to the user's questions.")


def expected_with_special(bare, turns):
    """The v1 prompt of a sample whose image stands in front, round by round."""
    ids, mask = [1], []

    def chunk(text, learnt_from=None):
        coded = bare.encode(text, add_special_tokens=False)
        offsets = [o[0] for o in coded.offsets]
        ids.extend(coded.ids)
        mask.extend(int(learnt_from is not None and at >= learnt_from) for at in offsets)
    mask.append(0)
    for i in range(0, len(turns), 2):
        question = turns[i]["value"]
        if i == 0:
            chunk(SYSTEM + " USER: ")
            ids.append(-200)
            mask.append(0)
            before = question[len("<image>"):] + " ASSISTANT:"
        else:
            before = "USER: " + question + " ASSISTANT:"
        chunk(before + " " + turns[i + 1]["value"], len(before))
        ids.append(2)
        mask.append(1)
    return ids, mask


def without_special(path):
    file = json.load(open(path, encoding="utf-8"))
    file["added_tokens"], file["post_processor"] = [], None
    return file


def mask_text(mask):
    return mask and "".join(map(str, mask))


def make_samples(reference, directory):
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.legacy = True
    out = []
    for name, template, crafted in CRAFTED:
        ids, mask = reference(tokenizer, template, crafted)
        out.append({"name": name, "template": template, "sample": crafted, "ids": ids, "mask": mask_text(mask)})
    bare = Tokenizer.from_str(json.dumps(without_special(os.path.join(directory, "tokenizer.json"))))
    for name, crafted in SPECIAL:
        ids, mask = expected_with_special(bare, crafted["conversations"])
        out.append({"name": name, "template": "v1", "sample": crafted, "ids": ids, "mask": mask_text(mask)})
    return out


def random_texts(rng, n):
    words = ("the a cat USER: ASSISTANT: don't 3.14 http://x.y/z?q=1 <s> </s> <unk> <image> <0x0A> na\u00efve \u732b "
             "\u72ac\u304c \ud55c\uad6d \u0645\u0631 \U0001f600 e\u0301 \u00a0 \u3000 \u2581 \u2581\u2581 \ufffd").split(" ")
    pieces = [lambda: rng.choice(words), lambda: " " * rng.randrange(1, 12), lambda: rng.choice(["\n", "\t", "\r\n", "\n \n", "\x7f"]),
              lambda: "".join(chr(rng.randrange(33, 127)) for _ in range(rng.randrange(1, 8))),
              lambda: "".join(chr(rng.choice([rng.randrange(0x80, 0xd800), rng.randrange(0xe000, 0x110000)])) for _ in range(3)),
              lambda: rng.choice("ab= -\u2581") * rng.randrange(1, 20)]
    return ["".join(rng.choice(pieces)() + rng.choice(["", " "]) for _ in range(rng.randrange(1, 10))) for _ in range(n)]


def make_encode(directory):
    texts = ["", " ", "  ", "a", " a", "a ", "\n", "\u2581", " \u2581", "two dogs  playing with a frisbee", "</s>"]
    texts += random_texts(random.Random(7), 40)
    out = {"texts": texts, "ids": {}}
    for rule in ["legacy", "always", "first", "never"]:
        file = without_special(os.path.join(directory, "tokenizer.json"))
        if rule != "legacy":
            file["normalizer"] = None
            file["pre_tokenizer"] = {"type": "Metaspace", "replacement": MARKER, "prepend_scheme": rule, "split": False}
        tokenizer = Tokenizer.from_str(json.dumps(file))
        out["ids"][rule] = [tokenizer.encode(t, add_special_tokens=False).ids for t in texts]
    return out


def crc(values, dtype):
    return zlib.crc32(np.asarray(values, dtype=dtype).tobytes())


def make_coco(reference, data):
    tokenizer = LlamaTokenizer(os.path.join(data, "llama", "tokenizer.model"), legacy=True, model_max_length=2048)
    tokenizer.pad_token = tokenizer.unk_token
    out = {}
    for name, template in [("stage1_captions.json", "plain"), ("stage2_instruct.json", "v1")]:
        rows = []
        for one in json.load(open(os.path.join(data, "coco", name), encoding="utf-8")):
            ids, mask = reference(tokenizer, template, one)
            rows.append([crc(ids, "<i4"), mask and crc(mask, "u1"), len(ids), sum(mask or [])])
        out[name] = {"template": template, "samples": rows}
    return out


def write(name, content):
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as f:
        text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
        f.write(text.replace("],[", "],\n[").replace('},{"name"', '},\n{"name"') + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llava", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--tokenizer", default=os.path.join(HERE, "..", "..", "..", "configs", "tokenizer"))
    options = parser.parse_args()
    reference = Reference(options.llava)
    samples = make_samples(reference, options.tokenizer)
    write("samples.json", samples)
    write("encode.json", make_encode(options.tokenizer))
    coco = make_coco(reference, options.data)
    write("coco.json", coco)
    rows = [row for file in coco.values() for row in file["samples"]]
    print("%d crafted samples, LLaVA masks %d of them whole; %d COCO samples, %d of them" %
          (len(samples), sum(s["mask"] is None for s in samples), len(rows), sum(row[1] is None for row in rows)))


if __name__ == "__main__":
    main()
