#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What `llava pack` makes of data that is broken: one record, or the file.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"

turns='"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]'
good="{\"id\": \"a\", $turns}"

pack() {
    "$LLAVA" pack --data "$work/$1" --tokenizer "$LLAVA_TEST_SOURCE/configs/tokenizer" \
        --template v1 --max-rejects 0.5 --out "$work/pack-$1" "${@:2}"
}

# rejects FILE COUNT PATTERN: packed, with so many rejects, one of which says that.
rejects() {
    pack "$1" || return 1
    cat "$work/pack-$1/rejects.jsonl"
    [ "$(wc -l <"$work/pack-$1/rejects.jsonl")" -eq "$2" ] &&
        { [ "$2" -eq 0 ] || grep -qE -- "$3" "$work/pack-$1/rejects.jsonl"; }
}

printf '[%s,\n %s]' "$good" "$good" >"$work/array"
check "an array is packed" rejects array 0

printf '\xEF\xBB\xBF%s\r\n\r\n%s' "$good" "$good" >"$work/lines"
check "lines are packed, with a byte order mark, an empty line and no last newline" rejects lines 0

printf '[%s,\n {"id": NaN, %s},\n %s]' "$good" "$turns" "$good" >"$work/nan"
check "a record of an array that is not JSON is rejected alone, with its place" \
    rejects nan 1 '"index":1,.*"reason":"line 2 column 9: .*NaN'

printf '%s\n{"id": "b", \n%s\n' "$good" "$good" >"$work/broken-line"
check "so is a line" rejects broken-line 1 '"index":1,.*"reason":"line 2 column 13: '

printf '[%s, {"conversations": [{"from": "hu\\"man\\u001b[K", "value": "Hi"}]}]' "$good" >"$work/escape"
escapes() {
    pack escape >"$work/escape.log" || return 1
    cat -v "$work/escape.log"
    grep -qF '<U+001B>[K' "$work/escape.log" && ! grep -q $'\033' "$work/escape.log"
}
check "control characters of a reason do not reach the terminal" escapes

printf '[%s, {"images": "x.jpg", %s}, {"images": "y.jpg", %s}]' "$good" "$turns" "$turns" >"$work/keys"
warns() {
    pack keys 2>"$work/keys.log" || return 1
    cat "$work/keys.log"
    [ "$(grep -cF 'WARNING: '"$work"'/keys: records with a key that is not read: 2 with "images" but no "image"' \
        "$work/keys.log")" -eq 1 ]
}
check "a key that may be misspelt is warned of once" warns

{
    printf '[%s,\n {"id": "b", "text": "' "$good"
    head -c 70000000 /dev/zero | tr '\0' x
    printf '", %s},\n %s]' "$turns" "$good"
} >"$work/large"
check "so is one that is larger than memory is kept for" \
    rejects large 1 '"index":1,.*"reason":"line 2 column 2: the record is larger than 64 MB'
ln "$work/large" "$work/strict"
check "--strict stops at it" refused 1 'strict: record 1, .*line 2 column 2: .*larger than 64 MB' \
    pack strict --strict

printf '[%s,\n %s' "$good" "$good" >"$work/cut"
check "an array that was cut off is refused" refused 1 'cut: line 2 column .* was it cut off' pack cut

printf '%s\n%s' "$good" "${good:0:50}" >"$work/cut-line"
check "so are lines" refused 1 'cut-line: line 2 column .* was it cut off' pack cut-line

printf '[%s,\n %s,\n]' "$good" "$good" >"$work/comma"
check "a comma before the bracket is refused" refused 1 \
    "comma: line 3 column 1: expected a record, found ']'" pack comma

check "what was refused left no pack" test ! -e "$work/pack-cut/manifest.json"
finish
