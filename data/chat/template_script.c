/* SPDX-License-Identifier: Apache-2.0 */
#include "data/chat/template_script.h"

#include "autograd/error.h"

#include <stdlib.h>
#include <string.h>

static int out_of_memory(void)
{
    return lv_fail(LV_ERR_MEMORY, "out of memory for a prompt");
}

static int add_segment(lv_script *s, lv_segment segment)
{
    if (s->n_segments == s->segment_capacity) {
        size_t capacity = s->segment_capacity ? 2 * s->segment_capacity : 32;
        lv_segment *grown = realloc(s->segments, capacity * sizeof *grown);
        if (!grown) {
            return out_of_memory();
        }
        s->segments = grown;
        s->segment_capacity = capacity;
    }
    s->segments[s->n_segments++] = segment;
    return LV_OK;
}

static int append_text(lv_script *s, const char *text, size_t n, lv_segment segment)
{
    if (n == 0) {
        return LV_OK;
    }
    if (n > s->text_capacity - s->n_bytes) {
        size_t capacity = 2 * s->text_capacity + n;
        char *grown = realloc(s->text, capacity);
        if (!grown) {
            return out_of_memory();
        }
        s->text = grown;
        s->text_capacity = capacity;
    }
    memcpy(s->text + s->n_bytes, text, n);
    segment.kind = LV_SEGMENT_TEXT;
    segment.begin = s->n_bytes;
    segment.end = s->n_bytes += n;
    return add_segment(s, segment);
}

int lv_script_add_text(lv_script *s, const char *text, size_t n, bool learnt)
{
    return append_text(s, text, n, (lv_segment){.learnt = learnt});
}

int lv_script_add_first(lv_script *s, const char *text, size_t n_tokens)
{
    return append_text(s, text, strlen(text),
                       (lv_segment){.learnt = true, .learnt_tokens = n_tokens});
}

int lv_script_add_image(lv_script *s)
{
    s->n_images++;
    return add_segment(s, (lv_segment){.kind = LV_SEGMENT_IMAGE});
}

static int add_id(lv_script *s, int32_t id, bool learnt)
{
    return add_segment(s, (lv_segment){.kind = LV_SEGMENT_ID, .learnt = learnt, .id = id});
}

int lv_script_add_eos(lv_script *s, bool learnt, const lv_tokenizer *tokenizer)
{
    int32_t eos = lv_tokenizer_eos(tokenizer);
    return eos >= 0 ? add_id(s, eos, learnt)
                    : lv_fail(LV_ERR_CONFIG,
                              "the tokenizer has no EOS piece, with which the template ends an "
                              "answer (name it in tokenizer_config.json)");
}

int lv_script_add_bos(lv_script *s, bool learnt, const lv_tokenizer *tokenizer)
{
    int32_t bos = lv_tokenizer_bos(tokenizer);
    return bos >= 0 ? add_id(s, bos, learnt)
                    : lv_fail(LV_ERR_CONFIG,
                              "the tokenizer has no BOS piece, with which the template begins a "
                              "round (name it in tokenizer_config.json)");
}

int lv_script_add_piece(lv_script *s, const char *name, bool learnt, const lv_tokenizer *tokenizer)
{
    int32_t id = lv_tokenizer_id(tokenizer, name);
    return id >= 0 ? add_id(s, id, learnt) : lv_script_add_text(s, name, strlen(name), learnt);
}

int lv_script_add_marked(lv_script *s, const char *text, bool learnt)
{
    int rc = LV_OK;
    for (const char *mark; rc == LV_OK && (mark = strstr(text, LV_IMAGE_MARK));) {
        rc = lv_script_add_text(s, text, (size_t)(mark - text), learnt);
        if (rc == LV_OK) rc = lv_script_add_image(s);
        text = mark + LV_IMAGE_MARK_BYTES;
    }
    return rc < 0 ? rc : lv_script_add_text(s, text, strlen(text), learnt);
}

void lv_script_free(lv_script *s)
{
    free(s->text);
    free(s->segments);
    *s = (lv_script){0};
}

/* ---- tokens ---- */

static int reserve_tokens(lv_prompt *p, size_t more)
{
    if (more <= p->capacity - p->n_tokens) {
        return LV_OK;
    }
    size_t capacity = p->n_tokens + more + p->capacity;
    int32_t *tokens = realloc(p->tokens, capacity * sizeof *tokens);
    p->tokens = tokens ? tokens : p->tokens;
    uint8_t *supervised = tokens ? realloc(p->supervised, capacity) : NULL;
    p->supervised = supervised ? supervised : p->supervised;
    if (!supervised) {
        return out_of_memory();
    }
    p->capacity = capacity;
    return LV_OK;
}

static void push(lv_prompt *p, int32_t token, bool supervised)
{
    p->tokens[p->n_tokens] = token;
    p->supervised[p->n_tokens++] = supervised;
    p->n_supervised += supervised;
}

/* Tokenises the run of text segments from i, which is one chunk. *end is set after it. */
static int push_chunk(lv_prompt *p, const lv_script *s, size_t i, size_t *end,
                      const lv_tokenizer *tokenizer, bool first, lv_tokens *scratch)
{
    const lv_segment *segment = &s->segments[i];
    size_t chunk_begin = segment->begin;
    size_t j = i;
    while (j < s->n_segments && s->segments[j].kind == LV_SEGMENT_TEXT) {
        j++;
    }
    size_t chunk_end = s->segments[j - 1].end;
    scratch->n = 0;
    int rc = lv_tokenizer_encode(tokenizer, s->text + chunk_begin, chunk_end - chunk_begin, first,
                                 scratch);
    if (rc == LV_OK) rc = reserve_tokens(p, scratch->n);
    size_t n_of_segment = 0;
    for (size_t k = 0; rc == LV_OK && k < scratch->n; k++) {
        const lv_segment *before = segment;
        size_t at = chunk_begin + scratch->begin[k];
        LV_CHECK(at < chunk_end, "a token begins at byte %zu of %zu", at, chunk_end);
        while (at < segment->begin) { /* an unk token may begin before the byte pieces before it */
            segment--;
        }
        while (at >= segment->end) {
            segment++;
        }
        n_of_segment = segment == before ? n_of_segment + 1 : 1;
        push(p, scratch->ids[k],
             segment->learnt &&
                 (segment->learnt_tokens == 0 || n_of_segment <= segment->learnt_tokens));
    }
    *end = j;
    return rc;
}

int lv_script_tokenise(lv_prompt *out, const lv_script *s, const lv_tokenizer *tokenizer)
{
    lv_tokens scratch = {0};
    bool first = true; /* LLaVA calls the tokenizer anew after an image */
    out->n_tokens = out->n_supervised = 0;
    out->n_images = s->n_images;
    int rc = reserve_tokens(out, s->n_segments + 1);
    if (rc == LV_OK && lv_tokenizer_adds_bos(tokenizer)) {
        push(out, lv_tokenizer_bos(tokenizer), false);
    }
    for (size_t i = 0; rc == LV_OK && i < s->n_segments;) {
        const lv_segment *segment = &s->segments[i];
        if (segment->kind == LV_SEGMENT_TEXT) {
            rc = push_chunk(out, s, i, &i, tokenizer, first, &scratch);
            continue;
        }
        rc = reserve_tokens(out, 1);
        if (rc == LV_OK) {
            first = segment->kind == LV_SEGMENT_IMAGE;
            push(out, first ? LV_IMAGE_TOKEN : segment->id, segment->learnt);
        }
        i++;
    }
    lv_tokens_free(&scratch);
    return rc;
}

void lv_prompt_free(lv_prompt *prompt)
{
    free(prompt->tokens);
    free(prompt->supervised);
    *prompt = (lv_prompt){0};
}
