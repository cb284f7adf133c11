#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# llava inspect of packs, as its users call it.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"

tokenizer=$LLAVA_TEST_SOURCE/configs/tokenizer
pack() { # NAME TEMPLATE FLAG...: of $work/NAME.json, with a copy of the tokenizer
    local name=$1 template=$2
    shift 2
    "$LLAVA" pack --data "$work/$name.json" --tokenizer "$tokenizer" --template "$template" \
        --out "$work/$name" "$@" &&
        { [ -d "$work/$name/tokenizer" ] || cp -r "$tokenizer" "$work/$name/tokenizer"; }
}
inspect() { "$LLAVA" inspect "$@"; }

cp "$quick/questions.json" "$work/photos.json"
photo=$(cd "$quick/photos" && ls | grep -m 1 '\.jpg$')
cat >"$work/texts.json" <<END
[ {"id": "first", "conversations": [
     {"from": "human", "value": "Say two."}, {"from": "gpt", "value": "One\nline."},
     {"from": "human", "value": "Again."}, {"from": "gpt", "value": "Done."}]},
  {"id": "evil\u001b]0;x\u0007", "conversations": [
     {"from": "human", "value": "\u001b[31mred\u009b2J\u202e and ⟦this⟧ \u0008 </s>"},
     {"from": "gpt", "value": "\u001b[0m⟧ out"}]},
  {"id": "first", "conversations": [
     {"from": "human", "value": "More?"}, {"from": "gpt", "value": "No."}]} ]
END
cat >"$work/several.json" <<END
[ {"id": "nowhere", "image": "nowhere.jpg", "conversations": [
     {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "That."}]},
  {"id": "elsewhere", "image": "elsewhere.jpg", "conversations": [
     {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "That."}]},
  {"id": "two-humans", "conversations": [
     {"from": "human", "value": "One?"}, {"from": "human", "value": "Two?"}]},
  {"id": 7, "image": "$photo", "conversations": [
     {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "That."}]} ]
END
make_packs() {
    pack photos v1 --images "$quick/photos" && pack texts v1 &&
        pack several v1 --images "$quick/photos" --max-rejects 1
}
check "packs are made" make_packs

# ---- a sample ----
system="A chat between a curious user and an artificial intelligence assistant. The assistant gives\
 helpful, detailed, and polite answers to the user's questions."
prompt_is_marked() {
    inspect "$work/texts" --sample 0 >"$work/out" || return 1
    cat "$work/out"
    grep -qF "<s> $system USER: Say two. ASSISTANT:⟦ One↵" "$work/out" &&
        grep -qxF 'line.</s>⟧ USER: Again. ASSISTANT:⟦ Done.</s>⟧' "$work/out"
}
check "the answers and their </s> stand between the marks, and nothing else" prompt_is_marked

# The ids that are printed, one a line with its mask: "id 0" or "id 1".
printed_ids() {
    inspect "$@" | awk 'BEGIN { RS = "" } { ids = $0 } END { print ids }' | sed 's/⟦/ [ /g; s/⟧/ ] /g' |
        tr ' ' '\n' | awk '$1 == "[" { on = 1; next } $1 == "]" { on = 0; next } NF { print $1, on + 0 }'
}
json_array() { # NAME: of the object on stdin, an item a line
    sed "s/.*\"$1\":\[\([^]]*\)\].*/\1/" | tr ',' '\n'
}
ids_are_marked() {
    local n k
    n=$(inspect "$work/photos" --json | sed 's/.*"samples":\([0-9]*\).*/\1/')
    [ "$n" -gt 3 ] || return 1
    for ((k = 0; k < n && k < 6; k++)); do
        inspect "$work/photos" --sample $k --json >"$work/json" || return 1
        paste -d ' ' <(json_array tokens <"$work/json") <(json_array supervised <"$work/json") \
            >"$work/want"
        grep -q ' 1$' "$work/want" && grep -q '^-200 0$' "$work/want" || return 1
        diff "$work/want" <(printed_ids "$work/photos" --sample $k) || return 1
    done
}
check "the marks of the ids are the mask" ids_are_marked
fits() { inspect "$work/photos" --sample 0 | awk 'BEGIN { RS = "" } { ids = $0 } END { print ids }' |
    sed 's/⟦/[/g; s/⟧/]/g' | awk 'length($0) > 80 || /^ | $/ { bad = 1; print } END { exit bad }'; }
check "ids are wrapped at 80 columns where there is no terminal" fits

no_raw_controls() {
    inspect "$work/texts" --sample 1 >"$work/out" && inspect "$work/texts" --sample 1 --json \
        >"$work/json" || return 1
    cat -v "$work/out"
    ! LC_ALL=C grep -q "$(printf '[\001-\010\013-\037\177]')" "$work/out" "$work/json" &&
        ! LC_ALL=C grep -q "$(printf '\302[\200-\237]')" "$work/out" "$work/json" &&
        grep -qF 'evil<U+001B>]0;x<U+0007>' "$work/out" &&
        grep -qF '<U+001B>[31mred<U+009B>2J<U+202E> and <U+27E6>this<U+27E7> <U+0008> </s> ASSISTANT:⟦' \
            "$work/out" && grep -qF ' <U+001B>[0m<U+27E7> out</s>⟧' "$work/out"
}
check "nothing in a sample reaches the terminal as a command" no_raw_controls

on_terminal() { # COLUMNS COMMAND...: in a terminal of that width
    local columns=$1
    shift
    TERM=xterm NO_COLOR= script -qec "stty cols $columns; $(printf '%q ' "$@")" /dev/null </dev/null
}
green=$(printf '\033[0;32m')
colours() {
    on_terminal 120 "$LLAVA" inspect "$work/texts" --sample 0 >"$work/tty" || return 1
    cat -v "$work/tty"
    grep -qF "ASSISTANT:$green Done." "$work/tty" && ! grep -q '⟦' "$work/tty" &&
        inspect "$work/texts" --sample 0 >"$work/out" &&
        ! grep -q "$(printf '\033')" "$work/out"
}
widths() {
    local columns
    for columns in 60 140; do
        on_terminal $columns "$LLAVA" inspect "$work/photos" | tr -d '\r' |
            awk -v n=$columns '/#/ && length($0) > m { m = length($0) }
                END { print "the longest bar ends at", m; exit m != n - 1 }' || return 1
    done
}
if command -v script >/dev/null && on_terminal 80 true >/dev/null 2>&1; then
    check "colours on a terminal, and only there" colours
    check "bars are as wide as the terminal" widths
else
    skip "colours on a terminal" "no terminal to be had (script)"
fi

check "a number too large" refused 2 '--sample 3: the pack has 3 samples, from 0' \
    inspect "$work/texts" --sample 3
check "a number below 0" refused 2 '--sample: -1 is not between' inspect "$work/texts" --sample -1
by_id() { inspect "$work/texts" --id first >"$work/out" &&
    grep -q '^2 samples have the id first' "$work/out" && grep -q 'sample 0 of 3' "$work/out"; }
check "a sample by its id" by_id
check "a number is an id, too" sh -c "'$LLAVA' inspect '$work/several' --id 7 | grep -q 'record 3 of several.json'"
check "an id that there is not" refused 2 '--id second: no sample' inspect "$work/texts" --id second

other_tokenizer() {
    cp -r "$tokenizer" "$work/other" && sed -i 's/<unk>/<unc>/g' "$work/other/"*.json
    ! cmp -s "$tokenizer/tokenizer.json" "$work/other/tokenizer.json"
}
check "another tokenizer" other_tokenizer
check "is refused, both named" refused 2 'other: this tokenizer \(crc32:.*\) is not .* \(crc32:' \
    inspect "$work/texts" --sample 0 --tokenizer "$work/other"
without_copy() {
    mkdir -p "$work/bare" && cp "$work"/texts/*.* "$work/bare" || return 1
    inspect "$work/bare" --sample 0 >"$work/out" || return 1
    grep -q 'no text: .*--tokenizer DIR' "$work/out" && ! grep -q 'Done' "$work/out" &&
        diff <(printed_ids "$work/bare" --sample 0) <(printed_ids "$work/texts" --sample 0) &&
        inspect "$work/bare" --sample 0 --tokenizer "$tokenizer" | grep 'ASSISTANT:⟦ Done'
}
check "without a tokenizer the ids are shown and it says why" without_copy

# ---- its image ----
check "an image as PNG" inspect "$work/photos" --sample 2 --png "$work/a.png" --image-size 98 --aspect pad
"$LLAVA" pack --data "$work/photos.json" --images "$quick/photos" --tokenizer "$tokenizer" \
    --template v1 --store rgb --image-size 98 --aspect pad --out "$work/rgb" >/dev/null
check "of stored pixels, by default as they are" inspect "$work/rgb" --sample 2 --png "$work/b.png"
check "is the same" cmp "$work/a.png" "$work/b.png"
check "at another size it is refused" refused 2 'stores its images as 98 x 98' \
    inspect "$work/rgb" --sample 2 --png "$work/b.png" --image-size 99
check "a sample without image" refused 2 '--png: this sample has no image' \
    inspect "$work/texts" --sample 0 --png "$work/c.png"
check "writes nothing" test ! -e "$work/c.png"
check "an image too many" refused 2 '--image 1: this sample has 1 image' \
    inspect "$work/photos" --sample 2 --png "$work/c.png" --image 1

# ---- a whole pack ----
says() { inspect "$@" >"$work/out"; cat "$work/out"; grep -qE -- "$pattern" "$work/out"; }
pattern='samples cut +3 \(100.00%\)' check "a limit that cuts all" says "$work/texts" --max-length 5
pattern='left without label 3 \(100.00%\)' check "leaves no label" says "$work/texts" --max-length 5
pattern='samples cut +0 \(0.00%\)' check "one that cuts none" says "$work/texts"
pattern='an image being 256 rows' check "an image of 224 pixels is 256 rows" says "$work/photos" \
    --image-size 224
pattern='^ +2  No such file or directory$' check "rejects are grouped by reason" says "$work/several"
pattern='rejected +3 of 4 records, listed in .*rejects.jsonl' check "and counted" says "$work/several"
no_images() { inspect "$work/texts" >"$work/out" && ! grep -q 'shorter edge' "$work/out" &&
    grep -q '^  distinct images      0$' "$work/out" && grep -q 'whole: every byte' "$work/out"; }
check "a pack without images" no_images
quick_flag() {
    cp -r "$work/photos" "$work/damaged" && flip "$work/damaged/images-00000.h5" 100000 || return 1
    inspect "$work/damaged" --quick >"$work/out" && grep -q 'not compared' "$work/out" &&
        refused 1 'damaged/images-00000.h5: damaged' inspect "$work/damaged"
}
check "--quick does not read every byte, without it all are compared" quick_flag
check "flags of packs for something else" refused 2 '--quick is for packs' inspect \
    "$quick/photos/$photo" --quick
unfinished() { cp -r "$work/texts" "$work/unfinished" && rm "$work/unfinished/manifest.json" &&
    refused 1 'a pack that is not finished: 1 file of samples' inspect "$work/unfinished"; }
check "a pack that was not finished" unfinished
check "a part of a pack" refused 1 'samples-00000.h5: an HDF5 file, .*inspect its folder' \
    inspect "$work/texts/samples-00000.h5"
check "--png without --sample" refused 2 '--png needs --sample' inspect "$work/texts" --png x.png
finish
