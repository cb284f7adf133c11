/* SPDX-License-Identifier: Apache-2.0
 *
 * Texts of a tokenizer.json: UTF-8, the normalizer, the pre_tokenizer. A byte-level one cuts a text
 * into words at the matches of a pattern, the parts at those of the next. The patterns are
 * Oniguruma's, which the tokenizers library uses as well.
 */
#include "data/tokenizer/pipeline.h"

#include "autograd/error.h"
#include "data/base/text.h"

#include <string.h>
#include <time.h>

/* ---- words ---- */

/* A file may bring a pattern that takes exponential time. A search may take some steps back for
 * free; if it needs more it is tried again with four times as many, which come out of a budget for
 * the text. Oniguruma does not count steps forward: a pattern that looks through the rest of the
 * text at each place is stopped by its CPU time. That depends on the machine, so it is no failure
 * of the text, which others could encode, but of the tokenizer. A common pattern takes about one
 * step a character, less than half a second for a megabyte of spaces, a tenth for one of text. */
const lv_split_limits lv_split_default_limits = {
    .free_steps = 4096, .steps = 1 << 22, .steps_per_byte = 256, .s = 1, .s_per_byte = 2e-6};
enum { MAX_PATTERN_BYTES = 1 << 16, MIN_STACK = 1 << 16, STACK_PER_BYTE = 4 };
enum { MIN_FREE_STEPS = 64, FREE_STEPS_AND_BYTES = 1 << 25 };
enum { SEARCHES_PER_CLOCK = 64 };

int lv_split_add(lv_pipeline *p, const char *pattern, bool literal, bool keeps_matches,
                 bool keeps_gaps)
{
    OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
    OnigErrorInfo info = {0};
    const OnigUChar *begin = (const OnigUChar *)pattern;
    size_t n = strlen(pattern);
    if (n == 0 || n > MAX_PATTERN_BYTES) {
        return lv_fail(LV_ERR_UNSUPPORTED, "a pattern of %zu bytes is not implemented", n);
    }
    lv_split s = {.keeps_matches = keeps_matches, .keeps_gaps = keeps_gaps};
    int rc = onig_initialize(encodings, 1);
    if (rc == ONIG_NORMAL) {
        rc = onig_new(&s.regex, begin, begin + n, ONIG_OPTION_NONE, ONIG_ENCODING_UTF8,
                      literal ? ONIG_SYNTAX_ASIS : ONIG_SYNTAX_DEFAULT, &info);
    }
    if (rc != ONIG_NORMAL) {
        OnigUChar message[ONIG_MAX_ERROR_MESSAGE_LEN];
        onig_error_code_to_str(message, rc, &info);
        return lv_fail(LV_ERR_UNSUPPORTED, "the pattern \"%.200s\": %s", pattern,
                       (const char *)message);
    }
    p->splits[p->n_splits++] = s;
    return LV_OK;
}

void lv_splits_free(lv_pipeline *p)
{
    for (int i = 0; i < p->n_splits; i++) {
        onig_free(p->splits[i].regex);
    }
    p->n_splits = 0;
}

/* The words of a text, cut by the first step, its parts by the next, and so on. */
typedef struct {
    lv_span text;
    size_t done, from; /* bytes that are in parts; where the next search begins */
    bool any, at_end;  /* a match was found; none is left */
    bool has_match;    /* the next part is the match from done to from */
} split_level;

typedef struct {
    const lv_pipeline *pipeline;
    lv_split_budget *budget;
    OnigRegion region;
    OnigMatchParam *search_limits;
    int64_t free_steps; /* of a search */
    int n_searches;     /* since the CPU time was last read */
    int depth;          /* of the level that is being cut; -1: no more words */
    split_level levels[LV_MAX_SPLITS];
} split_iterator;
/* Of the searches that follow. */
static void limit_steps(split_iterator *it, int64_t steps)
{
    onig_set_retry_limit_in_match_of_match_param(it->search_limits, (unsigned long)steps);
    onig_set_retry_limit_in_search_of_match_param(it->search_limits, (unsigned long)steps);
}

/* text and budget are borrowed; end_split it also after a failure. */
static int begin_split(split_iterator *it, const lv_pipeline *p, const lv_span *text,
                       lv_split_budget *budget)
{
    it->pipeline = p;
    it->budget = budget;
    it->n_searches = it->depth = 0;
    it->levels[0] = (split_level){.text = *text};
    onig_region_init(&it->region);
    it->search_limits = onig_new_match_param();
    if (!it->search_limits || text->n >= INT32_MAX / (2 * STACK_PER_BYTE)) {
        return lv_fail(LV_ERR_MEMORY, "no memory to cut a text of %zu bytes", text->n);
    }
    int64_t steps = FREE_STEPS_AND_BYTES / (int64_t)(text->n + 1);
    steps = steps < MIN_FREE_STEPS ? MIN_FREE_STEPS : steps;
    it->free_steps = steps < p->limits.free_steps ? steps : p->limits.free_steps;
    onig_initialize_match_param(it->search_limits);
    onig_set_match_stack_limit_size_of_match_param(
        it->search_limits, (unsigned int)(MIN_STACK + STACK_PER_BYTE * text->n));
    limit_steps(it, it->free_steps);
    return LV_OK;
}

static void end_split(split_iterator *it)
{
    onig_region_free(&it->region, 0);
    if (it->search_limits) {
        onig_free_match_param(it->search_limits);
    }
}

static int check_time(const lv_split_limits *limits, lv_split_budget *b)
{
    struct timespec now;
    double max_s = limits->s + limits->s_per_byte * (double)b->n_bytes;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) < 0) {
        return lv_fail_errno(LV_ERR_IO, "reading the thread's CPU time");
    }
    double now_s = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    if (b->end_s == 0) {
        b->end_s = now_s + max_s;
    }
    return now_s <= b->end_s
               ? LV_OK
               : lv_fail(LV_ERR_UNSUPPORTED,
                         "%s: cutting a text of %zu bytes by its pattern takes more than %.0f s; a "
                         "pattern has to take time in proportion to the text",
                         b->file, b->n_bytes, max_s);
}

/* The next match from level->from on. *begin = *end = n if there is none. */
static int find_match(split_iterator *it, const split_level *level, size_t *begin, size_t *end)
{
    const lv_split *split = &it->pipeline->splits[level - it->levels];
    const lv_split_limits *limits = &it->pipeline->limits;
    const lv_span *text = &level->text;
    lv_split_budget *budget = it->budget;
    const OnigUChar *first = (const OnigUChar *)text->bytes, *last = first + text->n;
    int64_t steps = it->free_steps;
    int rc;
    for (;; steps *= 4) {
        bool again = steps > it->free_steps;
        if (again || ++it->n_searches == SEARCHES_PER_CLOCK) {
            it->n_searches = 0;
            rc = check_time(limits, budget);
            if (rc < 0) {
                return rc;
            }
        }
        if (again) {
            budget->steps += steps;
            if (budget->steps > limits->steps + limits->steps_per_byte * (int64_t)budget->n_bytes) {
                return lv_fail(LV_ERR_FORMAT,
                               "%s: its pattern takes too many steps at byte %zu of the text",
                               budget->file, lv_span_begin(text, level->from));
            }
            limit_steps(it, steps);
        }
        rc = onig_search_with_param(split->regex, first, last, first + level->from, last,
                                    &it->region, ONIG_OPTION_NONE, it->search_limits);
        if (rc != ONIGERR_RETRY_LIMIT_IN_MATCH_OVER && rc != ONIGERR_RETRY_LIMIT_IN_SEARCH_OVER) {
            break;
        }
    }
    if (steps > it->free_steps) {
        limit_steps(it, it->free_steps);
    }
    if (rc < 0 && rc != ONIG_MISMATCH) {
        OnigUChar message[ONIG_MAX_ERROR_MESSAGE_LEN];
        onig_error_code_to_str(message, rc);
        return lv_fail(LV_ERR_FORMAT, "%s: its pattern: %s", budget->file, (const char *)message);
    }
    *begin = rc >= 0 ? (size_t)it->region.beg[0] : text->n;
    *end = rc >= 0 ? (size_t)it->region.end[0] : text->n;
    return LV_OK;
}

/* The next part of the text of a level: 1, 0 after the last. An empty match right after another is
 * none, as in the regex libraries' iterators. */
static int next_part(split_iterator *it, split_level *l, lv_span *part)
{
    const lv_split *split = &it->pipeline->splits[l - it->levels];
    const size_t n = l->text.n;
    while (!l->at_end) {
        size_t begin = n, end = n, done = l->done;
        if (l->has_match) { /* found after the gap that was the last part */
            begin = done;
            end = l->from;
        } else {
            int rc = l->from <= n ? find_match(it, l, &begin, &end) : LV_OK;
            if (rc < 0) {
                return rc;
            }
            l->at_end = begin == n && end == n;
            if (begin == end && !l->at_end && l->any && end == done) {
                l->from +=
                    l->from < n ? lv_character_bytes(l->text.bytes + l->from, n - l->from) : 1;
                continue;
            }
            l->from = end;
            l->any = true;
        }
        l->has_match = split->keeps_gaps && done < begin;
        l->done = l->has_match ? begin : end;
        if (l->has_match) {
            *part = lv_span_part(&l->text, done, begin);
            return 1;
        }
        if (split->keeps_matches && begin < end) {
            *part = lv_span_part(&l->text, begin, end);
            return 1;
        }
    }
    return 0;
}

/* The next word, which is not empty: 1, 0 after the last. Fails with LV_ERR_FORMAT on a pattern that
 * takes too many steps, LV_ERR_UNSUPPORTED on one that takes too much time. */
static int next_word(split_iterator *it, lv_span *word)
{
    while (it->depth >= 0) {
        int rc = next_part(it, &it->levels[it->depth], word);
        if (rc < 0) {
            return rc;
        }
        if (rc == 0) {
            it->depth--;
        } else if (it->depth + 1 < it->pipeline->n_splits) {
            it->levels[++it->depth] = (split_level){.text = *word};
        } else {
            return 1;
        }
    }
    return 0;
}

/* ---- texts ---- */

/* The text with U+FFFD in place of what is not UTF-8. */
static int prepare(const lv_tokenizer *t, const lv_span *text, bool first, lv_mapped *out)
{
    size_t done = 0;
    int rc = LV_OK;
    (void)t;
    (void)first;
    for (size_t at = 0, step; rc == LV_OK && at < text->n; at += step) {
        const char *s = text->bytes + at;
        bool valid = (unsigned char)*s < 0x80;
        step = valid ? 1 : lv_utf8_step(s, text->n - at, &valid);
        if (!valid) {
            lv_span part = lv_span_part(text, done, at);
            rc = lv_mapped_add_span(out, &part);
            if (rc == LV_OK)
                rc = lv_mapped_add(out, LV_REPLACEMENT_CHARACTER, 3, lv_span_begin(text, at));
            done = at + step;
        }
    }
    lv_span rest = lv_span_part(text, done, text->n);
    return rc == LV_OK && done > 0 ? lv_mapped_add_span(out, &rest) : rc;
}

static bool gets_marker(const lv_tokenizer *t, const lv_span *text, bool first)
{
    bool has_one = (text->bytes[0] == ' ' && t->replaces_spaces) || lv_marker_at(text, 0);
    return t->marker == LV_MARKER_LEGACY ||
           (!has_one && (t->marker == LV_MARKER_ALWAYS || (t->marker == LV_MARKER_FIRST && first)));
}

static int put_markers(lv_mapped *out, const lv_tokenizer *t, const lv_span *text, bool first)
{
    int rc =
        gets_marker(t, text, first) ? lv_mapped_add_marker(out, lv_span_begin(text, 0)) : LV_OK;
    for (size_t at = 0, end; rc == LV_OK && at < text->n; at = end) {
        const char *space = t->replaces_spaces ? memchr(text->bytes + at, ' ', text->n - at) : NULL;
        end = space ? (size_t)(space - text->bytes) : text->n;
        lv_span part = lv_span_part(text, at, end);
        rc = lv_mapped_add_span(out, &part);
        if (rc == LV_OK && space) rc = lv_mapped_add_marker(out, lv_span_begin(text, end++));
    }
    return rc;
}

static int normalize(const lv_tokenizer *t, const lv_span *text, bool first, lv_mapped *out)
{
    if (t->pipeline->normalizes_spaces) {
        return put_markers(out, t, text, first);
    }
    return t->pipeline->form != LV_FORM_NONE ? lv_unicode_normalize(out, text, t->pipeline->form)
                                             : LV_OK;
}

static int encode_words(lv_encoder *e, const lv_span *text)
{
    const lv_tokenizer *t = e->tokenizer;
    split_iterator it;
    lv_span word;
    if (!t->vocab.byte_level) {
        return lv_encoder_cut_words(e, text);
    }
    if (t->pipeline->n_splits == 0) {
        return lv_encoder_word(e, text);
    }
    int rc = begin_split(&it, t->pipeline, text, &e->split);
    while (rc >= 0 && (rc = next_word(&it, &word)) > 0) {
        rc = lv_encoder_word(e, &word);
    }
    end_split(&it);
    return rc;
}

static int encode(lv_encoder *e, const lv_span *text, bool first)
{
    const lv_tokenizer *t = e->tokenizer;
    lv_mapped changed = {0};
    int rc = LV_OK;
    if (!t->vocab.byte_level && !t->pipeline->normalizes_spaces) {
        rc = put_markers(&changed, t, text, first);
    } else if (t->pipeline->adds_space && text->bytes[0] != ' ') {
        rc = lv_mapped_add(&changed, " ", 1, lv_span_begin(text, 0));
        if (rc == LV_OK) rc = lv_mapped_add_span(&changed, text);
    }
    lv_span whole = lv_mapped_or(&changed, text);
    if (rc == LV_OK) rc = encode_words(e, &whole);
    lv_mapped_free(&changed);
    return rc;
}

const lv_tokenizer_kind lv_pipeline_kind = {
    .file_name = "tokenizer.json", .prepare = prepare, .normalize = normalize, .encode = encode};
