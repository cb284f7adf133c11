/* SPDX-License-Identifier: Apache-2.0
 *
 * What all kinds of tokenizer have, and which file does what. All: vocab.c, bpe.c, text.c, unicode.c,
 * added.c (added tokens), encode.c, decode.c, files.c (beside the tokenizer's; BOS and EOS). A
 * tokenizer.json: pipeline.c (its components), model.c (pieces and merges), pipeline_encode.c. A
 * tokenizer.model: spm.c (with the files beside it), spm_parse.c, spm_encode.c.
 */
#ifndef LV_DATA_TOKENIZER_INTERNAL_H
#define LV_DATA_TOKENIZER_INTERNAL_H

#include "data/tokenizer/text.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/vocab.h"

#include <cjson/cJSON.h>

enum { LV_TOKENIZER_MAX_FILES = 8 };

/* When a marker is put before a chunk of text. */
typedef enum {
    LV_MARKER_LEGACY, /* every chunk that is not empty */
    LV_MARKER_ALWAYS, /* every chunk that does not begin with a space */
    LV_MARKER_FIRST,  /* the same, at the beginning of a call only */
    LV_MARKER_CALL,   /* at the beginning of a call, also before a space */
    LV_MARKER_NEVER,
} lv_marker_rule;

/* An added token that is searched for in texts, or (special) passed over as a whole. */
typedef struct {
    int32_t id;
    bool special, single_word, lstrip, rstrip, normalized;
} lv_added_token;

typedef struct {
    lv_added_token *tokens;
    int32_t n;
    lv_matcher in_text, in_normalized; /* value: index in tokens */
    bool python_spaces;                /* lstrip and rstrip take U+001C to U+001F, too */
} lv_added_list;

typedef struct lv_encoder lv_encoder;

/* What the kinds do in their own ways. A function that leaves out empty changes nothing. */
typedef struct {
    const char *file_name; /* of a copy */
    /* The text in which added tokens are searched for first, and, where none is, its normal form,
     * in which those of a normal form are (NULL: there is none). */
    int (*prepare)(const lv_tokenizer *t, const lv_span *text, bool first, lv_mapped *out);
    int (*normalize)(const lv_tokenizer *t, const lv_span *text, bool first, lv_mapped *out);
    /* The tokens of a text that is not empty and has no added token. */
    int (*encode)(lv_encoder *e, const lv_span *text, bool first);
} lv_tokenizer_kind;

struct lv_tokenizer {
    const lv_tokenizer_kind *kind;
    struct lv_pipeline *pipeline; /* of a tokenizer.json; otherwise NULL */
    struct lv_spm *spm;           /* of a tokenizer.model; otherwise NULL */
    lv_vocab vocab;
    lv_merges merges;
    lv_added_list added;

    lv_marker_rule marker;
    bool replaces_spaces; /* by markers */
    /* No piece has a marker after (before) another character: so merges never cross the place
     * before (after) a run of markers, and what is between such places is a word. */
    bool cuts_before_markers, cuts_after_markers;

    char *files[LV_TOKENIZER_MAX_FILES]; /* paths of all that was read */
    int n_files;
    int32_t bos, eos;
    int32_t stops[LV_TOKENIZER_MAX_STOPS + 1];
    int n_stops;
    char *note;           /* ids of the model's files that are others; NULL: none */
    int32_t template_bos; /* what is put before a text, -1: nothing */
    uint32_t crc;         /* of pieces, merges, and rules that not all kinds have */
    char fingerprint[64];
};

/* ---- reading ---- */

/* lv_pipeline_read, lv_spm_read: all but bos, eos and fingerprint from text of n bytes, into a
 * zeroed tokenizer, which lv_tokenizer_close frees also after a failure.
 * dir: where the files beside a tokenizer.model are, NULL: there are none. */
int lv_pipeline_read(lv_tokenizer *tokenizer, const char *text, size_t n);
int lv_spm_read(lv_tokenizer *tokenizer, const char *text, size_t n, const char *dir);
void lv_pipeline_destroy(struct lv_pipeline **pipeline);
void lv_spm_destroy(struct lv_spm **spm);
/* lv_spm_finish: what encoding needs of all that is read; after lv_words_find. */
int lv_spm_finish(lv_tokenizer *tokenizer);

/* lv_tokenizer_add_file: to the list of what was read, once; path is copied.
 * lv_tokenizer_read_beside: the JSON file in dir, listed; *root stays NULL if there is none.
 * lv_tokenizer_special_read: bos, eos, stops and note, from the files beside the tokenizer's in dir
 * (NULL: there are none) or from what it says itself. */
void lv_tokenizer_add_file(lv_tokenizer *tokenizer, const char *path);
int lv_tokenizer_read_beside(cJSON **root, lv_tokenizer *tokenizer, const char *dir,
                             const char *name);
int lv_tokenizer_special_read(lv_tokenizer *tokenizer, const char *dir);

/* lv_added_add: to the list, and to the vocabulary's special pieces; <image> to the latter only: it
 * is never text, a template splits there, and it has no id in a pack.
 * lv_added_finish: the matchers from the list; after all else is read. */
int lv_added_add(lv_tokenizer *tokenizer, lv_added_token token);
int lv_added_finish(lv_tokenizer *tokenizer);

/* Parts of a text: token NULL: text from begin to end, in which no added token is. A token may
 * begin in white space that the one before it took in, but never at the text's end. */
typedef struct {
    const lv_added_token *token;
    size_t begin, end;
} lv_added_part;

typedef struct {
    const lv_added_list *list;
    const lv_matcher *matcher;
    const lv_span *text;
    size_t done, scanned; /* bytes that are in parts; that were searched */
    size_t spaces_end;    /* of the white space after the last token that takes it in */
    lv_added_part found;  /* after the text before it */
    bool has_found;
} lv_added_iterator;
bool lv_added_next(lv_added_iterator *it, lv_added_part *part);

/* ---- encoding ---- */

/* What cutting one text by patterns has used up. */
typedef struct {
    const char *file; /* of the patterns */
    size_t n_bytes;   /* of the text */
    int64_t steps;    /* of long searches */
    double end_s;     /* of the thread's CPU time; 0: not begun */
} lv_split_budget;

struct lv_encoder {
    const lv_tokenizer *tokenizer;
    lv_bpe bpe;
    lv_tokens *out;
    bool after_unk; /* the last token is unk and takes what follows it, too */
    lv_split_budget split;
};

/* lv_words_find: what encoding needs to know of all pieces and merges together. */
int lv_words_find(lv_tokenizer *tokenizer);
int lv_encoder_emit(lv_encoder *e, int32_t id, size_t begin);
/* lv_encoder_word: the tokens of a word, which is merged by itself. */
int lv_encoder_word(lv_encoder *e, const lv_span *word);
/* lv_encoder_cut_words: the same for a normalised text, cut where markers allow it. */
int lv_encoder_cut_words(lv_encoder *e, const lv_span *text);

#endif
