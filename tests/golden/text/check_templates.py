# SPDX-License-Identifier: Apache-2.0
"""Every template against LLaVA's own functions: ids, masks and words, on real data and hard samples.

    check_templates.py --llava CHECKOUT --data SHARED_DATA --encode build/tests/golden/text/encode_samples
                       [--report FILE.md]

CHECKOUT is a clone of https://github.com/haotian-liu/LLaVA (c121f04) with its tags; of its code nothing is kept.
Needs torch, transformers 4.57 (which still has the slow tokenizer), sentencepiece, Pillow. Exits with 1 if anything
differs that is not explained.
"""
import argparse
import collections
import json
import os
import shutil
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers, Regex
from transformers import LlamaTokenizer, PreTrainedTokenizerFast

from llava_templates import IM, NAMES, SPECIAL, STANDIN, Llava, hard_samples, holds_special, shown

MARKER = "\u2581"
QWEN2_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
               r"|\s+(?!\S)|\s+")


# ---- tokenizers: a folder for ours, an object for LLaVA, and one with stand-ins for the special pieces ----

def added(index, content):
    return {"id": index, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": True}


def with_standins(file):
    """The same tokenizer, its special pieces renamed."""
    made = json.loads(json.dumps(file))
    vocab = made["model"]["vocab"]
    for piece, char in STANDIN.items():
        if piece in vocab:
            vocab[char] = vocab.pop(piece)
    for token in made["added_tokens"]:
        token["content"] = STANDIN.get(token["content"], token["content"])
    if made["model"].get("unk_token"):
        made["model"]["unk_token"] = STANDIN[made["model"]["unk_token"]]
    post = made.get("post_processor")
    if post and post["type"] == "TemplateProcessing":
        made["post_processor"] = json.loads(json.dumps(post, ensure_ascii=False).replace("<s>", STANDIN["<s>"]))
    return made


def fast(file, folder, legacy, bos=True, names=SPECIAL):
    path = os.path.join(folder, "tokenizer.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(file, f, ensure_ascii=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=path, **names)
    tokenizer.legacy = legacy
    return tokenizer


class Kind:
    """One tokenizer in all its forms."""

    def __init__(self, name, work, file, names, legacy=True, slow=None, templates=tuple(NAMES)):
        """slow: (LlamaTokenizer, its tokenizer.model)."""
        self.name, self.templates = name, templates
        self.folder = os.path.join(work, name.replace(" ", "-").replace(",", ""))
        standin_folder = self.folder + "-standins"
        os.makedirs(self.folder)
        os.makedirs(standin_folder)
        config = dict(names, legacy=legacy)
        with open(os.path.join(self.folder, "tokenizer_config.json"), "w") as f:
            json.dump(config, f)
        if slow:
            self.plain = slow[0]
            shutil.copy(slow[1], os.path.join(self.folder, "tokenizer.model"))
        else:
            self.plain = fast(file, self.folder, legacy, names=names)
        self.standin = fast(with_standins(file), standin_folder, legacy,
                            names={k: STANDIN.get(v, v) for k, v in names.items()})
        for tokenizer in (self.plain, self.standin):
            tokenizer.model_max_length = 10 ** 6
        # of a slow tokenizer that is not legacy there is no fast one that is equal behind an image
        self.has_standins = legacy or not slow
        self.standins = [t["content"] for t in file["added_tokens"] if t["content"] in STANDIN]

    def of(self, sample):
        """The tokenizer for LLaVA, and which pieces have stand-ins."""
        return (self.standin, self.standins) if holds_special(sample) else (self.plain, ())


def llama_file(data):
    file = json.load(open(os.path.join(data, "llama", "tokenizer.json"), encoding="utf-8"))
    for token in file["added_tokens"]:
        token["normalized"] = False  # as the published ones; the other way LLaVA's "</s>" is not found behind a word
    return file


def byte_level_file(data):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    texts = [t["value"] for s in json.load(open(os.path.join(data, "coco", "stage2_instruct.json"))) for t in s["conversations"]]
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=1500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    file = json.loads(tokenizer.to_str())
    n = len(file["model"]["vocab"])
    file["added_tokens"] = [added(n, "<|endoftext|>"), added(n + 1, IM[0]), added(n + 2, IM[1])]
    return file


def make_kinds(data, work):
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}
    file = llama_file(data)
    model = os.path.join(data, "llama", "tokenizer.model")
    slow = {legacy: LlamaTokenizer(model, legacy=legacy, pad_token="<unk>") for legacy in (True, False)}
    first = dict(file, normalizer=None, pre_tokenizer={"type": "Metaspace", "replacement": MARKER,
                                                        "prepend_scheme": "first", "split": False})
    pieces = dict(file, added_tokens=file["added_tokens"] + [added(32000, IM[0]), added(32001, IM[1])])
    no_bos = dict(pieces, post_processor=None)
    byte_names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    chatml = ("chatml",)
    return [Kind("llama slow", work, file, names, slow=(slow[True], model)),
            Kind("llama slow, not legacy", work, first, names, legacy=False, slow=(slow[False], model)),
            Kind("llama fast", work, file, names),
            Kind("llama fast, marker first", work, first, names, legacy=False),
            Kind("llama fast, im pieces", work, pieces, names, templates=chatml),
            Kind("llama fast, im pieces, no BOS", work, no_bos, names, templates=chatml),
            Kind("byte-level, im pieces", work, byte_level_file(data), byte_names, legacy=False,
                 templates=("plain", "v0", "chatml"))]


# ---- one sample ----

def show(tokenizer, ids, mask):
    """The text with what is supervised in [ ]."""
    out, inside = "", 0
    for token, learnt in zip(ids, mask):
        out += "[" if learnt and not inside else "]" if inside and not learnt else ""
        inside = learnt
        out += "<IMAGE>" if token < 0 else str(tokenizer.convert_ids_to_tokens(token)).replace(MARKER, " ")
    return out + ("]" if inside else "")


def judge(llava, kind, template, sample, ours):
    """(verdict, what LLaVA made). Verdicts that begin with DIFFERS are not explained."""
    if "reason" not in ours and ours["words"] != sum(len(t["value"].split()) for t in sample["conversations"]):
        return "DIFFERS in words", None
    if isinstance(sample.get("image"), list):
        return "several images: LLaVA cannot, " + ("rejected" if "reason" in ours else "packed"), None
    if holds_special(sample) and not kind.has_standins:
        return "a special piece's name in a text, which LLaVA takes for the piece: compared with the fast ones", None
    tokenizer, standins = kind.of(sample)
    try:
        ids, mask, adds_up = llava(tokenizer, template, sample, standins)
    except (KeyError, AssertionError, IndexError) as e:
        return "LLaVA stops (%s), %s" % (type(e).__name__, "rejected" if "reason" in ours else "packed"), None
    at_head = mask if template == "chatml" else None
    if template == "chatml":
        _, mask, adds_up = llava(tokenizer, template, sample, standins, old_mpt=True)
    if "reason" in ours:
        if not adds_up:
            return "LLaVA masks it whole, rejected", None
        n_marks, n_images = ids.count(-200), int("image" in sample)
        if not n_images and any("<image>" in t["value"] for t in sample["conversations"]):
            return "a mark without an image: LLaVA learns the word, rejected", (ids, mask)
        if n_marks != n_images:
            return "images and marks differ: LLaVA trains it wrongly, rejected", None
        if any(t["from"] not in ("human", "gpt") for t in sample["conversations"]):
            return "roles of other names: LLaVA learns the questions too, rejected", None
        if any(t["from"] == "gpt" and not t["value"] for t in sample["conversations"]):
            return "an empty answer, rejected", None
        return "DIFFERS: rejected here", (ids, mask)
    same_ids = ours["ids"] == ids
    if at_head and not adds_up:
        return "LLaVA's preprocess_mpt at HEAD: errors of two rounds cancel in number, not in place; our mask", (ids, at_head)
    if not adds_up:
        return "LLaVA's lengths do not add up: " + ("same ids, our mask" if same_ids else "our prompt and mask"), (ids, mask)
    if not same_ids:
        return "DIFFERS in ids", (ids, mask)
    if ours["mask"] == "".join(map(str, mask)):
        return "equal", None
    if template == "v1" and any(
            t["from"] == "human" and (" " + shown(t["value"])).endswith(" ASSISTANT:") for t in sample["conversations"]):
        return "a question ends in the template's ASSISTANT:, our mask", (ids, mask)
    return "DIFFERS in the mask", (ids, mask)


def encode(options, kind, template, samples, work):
    path = os.path.join(work, "samples.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(samples, f)
    done = subprocess.run([options.encode, kind.folder, template, path], capture_output=True, text=True)
    if done.returncode:
        return None, done.stderr.strip()
    return [json.loads(line) for line in done.stdout.splitlines()], None


QUESTIONS = ["What is this?", " What? ", "###", "</s> [/INST] <|im_end|>", "\u732b\n\n"]


def check_questions(llava, options, kind, template, work):
    asked = [{"question": q, "n_images": n} for q in QUESTIONS for n in (0, 1, 2) if n == 0 or q == q.strip()]
    ours, _ = encode(options, kind, template, asked, work)
    wrong = 0
    for one, made in zip(asked, ours):
        special = any(p in one["question"] for p in SPECIAL)
        if special and not kind.has_standins:
            continue
        tokenizer, standins = (kind.standin, kind.standins) if special else (kind.plain, ())
        expected = llava.question(tokenizer, template, one["question"], one["n_images"], standins)
        if made["ids"] != expected:
            wrong += 1
            print("question differs:", kind.name, template, one, show(kind.plain, made["ids"], [0] * 999))
    return len(asked), wrong


def data_files(data):
    found = [("coco/stage1_captions.json", None), ("coco/stage2_instruct.json", None)]
    found += [("llava_examples/" + n, None) for n in sorted(os.listdir(os.path.join(data, "llava_examples"))) if n.endswith(".json")]
    files = [(n, [("", s) for s in json.load(open(os.path.join(data, n), encoding="utf-8"))]) for n, _ in found]
    return files + [("hard samples", hard_samples())]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llava", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--encode", required=True)
    parser.add_argument("--report")
    parser.add_argument("--only", help="this template alone")
    parser.add_argument("--hard", action="store_true", help="the hard samples alone")
    options = parser.parse_args()
    llava = Llava(options.llava)
    table, examples, notes, questions = collections.Counter(), {}, [], [0, 0]
    with tempfile.TemporaryDirectory() as work:
        files = data_files(options.data)[-1 if options.hard else 0:]
        for kind in make_kinds(options.data, work):
            for template in [options.only] if options.only else NAMES:
                if template not in kind.templates:
                    continue
                for name, samples in files:
                    ours, error = encode(options, kind, template, [s for _, s in samples], work)
                    if error:
                        notes.append("%s is not read by this build: %s" % (kind.name, error.replace(work + "/", "")))
                        break
                    for (label, sample), made in zip(samples, ours):
                        verdict, theirs = judge(llava, kind, template, sample, made)
                        table[template, kind.name, name, verdict] += 1
                        key = template, verdict
                        if verdict != "equal" and len(examples.setdefault(key, [])) < (20 if "DIFFERS" in verdict else 3):
                            examples[key].append((kind, label or sample.get("id", ""), made, theirs))
                else:
                    if template != "plain":
                        n, wrong = check_questions(llava, options, kind, template, work)
                        questions = [questions[0] + n, questions[1] + wrong]
                print(kind.name, template, "done", flush=True)
        text = report(table, examples, notes, questions)
    if options.report:
        with open(options.report, "w", encoding="utf-8") as f:
            f.write(text)
    else:
        print(text)
    sys.exit(questions[1] > 0 or any("DIFFERS" in key[3] for key in table))


EXPLAINED = """\
- *equal*: ids, mask and number of words are LLaVA's.
- *LLaVA's lengths do not add up*: v1, llama_2 and chatml then mask the whole sample ("tokenization mismatch"), v0 puts
  the mask beside its place. Causes: a question left unanswered or empty (of which LLaVA drops the turn or its end), the
  words between question and answer standing in a text, and chatml wherever BOS is added or the pieces are text.
- chatml is judged by the `preprocess_mpt` of LLaVA v1.1.3: that of HEAD adds the lengths of rounds without the
  `<|im_end|>` behind them and masks every sample whole, but for two rounds with BOS and a legacy tokenizer, where a second
  error makes up for the first in number and the mask is one token off.
- *a question ends in the template's ASSISTANT:*: LLaVA splits there and learns the template's own word.
- A name of a special piece in a text is text here; LLaVA's tokenizer makes it the piece. For such samples LLaVA's
  functions run with other names for the pieces, on a tokenizer that knows them by those names alone.
- *rejected*: `rejects.jsonl` has the reason. LLaVA stops at these samples, or sees no image, or the wrong one.
"""


def report(table, examples, notes, questions):
    lines = ["# Templates against LLaVA's own functions, 2026-11-22", "",
             "Made by `tests/golden/text/check_templates.py`, which says what it needs. Real data: every sample of",
             "`coco/stage1_captions.json`, `coco/stage2_instruct.json` and `llava_examples/`; hard samples: %d of"
             % len(hard_samples()), "`llava_templates.py`.", "", EXPLAINED,
             "| template | tokenizer | data | verdict | samples |", "|---|---|---|---|---|"]
    summed = collections.Counter()
    for (template, kind, name, verdict), n in table.items():
        summed[template, kind, "hard" if name == "hard samples" else "real", verdict] += n
    lines += ["| %s | %s | %s | %s | %d |" % (key + (n,)) for key, n in summed.items()]
    lines += ["", "Prompts of questions compared: %d, different: %d." % tuple(questions), ""] + sorted(set(notes))
    lines += ["## What is not equal", "", "What is supervised stands in [ ].", ""]
    for (template, verdict), found in examples.items():
        lines += ["### %s: %s" % (template, verdict), ""]
        for kind, label, made, theirs in found:
            lines.append("- %s (%s)" % (label, kind.name))
            if "reason" in made:
                lines.append("  rejected: `%s`" % made["reason"])
            else:
                lines.append("  ours `%s`" % tidy(show(kind.plain, made["ids"], map(int, made["mask"]))))
            if theirs and theirs[1]:
                lines.append("  LLaVA `%s`" % tidy(show(kind.plain, *theirs)))
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def tidy(text):
    text = text.replace("`", "'").replace("\n", "\\n")
    return text if len(text) < 600 else text[:280] + " ... " + text[-300:]


if __name__ == "__main__":
    main()
