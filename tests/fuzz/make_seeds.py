#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fuzz/seeds/<target>/*: small valid and broken inputs to start from. Needs Pillow (WebP)."""
import io, json, shutil, struct
from pathlib import Path
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SEEDS = ROOT / "tests/fuzz/seeds"
MARKER = "\u2581"


def put(target, name, data):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)


def parts(first, second):
    """The layout of fuzz_split."""
    first = first.encode() if isinstance(first, str) else first
    second = second.encode() if isinstance(second, str) else second
    return first + second + bytes([len(second)])


def dump(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def records():
    def sample(turns, **more):
        talk = [{"from": ("human", "gpt")[i % 2], "value": t} for i, t in enumerate(turns)]
        return {"id": "x", **more, "conversations": talk}

    caption = sample(["What?\n<image>", "two dogs"], image="a.jpg")
    talk = sample(["<image>\nColour?", "Red.", "Sure?", "Yes </s> \u00e9\u732b\U0001f431"], image="a.jpg")
    several = sample(["<image> or <image>?", "Both."], image=["a.jpg", "b.png"])
    text = sample(["Hello", "Hi"], system_prompt="Be brief.", id=7)
    put("record", "array.json", dump([caption, talk, several, text]))
    put("record", "lines.jsonl", "".join(dump(r) + "\n" for r in (caption, text, talk)))
    put("record", "indented.json", json.dumps([text, sample(["", "x"])], indent=1))
    put("record", "gpt_first.json", dump([{"id": 1, "conversations": talk["conversations"][1:]}]))
    put("record", "marks.json", dump([sample(["a <image>\n", "b"]), sample(["q", "<image>"], image="c")]))
    put("record", "cut.json", dump([caption, talk])[:-30])
    put("record", "bad_numbers.json", "[1e999,9007199254740993,01,-0,1e400]")
    put("record", "bad_text.json", b'[{"id":"\\u0000","id":"\\ud83d"},"\xff\xfe"]')


def added(names):
    return [{"id": i, "content": c, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True} for i, c in names.items()]


def llama_kind():
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in (0x0A, 0xC3, 0xA9)]
    pieces += [MARKER, "a", "b", "c", "e", MARKER + "a", "ab", "abc", MARKER + "ab", MARKER * 2]
    return {
        "version": "1.0",
        "added_tokens": added({0: "<unk>", 1: "<s>", 2: "</s>"}),
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": MARKER},
            {"type": "Replace", "pattern": {"String": " "}, "content": MARKER}]},
        "pre_tokenizer": None,
        "post_processor": {"type": "TemplateProcessing",
                           "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                                      {"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": MARKER}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "fuse_unk": True,
                  "byte_fallback": True, "ignore_merges": False,
                  "vocab": {p: i for i, p in enumerate(pieces)},
                  "merges": [f"{MARKER} a", "a b", "ab c", f"{MARKER}a b", f"{MARKER} {MARKER}"]},
    }


def byte_level_kind(pattern):
    pieces = [chr(c) for c in (0x21, 0x27, 0x30, 0x31, 0x61, 0x62, 0x73, 0x74, 0xC3, 0xA9, 0x10A, 0x120)]
    pieces += ["ab", "\u0120a", "st", "\u0120ab"]
    n = len(pieces)
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0",
        "added_tokens": added({n: "<|endoftext|>", n + 1: "<|im_start|>", n + 2: "<|im_end|>"}),
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
        "post_processor": level,
        "decoder": level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False,
                  "byte_fallback": False, "ignore_merges": True,
                  "vocab": {p: i for i, p in enumerate(pieces)},
                  "merges": [["a", "b"], ["\u0120", "a"], ["s", "t"], ["\u0120", "ab"]]},
    }


LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
TEXT = " ab  abc\n\u00e9 it's 101 \U0001f431 "


def tokenizers_json():
    llama = llama_kind()
    put("tokenizer_json", "llama", parts(dump(llama), TEXT))
    put("tokenizer_json", "no_bytes", parts(
        dump({**llama, "model": {**llama["model"], "byte_fallback": False}}), TEXT))
    space = {"type": "Metaspace", "replacement": MARKER, "prepend_scheme": "first", "split": False}
    put("tokenizer_json", "metaspace", parts(
        dump({**llama, "normalizer": None, "pre_tokenizer": space, "decoder": space}), TEXT))
    put("tokenizer_json", "byte_level", parts(dump(byte_level_kind(LLAMA3)), TEXT))
    put("tokenizer_json", "bad_id", parts(
        dump({**llama, "model": {**llama["model"], "vocab": {"a": 1e9, "b": -1}}}), TEXT))
    put("tokenizer_json", "bad_merge", parts(
        dump({**llama, "model": {**llama["model"], "merges": ["a z", "a", ["a", "b", "c"]]}}), TEXT))
    put("tokenizer_json", "cut", parts(dump(llama)[:-40], TEXT))


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out + bytes([n]))


def field(number, value):
    """One field of a protobuf message: an int, a float or bytes."""
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def tokenizers_model():
    NORMAL, UNKNOWN, CONTROL, USER, BYTE = 1, 2, 3, 4, 6

    def piece(text, score, kind):
        return field(1, field(1, text) + field(2, float(score)) + field(3, kind))

    pieces = [piece("<unk>", 0, UNKNOWN), piece("<s>", 0, CONTROL), piece("</s>", 0, CONTROL)]
    whole = pieces + [piece(f"<0x{b:02X}>", 0, BYTE) for b in range(256)]
    merged = [MARKER + "a", "ab", "abc", MARKER + "ab", MARKER * 2]
    some = [piece("<image>", 0, USER)] + [piece(p, -i, NORMAL) for i, p in enumerate(merged)]
    some += [piece(p, -9 - i, NORMAL) for i, p in enumerate([MARKER, "a", "b", "c", "e"])]
    trainer = field(2, field(3, 2) + field(35, 1) + field(40, 0) + field(41, 1) + field(42, 2))
    normalizer = field(3, field(1, "identity") + field(3, 1) + field(4, 0) + field(5, 1))
    put("tokenizer_model", "bytes", parts(b"".join(whole + some) + trainer + normalizer, TEXT))
    no_bytes = field(2, field(3, 2) + field(35, 0))
    put("tokenizer_model", "no_bytes", parts(b"".join(pieces + some) + no_bytes + normalizer, TEXT))
    put("tokenizer_model", "cut", parts((b"".join(pieces + some) + trainer)[:-9], TEXT))
    put("tokenizer_model", "unigram", parts(b"".join(pieces + some) + field(2, field(3, 1)), TEXT))


def safetensors():
    two = {"__metadata__": {"format": "pt"},
           "b.bias": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]},
           "a.weight": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [12, 24]},
           "ids": {"dtype": "I64", "shape": [], "data_offsets": [24, 32]}}
    put("safetensors", "two", dump(two).encode() + bytes([32]))
    header = dump({"x": {"dtype": "F16", "shape": [0, 4], "data_offsets": [0, 0]}}).encode()
    put("safetensors", "file", struct.pack("<Q", len(header)) + header)
    put("safetensors", "long_header", struct.pack("<Q", 1 << 63) + header)
    huge = {"x": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 4]}}
    put("safetensors", "huge", dump(huge).encode() + bytes([4]))
    hole = {"x": {"dtype": "F4", "shape": [2], "data_offsets": [1, 2]}, "y": two["b.bias"]}
    put("safetensors", "hole", dump(hole).encode() + bytes([12]))


def configs():
    for name in ("stage1", "stage2"):
        text = (ROOT / f"configs/quickstart/{name}.json").read_text()
        put("config", name, parts(dump(json.loads(text)), "optim.lr=1e-4"))
    small = {"run": {"dir": "r"}, "data": {"packs": ["a", {"path": "b", "weight": 2}]},
             "train": {"trainable": ["projector"]}, "optim": {"lr": 1e-3, "betas": [0.9, 0.95]}}
    put("config", "small", parts(dump(small), "data.group_by_modality_length=true"))
    put("config", "unknown", parts(dump({**small, "trian": {"a.b": 1}}), "train.seed=-1"))
    put("config", "long_set", parts(dump(small), "a" * 90 + "." + "b" * 90 + "=[[[{}]]]"))


def templates():
    turn = {"insert": "turn"}
    chat = {"name": "chat", "system": "S", "stop": "<|im_end|>",
            "opening": [{"insert": "system"}, {"piece": "<|im_end|>"}],
            "human": [{"text": "U: "}, turn, {"text": " "}],
            "human_empty": [{"text": "U:"}],
            "gpt": [{"text": "A:"}, {**turn, "learnt": True}, {"insert": "eos", "learnt": True}],
            "between": [{"insert": "bos"}], "closing": [{"text": "###", "learnt": True}],
            "question": [{"insert": "system"}, {"text": "U: "}, turn, {"text": " A:"}]}
    caption = {"name": "caption", "caption": True, "human": [{"insert": "marks"}],
               "gpt": [{**turn, "learnt": True}], "question": [turn]}
    put("template", "chat", parts(dump(chat), "a <image>\nb </s>"))
    put("template", "caption", parts(dump(caption), "a dog"))
    put("template", "free", parts(dump({**chat, "free_turns": True, "caption": False}), ""))
    put("template", "unknown", parts(dump({**chat, "humans": [], "gpt": [{"insert": "x"}]}), "a"))
    put("template", "no_turn", parts(dump({"name": "a/b", "human": [], "gpt": [{}], "question": 1}), ""))


def images():
    for name in ("gray1.png", "gray1_interlaced.png", "palette1.png", "palette4_interlaced.png",
                 "rgb_trns.png", "gray16.png", "gray.jpg", "baseline.jpg", "progressive.jpg",
                 "cmyk.jpg"):
        put("image", name, (ROOT / "tests/golden/image" / name).read_bytes())
    put("image", "cut.jpg", (ROOT / "tests/golden/image/restart.jpg").read_bytes()[:-200])
    picture = Image.open(ROOT / "tests/golden/image/rgba8.png")
    for name, image, how in (("lossy.webp", picture.convert("RGB"), {"quality": 30}),
                             ("lossless.webp", picture.convert("RGB").resize((8, 8)), {"lossless": True}),
                             ("alpha.webp", picture, {"quality": 20})):
        out = io.BytesIO()
        image.save(out, "webp", **how)
        put("image", name, out.getvalue())
    frames = [picture.convert("RGB").resize((4, 4)), Image.new("RGB", (4, 4))]
    out = io.BytesIO()
    frames[0].save(out, "webp", save_all=True, append_images=frames[1:], lossless=True)
    put("image", "animated.webp", out.getvalue())
    put("image", "short.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\0\0\0\0\0")


def packs():
    """Edit lists: see fuzz_pack.c. The columns follow the order of data/pack/format.h."""
    def edits(flags, *edits):
        out = bytes([flags])
        for what, place, removed, text in edits:
            out += struct.pack("<BHBB", what, place, removed, len(text)) + text
        return out

    tokens, supervised, offset, sample_image, image_offset = range(4, 9)
    counts, pixels, width = 12, 16, 19
    put("pack", "untouched", edits(0))
    put("pack", "untouched_rgb", edits(1))
    put("pack", "tokens", edits(6, (tokens, 4, 4, struct.pack("<i", -200))))
    put("pack", "labels", edits(7, (supervised, 0, 1, b"\2")))
    put("pack", "offsets", edits(6, (offset, 8, 8, struct.pack("<q", -1))))
    put("pack", "image_ids", edits(6, (sample_image, 0, 8, struct.pack("<q", 1 << 40))))
    put("pack", "image_offsets", edits(6, (image_offset, 8, 8, struct.pack("<q", 7))))
    put("pack", "counts", edits(6, (counts, 0, 16, struct.pack("<4i", 1 << 30, 1, 1, 0))))
    put("pack", "bytes", edits(6, (pixels, 40, 8, b"damaged!")))
    put("pack", "width", edits(7, (width, 0, 4, struct.pack("<i", 1 << 30))))
    put("pack", "manifest", edits(4, (0, 30, 2, b"9")))
    put("pack", "shard", edits(4, (2, 60, 1, b"\xff")))
    put("pack", "cut", edits(0, (3, 1000, 255, b"")))


shutil.rmtree(SEEDS, ignore_errors=True)
for make in (records, tokenizers_json, tokenizers_model, safetensors, configs, templates, images, packs):
    make()
