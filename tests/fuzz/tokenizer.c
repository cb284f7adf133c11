/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/support.h"

#include "data/base/file.h"
#include "data/tokenizer/internal.h"

#include <stdlib.h>
#include <string.h>

static const char CONFIG[] = "{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\", \"legacy\": true}";

static void check_decode(const lv_tokenizer *t, const lv_tokens *tokens)
{
    char *text = NULL, *raw = NULL;
    fuzz_must(lv_tokenizer_decode(t, tokens->ids, tokens->n, &text), "decoding what was encoded");
    fuzz_must(lv_tokenizer_decode_raw(t, tokens->ids, tokens->n, &raw), "decoding it raw");
    LV_CHECK(text && raw, "decoded to nothing");
    free(text);
    free(raw);
}

/* Encodes the text, appending to what an earlier call left there. */
static void check_encode(const lv_tokenizer *t, const char *text, size_t n, bool first,
                         lv_tokens *tokens)
{
    /* unk stands for a run that byte pieces do not end: it comes behind them. */
    bool may_be_late = t->vocab.unk >= 0 && t->vocab.byte_fallback;
    size_t before = tokens->n;
    fuzz_must(lv_tokenizer_encode(t, text, n, first, tokens), "encoding a text");
    LV_CHECK(tokens->n >= before, "fewer tokens than before");
    for (size_t i = before; i < tokens->n; i++) {
        LV_CHECK(tokens->ids[i] >= 0 && tokens->ids[i] < lv_tokenizer_vocab_size(t),
                 "token %zu: the id %d is outside the vocabulary", i, tokens->ids[i]);
        LV_CHECK(tokens->begin[i] <= n &&
                     (may_be_late || i == before || tokens->begin[i - 1] <= tokens->begin[i]),
                 "token %zu begins at byte %zu", i, tokens->begin[i]);
    }
}

static void check_text(const lv_tokenizer *t, const char *text, size_t n)
{
    lv_tokens tokens = {0}, again = {0};
    check_encode(t, text, n, true, &tokens);
    check_encode(t, text, n, true, &again);
    LV_CHECK(tokens.n == again.n && (tokens.n == 0 || memcmp(tokens.ids, again.ids,
                                                             tokens.n * sizeof *tokens.ids) == 0),
             "encoding it again gives other ids");
    check_encode(t, text, n, false, &again);
    check_decode(t, &again);
    lv_tokens_free(&tokens);
    lv_tokens_free(&again);
}

static void check_answers(const lv_tokenizer *t)
{
    int32_t n = lv_tokenizer_vocab_size(t);
    char *nothing = NULL;
    LV_CHECK(lv_tokenizer_bos(t) >= -1 && lv_tokenizer_bos(t) < n, "BOS %d", lv_tokenizer_bos(t));
    LV_CHECK(lv_tokenizer_eos(t) >= -1 && lv_tokenizer_eos(t) < n, "EOS %d", lv_tokenizer_eos(t));
    LV_CHECK(lv_tokenizer_id(t, "a") < n && lv_tokenizer_id(t, "<image>") < n, "an id of a piece");
    LV_CHECK(lv_tokenizer_decode(t, (int32_t[]){n}, 1, &nothing) < 0 && !nothing,
             "an id outside the vocabulary was decoded");
}

/* The folder keeps what an earlier input left there unless it is removed. */
static void check_copy(const lv_tokenizer *t)
{
    lv_tokenizer *copy = NULL;
    char *dir = lv_path("%s/copy", fuzz_dir());
    fuzz_must(lv_tokenizer_copy_files(t, dir), "copying its files");
    fuzz_must(lv_tokenizer_open(&copy, dir), "opening the copy");
    LV_CHECK(strcmp(lv_tokenizer_fingerprint(t), lv_tokenizer_fingerprint(copy)) == 0,
             "the copy has another fingerprint");
    lv_tokenizer_close(&copy);
    fuzz_must(lv_dir_remove(dir), "removing the copy");
    free(dir);
}

void fuzz_tokenizer(const char *name, const uint8_t *data, size_t n)
{
    fuzz_parts parts = fuzz_split(data, n);
    lv_tokenizer *t = NULL;
    fuzz_write("tokenizer_config.json", CONFIG, sizeof CONFIG - 1);
    fuzz_write(name, parts.first, parts.n_first);
    if (lv_tokenizer_open(&t, fuzz_dir()) < 0) {
        return;
    }
    check_answers(t);
    check_text(t, (const char *)parts.second, parts.n_second);
    check_copy(t);
    lv_tokenizer_close(&t);
}
