/* SPDX-License-Identifier: Apache-2.0
 *
 * A sample's tokens as text again, in runs of one kind.
 */
#ifndef LV_TOOLS_INSPECT_PROMPT_RUNS_H
#define LV_TOOLS_INSPECT_PROMPT_RUNS_H

#include "data/tokenizer/tokenizer.h"

typedef enum { LV_RUN_TEXT, LV_RUN_PIECE, LV_RUN_IMAGE } lv_run_kind;

/* lv_prompt_run: tokens [begin, end), all of one kind and all supervised or none. A special piece
 * or an image is a run of its own. */
typedef struct {
    lv_run_kind kind;
    bool supervised;
    size_t begin, end;
    char *text; /* "<image>", the piece's name, or decoded text */
} lv_prompt_run;

typedef struct {
    size_t n;
    lv_prompt_run *items;
} lv_prompt_runs;

/* lv_prompt_runs_create: of n tokens (LV_IMAGE_TOKEN where an image stands) and their mask; end it
 * with lv_prompt_runs_free.
 * fails  LV_ERR_FORMAT on an id that the tokenizer does not have, LV_ERR_MEMORY */
int lv_prompt_runs_create(lv_prompt_runs *out, const lv_tokenizer *tokenizer, const int32_t *tokens,
                          const uint8_t *supervised, size_t n);
void lv_prompt_runs_free(lv_prompt_runs *runs);

#endif
