# SPDX-License-Identifier: Apache-2.0
"""Makes configs/tokenizer/: a small tokenizer of the LLaMA kind (BPE, byte fallback, "▁" for spaces,
2048 pieces), trained on English image captions and dialogues that this script generates itself.

    make_tokenizer.py OUT_DIR        (needs: pip install tokenizers)
"""
import json
import random
import sys

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

N_PIECES = 2048
MARKER = "\u2581"

THINGS = """apple banana orange carrot broccoli pizza sandwich cake donut hot dog bowl plate cup fork knife spoon
bottle glass table chair couch sofa bed desk lamp clock vase book shelf mirror window door curtain carpet wall floor
kitchen bathroom bedroom room house building tower bridge street road sidewalk corner sign light bench park garden
tree flower grass leaf branch field hill mountain river lake ocean beach wave sand sky cloud sun moon snow rain
person man woman boy girl child baby people crowd group player team skier surfer skateboarder rider driver police
officer cook waiter dog cat horse cow sheep goat bird duck elephant zebra giraffe bear lion fish bicycle motorcycle
car bus truck train airplane boat ship station airport platform track runway wheel engine traffic umbrella backpack
handbag suitcase tie hat shirt jacket coat dress jeans shoe glove helmet ball baseball bat tennis racket court
skateboard snowboard surfboard ski kite frisbee television laptop keyboard mouse phone remote screen camera picture
photo image painting poster letter number word color shape box bag basket toy teddy balloon candle refrigerator oven
stove microwave toaster sink toilet shower towel brush scissors paper newspaper magazine fence gate roof chimney
church market store shop restaurant food fruit vegetable meat cheese bread soup salad rice coffee tea wine water""".split()
LOOKS = """small large big little tall short long wide old young new empty full clean dirty wet dry bright dark light
red orange yellow green blue purple pink brown black white gray golden silver wooden metal plastic glass stone brick
round square open closed broken shiny colorful striped beautiful busy quiet crowded sunny cloudy rainy snowy grassy
sandy rocky dusty fresh ripe sliced cooked hungry happy sad tired serious smiling professional several different""".split()
DOES = """sitting standing lying walking running jumping riding flying holding eating drinking playing looking
watching waiting sleeping swimming surfing skiing skating cooking cutting carrying pushing pulling throwing catching
hitting kicking reading writing talking smiling laughing parked driving moving hanging leaning resting grazing""".split()
PLACES = """on|in|at|near|by|under|above|behind|beside|between|inside|outside|over|through|across|along|against|toward|
around|next to|in front of|on top of|in the middle of|on the left side of|on the right side of""".replace("\n", "").split("|")
NUMBERS = "one two three four five six seven eight nine ten twelve twenty many some both".split()
QUESTIONS = """What is in this image? What color is the {a}? Where is the {a}? How many {s} can you see?
Which objects are there? Describe the image in detail. Is there a {a} in the picture? Who is holding the {a}?
Why might the {a} be {b}? Give a brief description of the photo. What could happen next? What time of day is it?
Render a clear and concise summary of the scene. Can you tell me more about the {a}?"""
ANSWERS = """Yes, there is a {b} {a} in the image. No, the {a} is not {b}. The {a} is {d} {w} the {c}.
There are {n} {s} in the picture, which shows that it is a {b} place. It appears to be a {b} {a}, possibly {d}.
In the background, there is a {b} {c} that adds to the overall atmosphere of the scene. It's {b}. I can't see that.
The largest object is the {a}, {w} the {c}. Overall, the image captures a moment of everyday life.
The person doesn't seem to notice the {a}. However, they are also {d} because of the {c}.
First, look at the {a}; then, consider how the {c} was made: by hand, with care, and for a reason."""
FRAME = ("A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
         "and polite answers to the user's questions. USER: {q} ASSISTANT: {r}")


COMMON = """the be to of and a in that have it for not on with he as you do at this but his by from they we say her she
or an will my all would there their what so up out if about who get which go me when make can like time no just him know
take into year your good some could them see other than then now only come its over think also back after use two how our
work first well way even want because any these give day most us is are was were been being has had did does done made
said went came took saw seen got given known thought found told asked seemed felt left called tried needed became kept
began showed heard let put turned brought held wrote met paid run set led stand lost knew ran read grew fell moved lived
believe happen provide include continue change lead understand watch follow stop create speak allow add spend grow open
walk win offer remember love consider appear buy wait serve die send expect build stay fall cut reach kill remain suggest
raise pass sell require report decide pull may might must should shall each every either neither another such own same
able available certain clear common current different difficult due easy entire final free general great hard high
human important likely local long low main major modern natural near next nice old particular past personal possible
present private public ready real recent right safe short similar simple single special strong sure true used usual
whole wonderful wrong very too really quite almost always never often sometimes usually again away down far here together
today tomorrow yesterday tonight morning evening afternoon night week month hour minute second moment life world hand part
child children place case point government company number group problem fact eye head face foot feet hair arm leg mouth
father mother brother sister son daughter husband wife friend family parents grandmother grandfather uncle cousin neighbor
school teacher student class lesson university office business money price job worker member story reason result idea
question answer example kind side end line name power air fire earth land animal plant weather summer winter spring
autumn temperature energy health body mind heart music song sound voice language book page movie game sport race field
science art history nature culture event party dinner lunch breakfast meal kitchen cream sugar salt oil egg chicken beef
rabbit mouse monkey tiger wolf fox turtle frog snake spider bee butterfly swan goose eagle owl dolphin whale shark
north south east west top bottom center front middle edge corner surface bottom inside outside background foreground
scene view shadow reflection pattern texture detail style design material cotton leather paper wool grass concrete
one's don't doesn't didn't can't couldn't isn't aren't wasn't weren't it's that's there's what's I'm you're they're we've
suggests indicates appears seems shows features includes contains consists displays captures depicts represents creates
provides makes gives takes keeps helps allows enjoys prepares stands sits lies walks runs rides flies holds eats drinks
plays looks watches waits sleeps carries wears uses works lives moves stops starts tries wants needs likes loves knows""".split()


def sentences(text):
    return text.replace("\n", " ").replace("? ", "?|").replace(". ", ".|").split("|")


def plural(word):
    return word[:-1] + "ies" if word[-1] == "y" and word[-2] not in "aeo" else \
        word + ("es" if word.endswith(("s", "sh", "ch", "x")) else "s")


def make_corpus(rng):
    questions, answers = sentences(QUESTIONS), sentences(ANSWERS)

    def fill(form):
        return form.format(a=rng.choice(THINGS), b=rng.choice(LOOKS), c=rng.choice(THINGS), d=rng.choice(DOES),
                           w=rng.choice(PLACES), s=plural(rng.choice(THINGS)), n=rng.choice(NUMBERS))
    lines = []
    for i in range(20000):
        lines.append(fill(rng.choice(["A {b} {a} {d} {w} a {c}.", "The {b} {a} is {d} {w} the {c}", "{n} {s} {w} a {b} {c}",
                                      "a {a} and a {c} {d} {w} some {b} {s}", "A man {d} {w} a {b} {a}.",
                                      "A woman with a {a} is {d} {w} a {c}"])))
        if i % 4 == 0:
            lines.append(FRAME.format(q=fill(rng.choice(questions)), r=fill(rng.choice(answers))))
        if i % 3 == 0:
            lines.append(" ".join(rng.choice(COMMON) for _ in range(12)).capitalize() + ".")
        if i % 50 == 0:
            lines.append("%d %s, %d.%d%% (at %d:%02d)" % (rng.randrange(2000), rng.choice(THINGS), rng.randrange(100),
                                                        rng.randrange(10), rng.randrange(24), rng.randrange(60)))
    return lines


def main(out_dir):
    special = ["<unk>", "<s>", "</s>"]
    byte_pieces = ["<0x%02X>" % b for b in range(256)]
    trained = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    trained.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation(), pre_tokenizers.Digits(individual_digits=True)])
    alphabet = [chr(c) for c in range(33, 127)] + [MARKER]
    trained.train_from_iterator(make_corpus(random.Random(0)), trainers.BpeTrainer(
        vocab_size=N_PIECES - 7, special_tokens=special + byte_pieces, initial_alphabet=alphabet, show_progress=False))
    trained.pre_tokenizer = None
    trained.normalizer = normalizers.Sequence([normalizers.Prepend(MARKER), normalizers.Replace(" ", MARKER)])
    trained.decoder = decoders.Sequence([decoders.Replace(MARKER, " "), decoders.ByteFallback(), decoders.Fuse(),
                                         decoders.Strip(" ", 1, 0)])
    file = json.loads(trained.to_str())
    file["added_tokens"] = [
        {"id": i, "content": piece, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True} for i, piece in enumerate(special)]
    front = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    file["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [front, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [front, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
    # runs of spaces, as LLaMA has them
    vocab = file["model"]["vocab"]
    joined = [m if isinstance(m, str) else " ".join(m) for m in file["model"]["merges"]]
    for n in range(2, 9):
        vocab[MARKER * n] = len(vocab)
        joined += ["%s %s" % (MARKER * k, MARKER * (n - k)) for k in range(1, n)]
    file["model"]["merges"] = joined
    config = {"add_bos_token": True, "add_eos_token": False, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
              "pad_token": "<unk>", "clean_up_tokenization_spaces": False, "legacy": True, "model_max_length": 2048,
              "tokenizer_class": "LlamaTokenizer"}
    for name, content in [("tokenizer.json", file), ("tokenizer_config.json", config)]:
        with open("%s/%s" % (out_dir, name), "w", encoding="utf-8") as f:
            json.dump(content, f, ensure_ascii=False, indent=0 if name == "tokenizer.json" else 2)
            f.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
