/* SPDX-License-Identifier: Apache-2.0
 *
 * Text to token ids and back, for BPE tokenizers of three kinds:
 *
 *   tokenizer.json, LLaMA's     a marker for spaces, byte fallback
 *   tokenizer.json, byte-level  Llama 3, Qwen2, GPT-2: words by a pattern, Unicode forms
 *   tokenizer.model             sentencepiece
 *
 * The first two are read as the tokenizers library does, the third as transformers' (4.57) slow
 * LlamaTokenizer.
 */
#ifndef LV_DATA_TOKENIZER_TOKENIZER_H
#define LV_DATA_TOKENIZER_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct lv_tokenizer lv_tokenizer;

/* lv_tokens: a growing list; start it with {0}, end it with lv_tokens_free. */
typedef struct {
    int32_t *ids;
    /* Byte offset in the text of each token's first character. An added space marker has the offset
     * of what it stands before, a byte piece that of the byte, U+FFFD that of the broken bytes, what
     * normalisation made that of the character it was made of. */
    size_t *begin;
    size_t n, capacity;
} lv_tokens;
void lv_tokens_free(lv_tokens *tokens);

/* lv_tokenizer_open: from a file, whose kind its content tells, or from a directory: its
 * tokenizer.json, or, if there is none, its tokenizer.model. BOS and EOS are what the first of
 * these says that names them: tokenizer_config.json, config.json, generation_config.json,
 * special_tokens_map.json beside it; the post_processor or trainer_spec; <s> and </s>. A
 * tokenizer.model also takes added tokens, legacy (absent: true), add_bos_token (absent: true) and
 * add_prefix_space from the files beside it.
 * (A tokenizer file of another name than those two stands alone.)
 * fails  LV_ERR_IO, LV_ERR_FORMAT, LV_ERR_UNSUPPORTED naming the part of the file that is not
 *        implemented */
int lv_tokenizer_open(lv_tokenizer **out, const char *path);
void lv_tokenizer_close(lv_tokenizer **tokenizer);

/* lv_tokenizer_encode: append the ids of one chunk of text. No BOS, no EOS; special pieces in the
 * text, and <image>, are ordinary characters; added tokens that are not special, and
 * sentencepiece's user-defined pieces, are found. Invalid UTF-8 becomes U+FFFD: for a
 * tokenizer.json one for each maximal subpart, as Python decodes it; for a tokenizer.model one for
 * each byte, as sentencepiece does. Time O(n log n). Threads may share a tokenizer.
 * in     text of n bytes; first: the chunk stands at the beginning of a tokenizer call, false: it
 *        follows a special piece in the same call (this decides about the space marker)
 * fails  LV_ERR_MEMORY; LV_ERR_FORMAT when the tokenizer's pattern takes too many steps or its
 *        normaliser's rules are damaged; then out is as it was */
int lv_tokenizer_encode(const lv_tokenizer *tokenizer, const char *text, size_t n, bool first,
                        lv_tokens *out);

/* lv_tokenizer_decode: ids to text, special pieces left out (but a tokenizer.model's unk is its
 * unk_surface), as tokenizers' or sentencepiece's decode; *out is malloc'ed, free() it.
 * fails  LV_ERR_FORMAT on an id outside the vocabulary, LV_ERR_MEMORY */
int lv_tokenizer_decode(const lv_tokenizer *tokenizer, const int32_t *ids, size_t n, char **out);

/* lv_tokenizer_decode_begun: as lv_tokenizer_decode, of a text that goes on: of its *n_bytes, among
 * which there may be a NUL, the first *settled stay as they are whatever ids follow. Those after
 * them may change: of a character of several ids, or of a run of byte pieces, which is text only as
 * a whole. */
int lv_tokenizer_decode_begun(const lv_tokenizer *tokenizer, const int32_t *ids, size_t n,
                              char **out, size_t *n_bytes, size_t *settled);

/* lv_tokenizer_decode_raw: for showing tokens to people: special pieces stand by their names, and
 * no space is stripped, so that the texts of two halves are the text of the whole (but for a
 * character whose bytes they share). As lv_tokenizer_decode otherwise. */
int lv_tokenizer_decode_raw(const lv_tokenizer *tokenizer, const int32_t *ids, size_t n,
                            char **out);

/* lv_tokenizer_copy_files: into the directory dir, which is made, the files that it was read from,
 * so that lv_tokenizer_open(dir) gives the same tokenizer.
 * fails  LV_ERR_IO, LV_ERR_MEMORY */
int lv_tokenizer_copy_files(const lv_tokenizer *tokenizer, const char *dir);

/* lv_tokenizer_count_pieces: of the sentencepiece model in a file, of any type of model.
 * fails  LV_ERR_IO, LV_ERR_MEMORY, LV_ERR_FORMAT if it has none or is none */
int lv_tokenizer_count_pieces(int64_t *pieces, const char *path);

int32_t lv_tokenizer_bos(const lv_tokenizer *tokenizer);        /* -1 if it has none */
int32_t lv_tokenizer_eos(const lv_tokenizer *tokenizer);        /* -1 if it has none */
int32_t lv_tokenizer_vocab_size(const lv_tokenizer *tokenizer); /* largest id + 1 */
/* lv_tokenizer_adds_bos: whether BOS is put before a text: by the post_processor, or because
 * of add_bos_token beside a tokenizer.model. */
bool lv_tokenizer_adds_bos(const lv_tokenizer *tokenizer);
/* lv_tokenizer_id: the id of a piece or added token, -1 if there is none. */
int32_t lv_tokenizer_id(const lv_tokenizer *tokenizer, const char *piece);
/* lv_tokenizer_has: whether there is a piece with that id. */
bool lv_tokenizer_has(const lv_tokenizer *tokenizer, int32_t id);
/* lv_tokenizer_fingerprint: equal for tokenizers that give the same ids; "crc32:xxxxxxxx" and the
 * rule for the space marker ("bytes": byte-level); borrowed. An added <image> piece does not change
 * it, and a tokenizer.model read as legacy has that of the tokenizer.json made from it. */
const char *lv_tokenizer_fingerprint(const lv_tokenizer *tokenizer);

#endif
