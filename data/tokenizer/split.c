/* SPDX-License-Identifier: Apache-2.0
 *
 * Words of byte-level tokenizers: a text is cut at the matches of a pattern, the parts at those of
 * the next. The patterns are Oniguruma's, which the tokenizers library uses as well.
 */
#include "data/tokenizer/internal.h"

#include "autograd/error.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <oniguruma.h>

/* A file may bring a pattern that takes exponential time. A search may take some steps back for
 * free; if it needs more it is tried again with four times as many, which come out of a budget for
 * the text. Oniguruma does not count steps forward: a pattern that looks through the rest of the
 * text at each place, as "(?>a*)b|a" does, is stopped by its CPU time. That depends on the machine,
 * so it is no failure of the text, which others could encode, but of the tokenizer. An honest
 * pattern takes less than half a second for a megabyte of spaces, a tenth for one of text. */
enum { MAX_PATTERN_BYTES = 1 << 16, MIN_STACK = 1 << 16, STACK_PER_BYTE = 4 };
enum { MIN_FREE_STEPS = 64, MAX_FREE_STEPS = 4096, FREE_STEPS_AND_BYTES = 1 << 25 };
enum { SEARCHES_PER_LOOK = 64 }; /* at the clock */
static const double MAX_S = 1, MAX_S_PER_BYTE = 2e-6;

struct lv_split {
    OnigRegex regex;
    bool keeps_matches, keeps_gaps;
};

int lv_split_create(lv_split **out, const char *pattern, bool literal, bool keeps_matches,
                    bool keeps_gaps)
{
    OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
    OnigErrorInfo info = {0};
    const OnigUChar *begin = (const OnigUChar *)pattern;
    size_t n = strlen(pattern);
    if (n == 0 || n > MAX_PATTERN_BYTES) {
        return lv_fail(LV_ERR_UNSUPPORTED, "a pattern of %zu bytes is not implemented", n);
    }
    lv_split *s = calloc(1, sizeof *s);
    if (!s) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for a pattern");
    }
    s->keeps_matches = keeps_matches;
    s->keeps_gaps = keeps_gaps;
    int rc = onig_initialize(encodings, 1);
    rc = rc != ONIG_NORMAL
             ? rc
             : onig_new(&s->regex, begin, begin + n, ONIG_OPTION_NONE, ONIG_ENCODING_UTF8,
                        literal ? ONIG_SYNTAX_ASIS : ONIG_SYNTAX_DEFAULT, &info);
    if (rc != ONIG_NORMAL) {
        OnigUChar message[ONIG_MAX_ERROR_MESSAGE_LEN];
        onig_error_code_to_str(message, rc, &info);
        free(s);
        return lv_fail(LV_ERR_UNSUPPORTED, "the pattern \"%.200s\": %s", pattern,
                       (const char *)message);
    }
    *out = s;
    return LV_OK;
}

void lv_split_destroy(lv_split **split)
{
    if (*split) {
        onig_free((*split)->regex);
        free(*split);
        *split = NULL;
    }
}

typedef struct {
    lv_encoder *encoder;
    OnigRegion *region;
    OnigMatchParam *limits;
    int64_t free_steps; /* of a search */
    int n_searches;     /* since the last look at the clock */
} searcher;

static int check_time(lv_encoder *e)
{
    struct timespec now;
    double max_s = MAX_S + MAX_S_PER_BYTE * (double)e->n_bytes;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) < 0) {
        return lv_fail_errno(LV_ERR_IO, "reading the thread's CPU time");
    }
    double now_s = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    if (e->regex_end_s == 0) {
        e->regex_end_s = now_s + max_s;
    }
    return now_s <= e->regex_end_s
               ? LV_OK
               : lv_fail(LV_ERR_UNSUPPORTED,
                         "%s: cutting a text of %zu bytes by its pattern takes more than %.0f s; a "
                         "pattern has to take time in proportion to the text",
                         e->tokenizer->files[0], e->n_bytes, max_s);
}

/* The next match from `from` on. *begin = n if there is none. */
static int search(searcher *s, const lv_split *split, const lv_span *text, size_t from,
                  size_t *begin, size_t *end)
{
    const OnigUChar *first = (const OnigUChar *)text->bytes, *last = first + text->n;
    int64_t steps = s->free_steps;
    int rc;
    for (;; steps *= 4) {
        if (steps > s->free_steps || ++s->n_searches == SEARCHES_PER_LOOK) {
            s->n_searches = 0;
            rc = check_time(s->encoder);
            if (rc < 0) {
                return rc;
            }
        }
        if (steps > s->free_steps && (s->encoder->regex_budget -= steps) < 0) {
            return lv_fail(LV_ERR_FORMAT,
                           "%s: its pattern takes too many steps at byte %zu of the text",
                           s->encoder->tokenizer->files[0], lv_span_begin(text, from));
        }
        onig_set_retry_limit_in_match_of_match_param(s->limits, (unsigned long)steps);
        onig_set_retry_limit_in_search_of_match_param(s->limits, (unsigned long)steps);
        onig_region_clear(s->region);
        rc = onig_search_with_param(split->regex, first, last, first + from, last, s->region,
                                    ONIG_OPTION_NONE, s->limits);
        if (rc != ONIGERR_RETRY_LIMIT_IN_MATCH_OVER && rc != ONIGERR_RETRY_LIMIT_IN_SEARCH_OVER) {
            break;
        }
    }
    if (rc < 0 && rc != ONIG_MISMATCH) {
        OnigUChar message[ONIG_MAX_ERROR_MESSAGE_LEN];
        onig_error_code_to_str(message, rc);
        return lv_fail(LV_ERR_FORMAT, "%s: its pattern: %s", s->encoder->tokenizer->files[0],
                       (const char *)message);
    }
    *begin = rc >= 0 ? (size_t)s->region->beg[0] : text->n;
    *end = rc >= 0 ? (size_t)s->region->end[0] : text->n;
    return LV_OK;
}

static int words_of(searcher *s, const lv_span *text, int step);

static int words_of_part(searcher *s, const lv_span *text, size_t from, size_t to, int step)
{
    lv_span part = lv_span_part(text, from, to);
    return from < to ? words_of(s, &part, step) : LV_OK;
}

static size_t character_bytes(const char *s, size_t left)
{
    unsigned char lead = (unsigned char)*s;
    size_t n = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    return n < left ? n : left;
}

/* Cuts by the splits from `step` on. An empty match right behind another is none, as in the regex
 * libraries' iterators. */
static int words_of(searcher *s, const lv_span *text, int step)
{
    const lv_tokenizer *t = s->encoder->tokenizer;
    size_t done = 0, from = 0;
    bool any = false;
    int rc = LV_OK;
    if (step == t->n_splits) {
        return lv_encoder_word(s->encoder, text);
    }
    const lv_split *split = t->splits[step];
    while (rc == LV_OK && from <= text->n) {
        size_t begin = 0, end = 0;
        rc = search(s, split, text, from, &begin, &end);
        if (rc < 0 || (begin == text->n && end == text->n)) {
            break;
        }
        if (begin == end && any && end == done) {
            from += from < text->n ? character_bytes(text->bytes + from, text->n - from) : 1;
            continue;
        }
        if (split->keeps_gaps) {
            rc = words_of_part(s, text, done, begin, step + 1);
        }
        if (rc == LV_OK && split->keeps_matches) {
            rc = words_of_part(s, text, begin, end, step + 1);
        }
        done = from = end;
        any = true;
    }
    return rc == LV_OK && split->keeps_gaps ? words_of_part(s, text, done, text->n, step + 1) : rc;
}

int lv_split_words(lv_encoder *e, const lv_span *text)
{
    searcher s = {.encoder = e};
    if (e->tokenizer->n_splits == 0) {
        return lv_encoder_word(e, text);
    }
    s.region = onig_region_new();
    s.limits = onig_new_match_param();
    int rc = s.region && s.limits && text->n < INT32_MAX / (2 * STACK_PER_BYTE)
                 ? LV_OK
                 : lv_fail(LV_ERR_MEMORY, "no memory to cut a text of %zu bytes", text->n);
    if (rc == LV_OK) {
        s.free_steps = FREE_STEPS_AND_BYTES / (int64_t)(text->n + 1);
        s.free_steps = s.free_steps < MIN_FREE_STEPS   ? MIN_FREE_STEPS
                       : s.free_steps > MAX_FREE_STEPS ? MAX_FREE_STEPS
                                                       : s.free_steps;
        onig_initialize_match_param(s.limits);
        onig_set_match_stack_limit_size_of_match_param(
            s.limits, (unsigned int)(MIN_STACK + STACK_PER_BYTE * text->n));
        rc = words_of(&s, text, 0);
    }
    if (s.region) {
        onig_region_free(s.region, 1);
    }
    if (s.limits) {
        onig_free_match_param(s.limits);
    }
    return rc;
}
