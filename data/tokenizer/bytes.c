/* SPDX-License-Identifier: Apache-2.0
 *
 * Byte-level tokenizer.json files: the pre_tokenizer, which is a ByteLevel or a Sequence of steps
 * that ends with one, and the characters that stand for bytes in their pieces.
 */
#include "data/tokenizer/internal.h"

#include "autograd/error.h"
#include "data/json/json.h"

#include <stdio.h>
#include <string.h>

/* The words of GPT-2 (openai/gpt-2, src/encoder.py), which ByteLevel cuts a text into. */
static const char gpt2_words[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* Bytes that are printable in Latin-1 stand for themselves, the others are U+0100 and following. */
static bool stands_for_itself(int byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

int lv_byte_of_character(uint32_t c)
{
    if (c < 0x100) {
        return stands_for_itself((int)c) ? (int)c : -1;
    }
    /* the others in order: 0 to 32, 127 to 160, 173 */
    uint32_t i = c - 0x100;
    return i < 33 ? (int)i : i < 67 ? (int)i - 33 + 127 : i == 67 ? 173 : -1;
}

static int add_split(lv_tokenizer *t, const char *pattern, bool literal, bool keeps_matches,
                     bool keeps_gaps)
{
    if (t->n_splits == LV_TOKENIZER_MAX_SPLITS) {
        return lv_tokenizer_unsupported("pre_tokenizer", "a Sequence of so many steps");
    }
    int rc = lv_split_create(&t->splits[t->n_splits], pattern, literal, keeps_matches, keeps_gaps);
    if (rc < 0) {
        return lv_fail_within("pre_tokenizer");
    }
    char flags[] = {literal, keeps_matches, keeps_gaps};
    t->crc = lv_tokenizer_crc_add(t->crc, flags, sizeof flags);
    t->crc = lv_tokenizer_crc_add(t->crc, pattern, strlen(pattern) + 1);
    t->n_splits++;
    return LV_OK;
}

static int read_split(lv_tokenizer *t, const cJSON *step)
{
    static const char *const known[] = {"type", "pattern", "behavior", "invert", NULL};
    const char *behavior = NULL, *text = NULL, *regex = NULL;
    bool invert = false;
    const cJSON *pattern = lv_json_find(step, "pattern");
    int rc = lv_component_check_keys(step, "pre_tokenizer Split", known);
    if (rc < 0 || (rc = lv_json_string(step, "behavior", true, &behavior)) < 0 ||
        (rc = lv_json_bool(step, "invert", false, &invert)) < 0 ||
        (rc = lv_json_string(pattern, "Regex", false, &regex)) < 0 ||
        (rc = lv_json_string(pattern, "String", !regex, &text)) < 0) {
        return lv_fail_within("pre_tokenizer Split");
    }
    if (strcmp(behavior, "Isolated") != 0 && strcmp(behavior, "Removed") != 0) {
        return lv_tokenizer_unsupported("pre_tokenizer Split behavior", behavior);
    }
    bool removes = strcmp(behavior, "Removed") == 0;
    return add_split(t, regex ? regex : text, !regex, !removes || invert, !removes || !invert);
}

static int read_byte_level(lv_tokenizer *t, const cJSON *step)
{
    static const char *const known[] = {"type", "add_prefix_space", "trim_offsets", "use_regex",
                                        NULL};
    bool use_regex = true, adds_space = true;
    int rc = lv_component_check_keys(step, "pre_tokenizer ByteLevel", known);
    if (rc < 0 || (rc = lv_json_bool(step, "add_prefix_space", false, &adds_space)) < 0 ||
        (rc = lv_json_bool(step, "use_regex", false, &use_regex)) < 0) {
        return lv_fail_within("pre_tokenizer ByteLevel");
    }
    if (adds_space && t->n_splits > 0) {
        return lv_tokenizer_unsupported("pre_tokenizer ByteLevel",
                                        "add_prefix_space behind other steps");
    }
    t->adds_space = adds_space;
    t->crc = lv_tokenizer_crc_add(t->crc, adds_space ? "space" : "", 5 * adds_space);
    return use_regex ? add_split(t, gpt2_words, false, true, true) : LV_OK;
}

static int read_digits(lv_tokenizer *t, const cJSON *step)
{
    bool each = false;
    int rc = lv_json_bool(step, "individual_digits", false, &each);
    return rc < 0 ? lv_fail_within("pre_tokenizer Digits")
                  : add_split(t, each ? "\\p{N}" : "\\p{N}+", false, true, true);
}

static int read_step(lv_tokenizer *t, const cJSON *step, bool is_last)
{
    const char *type = NULL;
    int rc = lv_component_type(step, "pre_tokenizer", &type);
    if (rc < 0) {
        return rc;
    }
    if (strcmp(type, "ByteLevel") == 0 && is_last) {
        return read_byte_level(t, step);
    }
    if (strcmp(type, "Split") == 0 && !is_last) {
        return read_split(t, step);
    }
    if (strcmp(type, "Digits") == 0 && !is_last) {
        return read_digits(t, step);
    }
    return lv_tokenizer_unsupported(
        is_last ? "pre_tokenizer Sequence that ends with" : "pre_tokenizer Sequence with", type);
}

int lv_bytes_pre_tokenizer_read(lv_tokenizer *t, const cJSON *component, bool *is_one)
{
    const char *type = NULL;
    const cJSON *steps, *step;
    *is_one = false;
    if (!component) {
        return LV_OK;
    }
    int rc = lv_component_type(component, "pre_tokenizer", &type);
    if (rc < 0 || (strcmp(type, "ByteLevel") != 0 && strcmp(type, "Sequence") != 0)) {
        return rc;
    }
    t->kind = LV_KIND_BYTES;
    *is_one = true;
    if (strcmp(type, "ByteLevel") == 0) {
        return read_byte_level(t, component);
    }
    rc = lv_component_steps(component, "pretokenizers", &steps);
    if (rc == LV_OK && !steps->child) {
        rc = lv_tokenizer_unsupported("pre_tokenizer", "Sequence without steps");
    }
    cJSON_ArrayForEach (step, steps) {
        if (rc == LV_OK) rc = read_step(t, step, !step->next);
    }
    return rc;
}
