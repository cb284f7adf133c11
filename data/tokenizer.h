/* SPDX-License-Identifier: Apache-2.0
 *
 * Text to token ids and back, as Hugging Face's fast tokenizer reads a tokenizer.json: BPE with
 * byte fallback, the LLaMA kind.
 */
#ifndef LV_DATA_TOKENIZER_H
#define LV_DATA_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct lv_tokenizer lv_tokenizer;

/* lv_tokens: a growing list; start it with {0}, end it with lv_tokens_free. */
typedef struct {
    int32_t *ids;
    /* Byte offset in the text of each token's first character. A space marker that was put in front
     * counts as offset 0, a byte piece as that byte's offset, U+FFFD as that of the broken bytes.
     */
    size_t *begin;
    size_t n, capacity;
} lv_tokens;
void lv_tokens_free(lv_tokens *tokens);

/* lv_tokenizer_open: from a tokenizer.json or the directory that holds one. BOS and EOS are what
 * the first of these says that names them: tokenizer_config.json, config.json,
 * generation_config.json, special_tokens_map.json beside it; the post_processor; <s> and </s>.
 * (A tokenizer file of another name stands alone.)
 * fails  LV_ERR_IO, LV_ERR_FORMAT, LV_ERR_UNSUPPORTED naming the part of the file that is not
 *        implemented */
int lv_tokenizer_open(lv_tokenizer **out, const char *path);
void lv_tokenizer_close(lv_tokenizer **tokenizer);

/* lv_tokenizer_encode: append the ids of one chunk of text. No BOS, no EOS; special pieces in the
 * text are ordinary characters. Invalid UTF-8 becomes U+FFFD.
 * in     text of n bytes; first: the chunk stands at the beginning of a tokenizer call, false:
 *        it follows a special piece in the same call (this decides about the space marker)
 * fails  LV_ERR_MEMORY */
int lv_tokenizer_encode(const lv_tokenizer *tokenizer, const char *text, size_t n, bool first,
                        lv_tokens *out);

/* lv_tokenizer_decode: ids to text, special pieces left out; *out is malloc'ed, free() it.
 * fails  LV_ERR_FORMAT on an id outside the vocabulary, LV_ERR_MEMORY */
int lv_tokenizer_decode(const lv_tokenizer *tokenizer, const int32_t *ids, size_t n, char **out);

/* lv_tokenizer_decode_raw: for showing tokens to people: special pieces stand by their names, and
 * no space is stripped, so that the texts of two halves are the text of the whole (but for a
 * character whose bytes they share). As lv_tokenizer_decode otherwise. */
int lv_tokenizer_decode_raw(const lv_tokenizer *tokenizer, const int32_t *ids, size_t n,
                            char **out);

/* lv_tokenizer_copy_files: into the directory dir, which is made, the files that it was read from,
 * so that lv_tokenizer_open(dir) gives the same tokenizer.
 * fails  LV_ERR_IO, LV_ERR_MEMORY */
int lv_tokenizer_copy_files(const lv_tokenizer *tokenizer, const char *dir);

int32_t lv_tokenizer_bos(const lv_tokenizer *tokenizer);        /* -1 if it has none */
int32_t lv_tokenizer_eos(const lv_tokenizer *tokenizer);        /* -1 if it has none */
int32_t lv_tokenizer_vocab_size(const lv_tokenizer *tokenizer); /* largest id + 1 */
/* lv_tokenizer_adds_bos: whether the file's post_processor puts BOS in front of a text. */
bool lv_tokenizer_adds_bos(const lv_tokenizer *tokenizer);
/* lv_tokenizer_id: the id of a piece or added token, -1 if there is none. */
int32_t lv_tokenizer_id(const lv_tokenizer *tokenizer, const char *piece);
/* lv_tokenizer_fingerprint: equal for tokenizers that give the same ids; "crc32:xxxxxxxx" and the
 * rule for the space marker; borrowed. An added <image> piece does not change it. */
const char *lv_tokenizer_fingerprint(const lv_tokenizer *tokenizer);

#endif
