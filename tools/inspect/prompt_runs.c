/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/inspect/prompt_runs.h"

#include "autograd/error.h"
#include "data/chat/template.h"

#include <stdlib.h>
#include <string.h>

/* A special piece: decoding omits it, raw decoding prints its name. (Decoding omits a leading space,
 * too.) */
static int run_kind_of(lv_run_kind *kind, const lv_tokenizer *tokenizer, int32_t id)
{
    char *text = NULL, *raw = NULL;
    *kind = LV_RUN_IMAGE;
    if (id == LV_IMAGE_TOKEN) {
        return LV_OK;
    }
    int rc = lv_tokenizer_decode(tokenizer, &id, 1, &text);
    if (rc == LV_OK) rc = lv_tokenizer_decode_raw(tokenizer, &id, 1, &raw);
    if (rc == LV_OK) {
        *kind = !*text && raw[strspn(raw, " ")] ? LV_RUN_PIECE : LV_RUN_TEXT;
    }
    free(text);
    free(raw);
    return rc;
}

static int add_token(lv_prompt_runs *runs, size_t at, lv_run_kind kind, bool supervised)
{
    lv_prompt_run *last = runs->n ? &runs->items[runs->n - 1] : NULL;
    if (last && kind == LV_RUN_TEXT && last->kind == kind && last->supervised == supervised) {
        last->end = at + 1;
        return LV_OK;
    }
    if ((runs->n & (runs->n - 1)) == 0) { /* grows at powers of two */
        size_t capacity = runs->n ? 2 * runs->n : 1;
        lv_prompt_run *items = realloc(runs->items, capacity * sizeof *items);
        if (!items) {
            return lv_fail(LV_ERR_MEMORY, "no memory for the text of a sample");
        }
        runs->items = items;
    }
    runs->items[runs->n++] =
        (lv_prompt_run){.kind = kind, .supervised = supervised, .begin = at, .end = at + 1};
    return LV_OK;
}

static int decode_run(lv_prompt_run *run, const lv_tokenizer *tokenizer, const int32_t *tokens)
{
    if (run->kind == LV_RUN_IMAGE) {
        run->text = strdup("<image>");
        return run->text ? LV_OK : lv_fail(LV_ERR_MEMORY, "out of memory");
    }
    return lv_tokenizer_decode_raw(tokenizer, tokens + run->begin, run->end - run->begin,
                                   &run->text);
}

int lv_prompt_runs_create(lv_prompt_runs *out, const lv_tokenizer *tokenizer, const int32_t *tokens,
                          const uint8_t *supervised, size_t n)
{
    lv_prompt_runs runs = {0};
    int rc = LV_OK;
    for (size_t i = 0; rc == LV_OK && i < n; i++) {
        lv_run_kind kind;
        rc = run_kind_of(&kind, tokenizer, tokens[i]);
        if (rc == LV_OK) rc = add_token(&runs, i, kind, supervised[i]);
    }
    for (size_t r = 0; rc == LV_OK && r < runs.n; r++) {
        rc = decode_run(&runs.items[r], tokenizer, tokens);
    }
    if (rc < 0) {
        lv_prompt_runs_free(&runs);
        return rc;
    }
    *out = runs;
    return LV_OK;
}

void lv_prompt_runs_free(lv_prompt_runs *runs)
{
    for (size_t r = 0; r < runs->n; r++) {
        free(runs->items[r].text);
    }
    free(runs->items);
    *runs = (lv_prompt_runs){0};
}
