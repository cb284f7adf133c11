#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Small tokenizers of the kinds that configs/tokenizer is not, and what the references make of some texts.

Usage: make_tokenizers.py OUT_DIR          (OUT_DIR = tests/golden/text/tokenizers)
Needs Debian's sentencepiece (spm_train), and the Python packages tokenizers (0.22), transformers (4.57),
sentencepiece. The files are of models trained on sentences made by make_tokenizer.py.

expected.json: per tokenizer, per text: ids at the beginning of a call; "behind": ids behind EOS in the same
call (tokenizer.model only); the decoded text. References as in compare_tokenizers.py.
"""
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

from compare_tokenizers import FRAGMENTS, LLAMA3, QWEN2, added
from make_tokenizer import make_corpus

TEXTS = ["", " ", "   ", "a dog", " a dog ", "A dog  sitting in the  grass.", "two\ttabs", "1234567 and 3.14", "it's I'LL don't",
         "line\nline\n\n  line", "<tool>", "a <tool> b", "a<aside>  b", "x <aside>", "xyz xyzzy xyzs", "</s><s><unk>", "<|im_end|>", "▁a ▁",
         "猫と犬", "é e\u0301 \u00c5 \u212b", "q\u0307\u0323", "각 \u1100\u1161\u11a8", "ﬁ ①", "\u00a0\u3000\u200b x", "😀👍🏽", "!!!... ???",
         "a" * 40, "the the the", "\r\n \r", "user-a", "Ⅷ²½", "ไทย हिन्दी العربية"]
SPM = {
    "spm_llama": "--byte_fallback --normalization_rule_name=identity --remove_extra_whitespaces=false --split_digits",
    "spm_rules": "--normalization_rule_tsv=RULES --user_defined_symbols=<tool>,user-a,xyz",
    "spm_suffix": "--treat_whitespace_as_suffix --byte_fallback --normalization_rule_name=identity",
}
NEW = ["spm_llama", "spm_rules"]  # also read as not legacy
RULES = [("ﬁ", "fi"), ("①", "1"), ("\u00a0", " "), ("\u3000", " "), ("\u200b", ""), ("e\u0301", "é"), ("\u212b", "\u00c5"), ("\t", " ")]


def train_spm(out, corpus, work):
    rules = work + "/rules.tsv"
    with open(rules, "w") as f:
        for source, target in RULES:
            f.write("%s\t%s\n" % (" ".join("%X" % ord(c) for c in source), " ".join("%X" % ord(c) for c in target)))
    for name, flags in SPM.items():
        os.makedirs("%s/%s" % (out, name), exist_ok=True)
        # the model keeps these names
        subprocess.run(["spm_train", "--input=" + os.path.basename(corpus), "--model_prefix=" + name, "--model_type=bpe",
                        "--vocab_size=600", "--minloglevel=2"] + flags.replace("RULES", os.path.basename(rules)).split(),
                       check=True, cwd=work)
        shutil.copy("%s/%s.model" % (work, name), "%s/%s/tokenizer.model" % (out, name))


def write_configs(out):
    decoder = {"0": dict(content="<unk>", special=True), "1": dict(content="<s>", special=True), "2": dict(content="</s>", special=True),
               "700": dict(content="<tool>", special=False), "701": dict(content="<aside>", special=False, lstrip=True, rstrip=True)}
    for entry in decoder.values():
        for flag in ["lstrip", "rstrip", "normalized", "single_word"]:
            entry.setdefault(flag, False)
    base = dict(tokenizer_class="LlamaTokenizer", bos_token="<s>", eos_token="</s>", unk_token="<unk>", added_tokens_decoder=decoder)
    for name in SPM:
        json.dump(dict(base, legacy=True), open("%s/%s/tokenizer_config.json" % (out, name), "w"), indent=1, sort_keys=True)
    for name in NEW:
        os.makedirs("%s/%s_new" % (out, name), exist_ok=True)
        shutil.copy("%s/%s/tokenizer.model" % (out, name), "%s/%s_new" % (out, name))
        json.dump(dict(base, legacy=False, add_bos_token=False), open("%s/%s_new/tokenizer_config.json" % (out, name), "w"), indent=1,
                  sort_keys=True)


def make_json(out, corpus):
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    split, level = pre_tokenizers.Split, pre_tokenizers.ByteLevel
    kinds = {
        "json_llama3": (None, [split(Regex(LLAMA3), "isolated"), level(add_prefix_space=False, use_regex=False)]),
        "json_qwen2": (normalizers.NFC(), [split(Regex(QWEN2), "isolated"), level(add_prefix_space=False, use_regex=False)]),
        "json_gpt2": (None, [level(add_prefix_space=False)]),
    }
    for name, (normal, steps) in kinds.items():
        t = Tokenizer(models.BPE())
        if normal:
            t.normalizer = normal
        t.pre_tokenizer = pre_tokenizers.Sequence(steps) if len(steps) > 1 else steps[0]
        t.train([corpus], trainers.BpeTrainer(vocab_size=600, initial_alphabet=level.alphabet(), show_progress=False))
        bos, end = ("<|begin_of_text|>", "<|eot_id|>") if name == "json_llama3" else (None, "<|endoftext|>")
        t.add_special_tokens([added(c, True) for c in [bos, end, "<|im_end|>"] if c])
        t.add_tokens([added("<tool>", False), added("<aside>", False, lstrip=True, rstrip=True), added("xyz", False, single_word=True),
                      added("\u212b", False, normalized=True)])
        t.decoder = decoders.ByteLevel()
        t.post_processor = processors.ByteLevel(trim_offsets=False)
        config = dict(eos_token=end, bos_token=bos)
        if bos:
            t.post_processor = processors.Sequence([t.post_processor, processors.TemplateProcessing(
                single=bos + " $A", pair=bos + " $A " + bos + ":1 $B:1", special_tokens=[(bos, t.token_to_id(bos))])])
        file = json.loads(t.to_str())
        file["model"]["ignore_merges"] = name == "json_llama3"
        os.makedirs("%s/%s" % (out, name), exist_ok=True)
        json.dump(file, open("%s/%s/tokenizer.json" % (out, name), "w"), ensure_ascii=False, separators=(",", ":"))
        json.dump(config, open("%s/%s/tokenizer_config.json" % (out, name), "w"), indent=1, sort_keys=True)
    return list(kinds)


def expect_spm(path):
    import sentencepiece
    from transformers import LlamaTokenizer
    slow = LlamaTokenizer.from_pretrained(path)
    sp = sentencepiece.SentencePieceProcessor(model_file=path + "/tokenizer.model")
    rows = []
    for text in TEXTS:
        if "</s>" in text:  # it would be parsed
            continue
        ids = slow.encode(text, add_special_tokens=False)
        behind = slow.encode("x</s>" + text, add_special_tokens=False)
        row = dict(text=text, ids=ids, behind=behind[behind.index(2) + 1:])
        if all(i < sp.get_piece_size() for i in ids):
            row["decoded"] = sp.decode(ids)
        rows.append(row)
    return rows


def expect_json(path):
    from tokenizers import Tokenizer
    t = Tokenizer.from_file(path + "/tokenizer.json")
    t.encode_special_tokens = True
    rows = []
    for text in TEXTS:
        ids = t.encode(text, add_special_tokens=False).ids
        rows.append(dict(text=text, ids=ids, decoded=t.decode(ids, skip_special_tokens=True)))
    return rows


def main(out):
    with tempfile.TemporaryDirectory() as work:
        corpus = work + "/corpus.txt"
        lines = make_corpus(random.Random(0))[:6000] + [f for f in FRAGMENTS if f.isprintable()] * 3
        open(corpus, "w").write("\n".join(lines))
        train_spm(out, corpus, work)
        write_configs(out)
        names = make_json(out, corpus)
    expected = {name: expect_spm("%s/%s" % (out, name)) for name in list(SPM) + [n + "_new" for n in NEW]}
    expected.update({name: expect_json("%s/%s" % (out, name)) for name in names})
    with open(out + "/expected.json", "w") as f:
        f.write("{" + ",\n".join("%s: [\n%s]" % (json.dumps(n), ",\n".join(json.dumps(r) for r in rows))
                                 for n, rows in expected.items()) + "}\n")


if __name__ == "__main__":
    main(sys.argv[1])
