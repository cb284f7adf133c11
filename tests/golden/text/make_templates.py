# SPDX-License-Identifier: Apache-2.0
"""Makes templates.json and templates_coco.json with LLaVA's own functions; see check_templates.py for what it needs.

    make_templates.py --llava CHECKOUT --data SHARED_DATA

    templates.json       for each template that make_golden.py does not cover: what to change in the committed
                         tokenizer so that LLaVA's arithmetic can add up, and hard samples with LLaVA's ids and its mask
                         as a string of 0 and 1; the mask is null where LLaVA's lengths do not add up, the ids are null
                         where it also leaves a turn out
    templates_coco.json  stage2_instruct.json with LLaMA's tokenizer, changed in the same way: as coco.json
"""
import argparse
import copy
import json
import os
import tempfile

from check_templates import Kind, added, llama_file
from llava_templates import IM, Llava, hard_samples
from make_golden import HERE, crc, mask_text

NAMES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}


def changes(template, n_ids, has_marks):
    """v0: LLaMA's pieces for ###, without which a turn alone has other pieces than in its place. chatml: the pieces."""
    made = {"vocab": {}, "merges": [], "added_tokens": [], "drop": []}
    if template == "v0" and not has_marks:
        made["vocab"] = {"##": n_ids, "\u2581##": n_ids + 1, "\u2581###": n_ids + 2}
        made["merges"] = ["# #", "\u2581 ##", "\u2581## #"]
    if template == "chatml":
        made["added_tokens"] = [added(n_ids, IM[0]), added(n_ids + 1, IM[1])]
        made["drop"] = ["post_processor"]
    return made


def changed(file, change):
    file = copy.deepcopy(file)
    file["model"]["vocab"].update(change["vocab"])
    merges = file["model"]["merges"]
    merges.extend(m if isinstance(merges[0], str) else m.split(" ") for m in change["merges"])
    file["added_tokens"].extend(change["added_tokens"])
    for key in change["drop"]:
        file[key] = None
    return file


def expected(llava, kind, template, sample):
    """(ids, mask) or None: not a sample that LLaVA trains as it stands."""
    turns = sample["conversations"]
    if isinstance(sample.get("image"), list) or any(t["from"] == "gpt" and not t["value"] for t in turns):
        return None
    if template != "v0" and not any(t["from"] == "gpt" for t in turns[1:]):
        return None
    tokenizer, standins = kind.of(sample)
    try:
        ids, mask, adds_up = llava(tokenizer, template, sample, standins, old_mpt=False)
        if template == "chatml":
            _, mask, adds_up = llava(tokenizer, template, sample, standins, old_mpt=True)
    except (KeyError, AssertionError, IndexError):
        return None
    if ids.count(-200) != int("image" in sample) or any(t["from"] not in ("human", "gpt") for t in turns):
        return None
    if "image" not in sample and any("<image>" in t["value"] for t in turns):
        return None
    leaves_out = template != "v0" and any(t["from"] == "human" and not t["value"] for t in turns)
    return None if leaves_out and not adds_up else ids, mask if adds_up else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llava", required=True)
    parser.add_argument("--data", required=True)
    options = parser.parse_args()
    llava = Llava(options.llava)
    small = json.load(open(os.path.join(HERE, "..", "..", "..", "configs", "tokenizer", "tokenizer.json"), encoding="utf-8"))
    coco = json.load(open(os.path.join(options.data, "coco", "stage2_instruct.json"), encoding="utf-8"))
    chosen, out, out_coco = hard_samples(12)[:46] + hard_samples(12)[-12:], {}, {}
    with tempfile.TemporaryDirectory() as work:
        for template in ("v0", "llama_2", "chatml"):
            change = changes(template, len(small["model"]["vocab"]), False)
            kind = Kind(template, work, changed(small, change), NAMES)
            rows = []
            for name, sample in chosen:
                made = expected(llava, kind, template, sample)
                if made:
                    rows.append({"name": name, "sample": sample, "ids": made[0], "mask": mask_text(made[1])})
            out[template] = {"change": change, "samples": rows}
            change = changes(template, 32000, True)
            kind = Kind(template + " llama", work, changed(llama_file(options.data), change), NAMES)
            rows = []
            for sample in coco:
                ids, mask = expected(llava, kind, template, sample)
                rows.append([crc(ids, "<i4"), mask and crc([int(c) for c in mask], "u1"), len(ids), sum(mask or [])])
            out_coco[template] = {"change": change, "samples": rows}
            masked = [sum(r["mask"] is None for r in out[template]["samples"]), sum(r[1] is None for r in rows)]
            print("%s: %d hard samples, %d without LLaVA's mask; %d COCO samples, %d" %
                  (template, len(out[template]["samples"]), masked[0], len(rows), masked[1]))
    for name, content in (("templates.json", out), ("templates_coco.json", out_coco)):
        with open(os.path.join(HERE, name), "w", encoding="utf-8") as f:
            text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
            f.write(text.replace("],[", "],\n[").replace('},{"name"', '},\n{"name"') + "\n")


if __name__ == "__main__":
    main()
