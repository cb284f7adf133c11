/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_script: a prompt before it is tokens: pieces of text, image marks and ids (EOS, BOS and other
 * special pieces) in their order, each learnt or not. Text between two marks or ids is one chunk
 * for the tokenizer, so that pieces form across the seams of a template; a token is learnt if its
 * first byte is in learnt text.
 */
#ifndef LV_DATA_CHAT_TEMPLATE_SCRIPT_H
#define LV_DATA_CHAT_TEMPLATE_SCRIPT_H

#include "data/chat/template.h"

#define LV_IMAGE_MARK "<image>"
#define LV_IMAGE_MARK_BYTES (sizeof LV_IMAGE_MARK - 1)

typedef enum { LV_SEGMENT_TEXT, LV_SEGMENT_IMAGE, LV_SEGMENT_ID } lv_segment_kind;

typedef struct {
    lv_segment_kind kind;
    bool learnt;
    size_t begin, end;    /* of its text */
    size_t learnt_tokens; /* > 0: no more than so many tokens of it are learnt */
    int32_t id;
} lv_segment;

/* Start it with {0}, end it with lv_script_free. */
typedef struct {
    char *text;
    size_t n_bytes, text_capacity;
    lv_segment *segments;
    size_t n_segments, segment_capacity;
    size_t n_images;
} lv_script;
void lv_script_free(lv_script *script);

/* Append. All fail with LV_ERR_MEMORY; EOS and BOS with LV_ERR_CONFIG if the tokenizer has none. */
int lv_script_add_text(lv_script *script, const char *text, size_t n, bool learnt);
/* lv_script_add_first: text of which the first n_tokens > 0 tokens are learnt. */
int lv_script_add_first(lv_script *script, const char *text, size_t n_tokens);
int lv_script_add_image(lv_script *script);
int lv_script_add_eos(lv_script *script, bool learnt, const lv_tokenizer *tokenizer);
int lv_script_add_bos(lv_script *script, bool learnt, const lv_tokenizer *tokenizer);
/* lv_script_add_piece: the piece of that name, or its name as text if the tokenizer has none. */
int lv_script_add_piece(lv_script *script, const char *name, bool learnt,
                        const lv_tokenizer *tokenizer);
/* lv_script_add_marked: text with <image> marks, which become images. */
int lv_script_add_marked(lv_script *script, const char *text, bool learnt);

/* lv_script_tokenise: everything of out but n_words. BOS first if the tokenizer adds it.
 * fails  LV_ERR_MEMORY */
int lv_script_tokenise(lv_prompt *out, const lv_script *script, const lv_tokenizer *tokenizer);

#endif
