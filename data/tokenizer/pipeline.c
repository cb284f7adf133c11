/* SPDX-License-Identifier: Apache-2.0
 *
 * tokenizer.json, component by component. Whatever would change the ids and is not implemented
 * ends the reading by its name.
 */
#include "data/tokenizer/pipeline.h"

#include "autograd/error.h"
#include "data/json/json.h"

#include <stdlib.h>
#include <string.h>

/* The array under key, which a Sequence must have. */
static int read_steps(const cJSON *component, const char *key, const cJSON **steps)
{
    *steps = lv_json_find(component, key);
    return cJSON_IsArray(*steps) ? LV_OK
                                 : lv_fail(LV_ERR_FORMAT, "\"%s\": expected an array, found %s",
                                           key, lv_json_kind(*steps));
}

/* A component, or each step of a Sequence of such. */
static int read_each(lv_tokenizer *t, const cJSON *component, const char *part, const char *key,
                     int (*read)(lv_tokenizer *, const cJSON *))
{
    const char *type = NULL;
    const cJSON *steps, *step;
    int rc = lv_component_type(component, part, &type);
    if (rc < 0 || strcmp(type, "Sequence") != 0) {
        return rc < 0 ? rc : read(t, component);
    }
    rc = read_steps(component, key, &steps);
    cJSON_ArrayForEach (step, steps) {
        if (rc == LV_OK) rc = read(t, step);
    }
    return rc;
}

/* ---- byte-level words ---- */

/* The words of GPT-2 (openai/gpt-2, src/encoder.py), which ByteLevel cuts a text into. */
static const char gpt2_words[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static int add_split(lv_tokenizer *t, const char *pattern, bool literal, bool keeps_matches,
                     bool keeps_gaps)
{
    if (t->pipeline->n_splits == LV_MAX_SPLITS) {
        return lv_component_unsupported("pre_tokenizer", "a Sequence of so many steps");
    }
    int rc = lv_split_add(t->pipeline, pattern, literal, keeps_matches, keeps_gaps);
    if (rc < 0) {
        return lv_fail_within("pre_tokenizer");
    }
    char flags[] = {literal, keeps_matches, keeps_gaps};
    t->crc = lv_crc_add(t->crc, flags, sizeof flags);
    t->crc = lv_crc_add(t->crc, pattern, strlen(pattern) + 1);
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
        return lv_component_unsupported("pre_tokenizer Split behavior", behavior);
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
    if (adds_space && t->pipeline->n_splits > 0) {
        return lv_component_unsupported("pre_tokenizer ByteLevel",
                                        "add_prefix_space after other steps");
    }
    t->pipeline->adds_space = adds_space;
    t->crc = lv_crc_add(t->crc, adds_space ? "space" : "", 5 * adds_space);
    return use_regex ? add_split(t, gpt2_words, false, true, true) : LV_OK;
}

static int read_digits(lv_tokenizer *t, const cJSON *step)
{
    bool each = false;
    int rc = lv_json_bool(step, "individual_digits", false, &each);
    return rc < 0 ? lv_fail_within("pre_tokenizer Digits")
                  : add_split(t, each ? "\\p{N}" : "\\p{N}+", false, true, true);
}

static int read_pre_step(lv_tokenizer *t, const cJSON *step, bool is_last)
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
    return lv_component_unsupported(
        is_last ? "pre_tokenizer Sequence that ends with" : "pre_tokenizer Sequence with", type);
}

/* The pre_tokenizer of a byte-level file, which it makes the tokenizer; *is_one false and nothing done
 * if it is of another kind. */
static int read_bytes_pre_tokenizer(lv_tokenizer *t, const cJSON *component, bool *is_one)
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
    t->vocab.byte_level = *is_one = true;
    if (strcmp(type, "ByteLevel") == 0) {
        return read_byte_level(t, component);
    }
    rc = read_steps(component, "pretokenizers", &steps);
    if (rc == LV_OK && !steps->child) {
        rc = lv_component_unsupported("pre_tokenizer", "Sequence without steps");
    }
    cJSON_ArrayForEach (step, steps) {
        if (rc == LV_OK) rc = read_pre_step(t, step, !step->next);
    }
    return rc;
}

/* ---- normalizer and pre_tokenizer of the LLaMA kind ---- */

/* A Replace of `from` by `to` and nothing else. */
static int check_replace(const cJSON *component, const char *part, const char *from, const char *to)
{
    const char *pattern = NULL, *content = NULL;
    int rc = lv_json_string(component, "content", true, &content);
    const cJSON *pattern_json = lv_json_find(component, "pattern");
    if (rc == LV_OK && lv_json_find(pattern_json, "Regex")) {
        return lv_component_unsupported(part, "Replace with a Regex");
    }
    if (rc == LV_OK) {
        rc = lv_json_string(pattern_json, "String", true, &pattern);
    }
    if (rc < 0) {
        return lv_fail_within("%s Replace", part);
    }
    if (strcmp(pattern, from) != 0 || strcmp(content, to) != 0) {
        return lv_fail(LV_ERR_UNSUPPORTED,
                       "%s: Replace of \"%s\" by \"%s\" is not implemented, only of \"%s\" by "
                       "\"%s\"",
                       part, pattern, content, from, to);
    }
    return LV_OK;
}

/* A Unicode form goes with a byte-level tokenizer, the marker for spaces with the other kind. */
static int read_normalizer_step(lv_tokenizer *t, const cJSON *step)
{
    static const char *const forms[] = {[LV_FORM_NFC] = "NFC",
                                        [LV_FORM_NFD] = "NFD",
                                        [LV_FORM_NFKC] = "NFKC",
                                        [LV_FORM_NFKD] = "NFKD"};
    const char *type = NULL, *prepend = NULL;
    int rc = lv_component_type(step, "normalizer", &type);
    if (rc < 0) {
        return rc;
    }
    for (int form = LV_FORM_NFC; t->vocab.byte_level && form <= LV_FORM_NFKD; form++) {
        if (strcmp(type, forms[form]) == 0 && t->pipeline->form == LV_FORM_NONE) {
            t->pipeline->form = (lv_unicode_form)form;
            t->crc = lv_crc_add(t->crc, type, strlen(type));
            return LV_OK;
        }
    }
    if (t->vocab.byte_level) {
        return lv_component_unsupported("normalizer", type);
    }
    if (strcmp(type, "Prepend") == 0 && t->marker == LV_MARKER_NEVER) {
        rc = lv_json_string(step, "prepend", true, &prepend);
        if (rc == LV_OK && strcmp(prepend, LV_SPACE_MARKER) != 0) {
            return lv_component_unsupported("normalizer Prepend of", prepend);
        }
        t->marker = LV_MARKER_LEGACY;
        t->pipeline->normalizes_spaces = true;
        return rc;
    }
    if (strcmp(type, "Replace") == 0) {
        t->replaces_spaces = t->pipeline->normalizes_spaces = true;
        return check_replace(step, "normalizer", " ", LV_SPACE_MARKER);
    }
    return lv_component_unsupported("normalizer", type);
}

/* prepend_scheme of a Metaspace, whose replacement must be the marker. */
static int read_metaspace(const cJSON *component, const char *part, lv_marker_rule *rule)
{
    static const char *const known[] = {
        "type", "replacement", "prepend_scheme", "split", "str_rep", "add_prefix_space", NULL};
    static const struct {
        const char *name;
        lv_marker_rule rule;
    } schemes[] = {
        {"always", LV_MARKER_ALWAYS}, {"first", LV_MARKER_FIRST}, {"never", LV_MARKER_NEVER}};
    const char *replacement = LV_SPACE_MARKER, *scheme = "always";
    int rc = lv_component_check_keys(component, part, known);
    if (rc < 0 || (rc = lv_json_string(component, "replacement", false, &replacement)) < 0 ||
        (rc = lv_json_string(component, "prepend_scheme", false, &scheme)) < 0) {
        return rc;
    }
    if (strcmp(replacement, LV_SPACE_MARKER) != 0) {
        return lv_component_unsupported("Metaspace replacement", replacement);
    }
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        if (strcmp(scheme, schemes[i].name) == 0) {
            *rule = schemes[i].rule;
            return LV_OK;
        }
    }
    return lv_component_unsupported("Metaspace prepend_scheme", scheme);
}

static int read_pre_tokenizer(lv_tokenizer *t, const cJSON *component, bool normalized)
{
    const char *type = NULL;
    bool split = true;
    if (!component) {
        return LV_OK;
    }
    int rc = lv_component_type(component, "pre_tokenizer", &type);
    if (rc < 0) {
        return rc;
    }
    if (strcmp(type, "Metaspace") != 0) {
        return lv_component_unsupported("pre_tokenizer", type);
    }
    if (normalized) {
        return lv_component_unsupported("pre_tokenizer", "Metaspace after a normalizer");
    }
    rc = lv_json_bool(component, "split", false, &split);
    if (rc == LV_OK && split) {
        return lv_component_unsupported("pre_tokenizer Metaspace split", "true");
    }
    t->replaces_spaces = true;
    return rc < 0 ? rc : read_metaspace(component, "pre_tokenizer", &t->marker);
}

/* ---- post_processor ---- */

/* A TemplateProcessing whose "single" is the text, or one special piece and the text. */
static int read_template(lv_tokenizer *t, const cJSON *component)
{
    const char *name = NULL;
    int rc = LV_OK;
    const cJSON *step = lv_json_find(component, "single");
    step = step ? step->child : NULL;
    const cJSON *front = lv_json_find(step, "SpecialToken");
    if (front) {
        step = step->next;
    }
    if (!lv_json_find(step, "Sequence") || step->next) {
        return lv_component_unsupported("post_processor",
                                        "TemplateProcessing other than one piece before the text");
    }
    if (!front) {
        return LV_OK;
    }
    rc = lv_json_string(front, "id", true, &name);
    if (rc < 0) {
        return lv_fail_within("post_processor");
    }
    const cJSON *pieces = lv_json_find(component, "special_tokens");
    const cJSON *ids = lv_json_find(lv_json_find(pieces, name), "ids");
    double id = cJSON_GetArraySize(ids) == 1 ? cJSON_GetNumberValue(ids->child) : -1;
    if (!lv_vocab_has(&t->vocab, id)) {
        return lv_fail(LV_ERR_FORMAT,
                       "post_processor: the piece \"%s\" has not one id of the vocabulary", name);
    }
    t->template_bos = (int32_t)id;
    return LV_OK;
}

static int read_post_processor(lv_tokenizer *t, const cJSON *component)
{
    const char *type = NULL;
    int rc = lv_component_type(component, "post_processor", &type);
    if (rc < 0 || strcmp(type, "ByteLevel") == 0) { /* concerns offsets only */
        return rc;
    }
    if (strcmp(type, "TemplateProcessing") == 0) {
        return t->template_bos < 0
                   ? read_template(t, component)
                   : lv_component_unsupported("post_processor", "a second template");
    }
    return lv_component_unsupported(
        "post_processor", strcmp(type, "Sequence") == 0 ? "Sequence in a Sequence" : type);
}

/* ---- decoder ---- */

/* One decoder, in the order in which the LLaMA kind has them. stage: the last one's place. */
static int read_decoder_step(lv_decoder *d, const cJSON *component, int *stage)
{
    static const char *const order[] = {"Metaspace", "Replace", "ByteFallback", "Fuse", "Strip"};
    enum { METASPACE, REPLACE, BYTE_FALLBACK, FUSE, STRIP, N_DECODERS };
    const char *type = NULL, *content = NULL;
    int64_t stop = 0;
    int at = 0;
    lv_marker_rule rule = LV_MARKER_NEVER;
    int rc = lv_component_type(component, "decoder", &type);
    if (rc < 0) {
        return rc;
    }
    while (at < N_DECODERS && strcmp(type, order[at]) != 0) {
        at++;
    }
    if (at == N_DECODERS || at <= *stage || (at == STRIP && *stage != FUSE)) {
        return lv_component_unsupported(at == N_DECODERS ? "decoder" : "the order of decoders at",
                                        type);
    }
    *stage = at;
    switch (at) {
    case METASPACE:
        rc = read_metaspace(component, "decoder", &rule);
        d->restores_spaces = true;
        d->drops_markers = rule != LV_MARKER_NEVER;
        return rc;
    case REPLACE:
        d->restores_spaces = true;
        return check_replace(component, "decoder", LV_SPACE_MARKER, " ");
    case BYTE_FALLBACK:
        d->joins_bytes = true;
        return LV_OK;
    case STRIP:
        if ((rc = lv_json_string(component, "content", true, &content)) < 0 ||
            (rc = lv_json_int(component, "start", true, &d->strip_start)) < 0 ||
            (rc = lv_json_int(component, "stop", true, &stop)) < 0) {
            return lv_fail_within("decoder Strip");
        }
        return strcmp(content, " ") != 0 || stop != 0
                   ? lv_component_unsupported("decoder", "Strip of other than leading spaces")
                   : LV_OK;
    default: /* pieces are always fused to one text */
        return LV_OK;
    }
}

static int read_decoder(lv_decoder *d, const cJSON *component)
{
    const char *type = NULL;
    int stage = -1;
    if (!component) {
        d->joins_with_spaces = true;
        return LV_OK;
    }
    int rc = lv_component_type(component, "decoder", &type);
    if (rc == LV_OK && strcmp(type, "ByteLevel") == 0) {
        d->byte_level = true;
        return LV_OK;
    }
    if (rc < 0 || strcmp(type, "Sequence") != 0) {
        return rc < 0 ? rc : read_decoder_step(d, component, &stage);
    }
    const cJSON *steps, *step;
    rc = read_steps(component, "decoders", &steps);
    cJSON_ArrayForEach (step, steps) {
        if (rc == LV_OK) rc = read_decoder_step(d, step, &stage);
    }
    return rc;
}

/* ---- all of it ---- */

int lv_pipeline_read(lv_tokenizer *t, const char *text, size_t n)
{
    cJSON *root = NULL;
    bool bytes = false;
    t->kind = &lv_pipeline_kind;
    t->pipeline = calloc(1, sizeof *t->pipeline);
    if (!t->pipeline) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for the tokenizer");
    }
    t->pipeline->limits = lv_split_default_limits;
    t->marker = LV_MARKER_NEVER;
    t->template_bos = -1;
    int rc = lv_json_parse(&root, text, n);
    if (rc < 0) {
        return rc;
    }
    const cJSON *normalizer = lv_json_find(root, "normalizer");
    const cJSON *pre_tokenizer = lv_json_find(root, "pre_tokenizer");
    const cJSON *post_processor = lv_json_find(root, "post_processor");
    rc = read_bytes_pre_tokenizer(t, pre_tokenizer, &bytes);
    if (rc == LV_OK && normalizer) {
        rc = read_each(t, normalizer, "normalizer", "normalizers", read_normalizer_step);
    }
    if (rc == LV_OK && !bytes) rc = read_pre_tokenizer(t, pre_tokenizer, normalizer);
    if (rc == LV_OK) {
        rc = lv_pipeline_model_read(t, lv_json_find(root, "model"),
                                    lv_json_find(root, "added_tokens"));
    }
    if (rc == LV_OK && post_processor) {
        rc = read_each(t, post_processor, "post_processor", "processors", read_post_processor);
    }
    if (rc == LV_OK) rc = read_decoder(&t->pipeline->decoder, lv_json_find(root, "decoder"));
    cJSON_Delete(root);
    return rc;
}

void lv_pipeline_destroy(struct lv_pipeline **pipeline)
{
    if (*pipeline) {
        lv_splits_free(*pipeline);
        free(*pipeline);
        *pipeline = NULL;
    }
}
