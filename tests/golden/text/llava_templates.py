# SPDX-License-Identifier: Apache-2.0
"""LLaVA's own preprocessing of every template, and hard samples, for check_templates.py and
make_templates.py."""
import copy
import json
import os
import random
import subprocess
import sys
import types

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from make_golden import load_llava  # noqa: E402

NAMES = {"plain": "plain", "v1": "v1", "v0": "llava_v0", "llama_2": "llava_llama_2", "chatml": "mpt"}
IM = ["<|im_start|>", "<|im_end|>"]
SPECIAL = ["<unk>", "<s>", "</s>"] + IM
# A character each, which no text holds, for the special pieces of a tokenizer: LLaVA's functions with these in the
# templates see the templates' own pieces, and the same words in a text stay words.
STANDIN = {piece: chr(0xF0000 + i) for i, piece in enumerate(SPECIAL)}


def shown(text):
    """A turn as the prompt shows it, but for its mark."""
    return text.replace("<image>", "").strip() if "<image>" in text else text


def holds_special(sample):
    texts = [shown(t["value"]) for t in sample["conversations"]] + [sample.get("system_prompt") or ""]
    return any(piece in text for piece in SPECIAL for text in texts)


class Llava:
    """preprocess() of a checkout of LLaVA, and its preprocess_mpt of v1.1.3 (see chatml_mask)."""

    def __init__(self, checkout):
        self.train, self.conversation = load_llava(checkout)
        self.original = copy.deepcopy(self.conversation.conv_templates)
        old = subprocess.run(["git", "-C", checkout, "show", "v1.1.3:llava/train/train.py"], check=True,
                             capture_output=True, text=True).stdout
        begin = old.index("def preprocess_mpt(")
        scope = vars(self.train).copy()
        exec(old[begin:old.index("\ndef ", begin)], scope)
        self.old_mpt = scope["preprocess_mpt"]

    def conv(self, template, system=None, standins=()):
        conv = self.original[NAMES[template]].copy()
        if system:
            conv.system = IM[0] + "system\n" + system if template == "chatml" else system
        for piece in standins:
            conv.roles = tuple(role.replace(piece, STANDIN[piece]) for role in conv.roles)
            conv.sep = conv.sep and conv.sep.replace(piece, STANDIN[piece])
            conv.sep2 = conv.sep2 and conv.sep2.replace(piece, STANDIN[piece])
        if template == "chatml" and IM[0] in standins:
            conv.system = STANDIN[IM[0]] + conv.system[len(IM[0]):]
        return conv

    def __call__(self, tokenizer, template, sample, standins=(), old_mpt=False):
        """(ids, mask or None, adds_up); None: LLaVA masks the sample whole."""
        conv = self.conv(template, sample.get("system_prompt"), standins)
        self.conversation.default_conversation = conv
        sources = copy.deepcopy([sample["conversations"]])
        has_image = "image" in sample
        if has_image:
            options = types.SimpleNamespace(is_multimodal=True, mm_use_im_start_end=False)
            sources = self.train.preprocess_multimodal(sources, options)
        turns = copy.deepcopy(sources)
        with open(os.devnull, "w") as silent:
            out, sys.stdout = sys.stdout, silent
            try:
                made = (self.old_mpt(sources, tokenizer) if old_mpt else
                        self.train.preprocess(sources, tokenizer, has_image=has_image))
            finally:
                sys.stdout = out
        ids, labels = made["input_ids"][0].tolist(), made["labels"][0].tolist()
        mask = [int(label not in (-100, -200)) for label in labels]
        adds_up = any(mask) and (template != "v0" or self.v0_adds_up(tokenizer, conv, turns, has_image))
        return ids, mask if any(mask) else None, adds_up

    def v0_adds_up(self, tokenizer, conv, sources, has_image):
        """Whether the lengths of the turns alone, which LLaVA adds, are the turns' places in the whole."""
        def length(text):
            return len(self.train.tokenizer_image_token(text, tokenizer)) if has_image else len(tokenizer(text).input_ids)
        header = conv.system + "\n\n"
        self.train._add_speaker_and_signal(header, sources[0])
        at, text = length(header), header
        for turn in sources[0]:
            at, text = at + length(turn["value"]), text + turn["value"]
            if at != length(text):
                return False
        return length(text + "### ") >= at

    def question(self, tokenizer, template, text, n_images, standins=()):
        """The prompt of llava/eval/run_llava.py."""
        conv = self.conv(template, None, standins)
        conv.append_message(conv.roles[0], "<image>\n" * n_images + text)
        conv.append_message(conv.roles[1], None)
        return self.train.tokenizer_image_token(conv.get_prompt(), tokenizer)


# ---- hard samples ----

def sample(*turns, image="a.jpg", first="human", roles=None, **more):
    two = ["human", "gpt"] if first == "human" else ["gpt", "human"]
    roles = roles or [two[i % 2] for i in range(len(turns))]
    made = {"id": "x", "conversations": [{"from": r, "value": t} for r, t in zip(roles, turns)]}
    made.update({"image": image} if image else {}, **more)
    return made


TRICKY = ["ASSISTANT:", " ASSISTANT: ", "USER:", "###", "### ", "### Human: ", "### Assistant:", "[INST]", "[/INST]",
          " [/INST] ", "<<SYS>>", "<</SYS>>", "</s>", "<s>", "<unk>", "<|im_start|>", "<|im_end|>",
          "<|im_end|><|im_start|>assistant\n", "\n\n", "\t", "  ", "\r\n", "\u3000", "\u00a0", "\u2581", "#", "##", "####",
          "[", "]", ":", "<", "<0x0A>", "\u732b", "\U0001f408\u200d\u2b1b", "e\u0301", "\u0645\u0631", "\ufeff", "\x7f"]

SHAPES = [
    ("mark in front", sample("<image>\nWhat is this?", "A cat.")),
    ("mark without newline", sample("<image>What is this?", "A cat.")),
    ("mark at the end", sample("What is this?\n<image>", "A cat.")),
    ("mark at the end after spaces", sample("What is this?   <image>", "A cat.")),
    ("mark in the middle", sample("What in <image> is this?", "A cat.")),
    ("mark alone", sample("<image>", "A cat.")),
    ("mark between white space", sample("\n \t<image>\u3000\n", "A cat.")),
    ("two marks fold into one", sample("<image>\n<image>\nWhat?", "A cat.")),
    ("mark in round two", sample("Hello.", "Hello!", "<image>\nWhat is this?", "A cat.")),
    ("mark in round two, no newline", sample("Hello.", "Hello!", "What is this?<image>", "A cat.", "Sure?", "Yes.")),
    ("mark in an answer", sample("Draw a cat.", "Here: <image> you see?")),
    ("mark alone in an answer", sample("Draw a cat.", "<image>")),
    ("two rounds", sample("<image>\nWhat?", "A cat.", "What color?", "Black.")),
    ("five rounds", sample("<image>\nq 1", "a 1", "q 2", "a 2", "q 3", "a 3", "q 4", "a 4", "q 5", "a 5")),
    ("text only", sample("What is the capital of France?", "Paris.", image=None)),
    ("text only, three rounds", sample("Hello.", "Hello!", "And?", "Nothing.", "So?", "So.", image=None)),
    ("leading gpt turn", sample("I am here.", "<image>\nWhat?", "A cat.", first="gpt")),
    ("leading gpt turn with the mark", sample("<image>\nHere.", "What?", "A cat.", first="gpt")),
    ("leading gpt turn, text only", sample("I am here.", "Who?", "I.", first="gpt", image=None)),
    ("unanswered question at the end", sample("<image>\nWhat?", "A cat.", "And this?")),
    ("only a question", sample("What?", image=None)),
    ("only an answer", sample("A cat.", first="gpt", image=None)),
    ("two questions in a row", sample("What?", "And?", "A cat.", roles=["human", "human", "gpt"], image=None)),
    ("two answers in a row", sample("What?", "A cat.", "A dog.", roles=["human", "gpt", "gpt"], image=None)),
    ("empty question", sample("", "A cat.", image=None)),
    ("empty question in round two", sample("<image>\nWhat?", "A cat.", "", "Yes.")),
    ("empty answer", sample("What?", "", image=None)),
    ("empty answer in round one", sample("<image>\nWhat?", "", "Really?", "Yes.")),
    ("question of spaces", sample("   ", "A cat.", image=None)),
    ("answer of spaces", sample("<image>\nWhat?", "   ")),
    ("answer of a newline", sample("<image>\nWhat?", "\n")),
    ("spaces around texts", sample("  What is this?  ", "  A cat.  ", "  So? ", " So. ", image=None)),
    ("newline runs", sample("<image>\n\n\nWhat\n\nis?\n\n", "\n\nA\n\ncat.\n\n")),
    ("tabs and carriage returns", sample("<image>\r\nWhat\tis?\t", "\tA\r\ncat.\r\n")),
    ("own system prompt", sample("<image>\nWhat?", "A cat.", system_prompt="Be brief.")),
    ("own system prompt, two rounds, text only", sample("Hi.", "Hi!", "So?", "So.", image=None, system_prompt="Be <brief>\n")),
    ("own system prompt, leading gpt", sample("Here.", "Hi.", "Hi!", first="gpt", image=None, system_prompt="\u732b ###")),
    ("empty system prompt", sample("Hi.", "Hi!", image=None, system_prompt="")),
    ("question ends in the answer's word", sample("Who writes ASSISTANT:", "You.", image=None)),
    ("question ends in the answer's word, image", sample("<image>\nWho writes ASSISTANT:", "You.")),
    ("long word", sample("<image>\n" + "abc" * 60, "x" * 100 + "\u00e9" * 20)),
    ("unicode", sample("<image>\n\u8fd9\u662f\u4ec0\u4e48\uff1f", "\u4e00\u53ea\u732b\u3002\U0001f408\u200d\u2b1b")),
    ("several images", sample("<image> like <image>?", "No.", image=["a.jpg", "b.jpg"])),
    ("several images, later", sample("<image>What?", "A cat.", " and <image>", "A dog.", image=["a.jpg", "b.jpg"])),
    ("an image in a list", sample("<image>What?", "A cat.", image=["a.jpg"])),
    ("image without mark", sample("What?", "A cat.")),
    ("mark without image", sample("<image>\nWhat?", "A cat.", image=None)),
    ("two marks in two turns, one image", sample("<image>What?", "A cat.", "<image>And?", "A dog.")),
    ("role user", sample("Hi.", "Hi!", roles=["user", "assistant"], image=None)),
    ("role Human", sample("Hi.", "Hi!", roles=["Human", "GPT"], image=None)),
    ("role system", sample("Be.", "Hi.", "Hi!", roles=["system", "human", "gpt"], image=None)),
]


def hard_samples(n_random=220, seed=3):
    made = list(SHAPES)
    for text in TRICKY:
        made.append((json.dumps(text) + " in a question", sample("<image>\nWhat is" + text + "here?", "A word.")))
        made.append((json.dumps(text) + " in an answer", sample("Say it.", "It is " + text, "Again.", text + "!", image=None)))
    rng = random.Random(seed)
    words = "the a cat don't 3.14 na\u00efve What color? Black. \u72ac \ud55c\uad6d".split(" ")
    for i in range(n_random):
        def text():
            return "".join(rng.choice([rng.choice(words), rng.choice(words) + " ", rng.choice(TRICKY)])
                           for _ in range(rng.randrange(1, 9)))
        turns = [text() for _ in range(2 * rng.randrange(1, 4))]
        image = "a.jpg" if rng.random() < 0.6 else None
        if image:
            place = 2 * rng.randrange(len(turns) // 2)
            at = rng.randrange(len(turns[place]) + 1)
            turns[place] = turns[place][:at] + "<image>" + turns[place][at:]
        more = {"system_prompt": text().replace("<image>", "")} if rng.random() < 0.2 else {}
        made.append(("random %d" % i, sample(*turns, image=image, **more)))
    return made
