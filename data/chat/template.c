/* SPDX-License-Identifier: Apache-2.0
 *
 * A record filled into a template's parts (template_table.h) is a script (template_script.h), which
 * is tokenised.
 */
#include "data/chat/template.h"

#include "autograd/error.h"
#include "data/base/text.h"
#include "data/chat/template_script.h"
#include "data/chat/template_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_file_name(const char *name)
{
    static const char ending[] = ".json";
    size_t n = strlen(name), n_ending = strlen(ending);
    return strchr(name, '/') || (n >= n_ending && strcmp(name + n - n_ending, ending) == 0);
}

int lv_template_open(lv_template **out, const char *name)
{
    const lv_template *builtin = lv_template_builtin(name);
    lv_template *opened = NULL;
    if (!builtin && !is_file_name(name)) {
        char known[256];
        lv_template_builtin_names(known, sizeof known);
        return lv_fail(LV_ERR_CONFIG,
                       "there is no template \"%s\"; there are: %s, or a file NAME.json", name,
                       known);
    }
    opened = calloc(1, sizeof *opened);
    if (!opened) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for a template");
    }
    if (builtin) {
        *opened = *builtin;
        snprintf(opened->id, sizeof opened->id, "%s", builtin->name);
    } else if (lv_template_file_read(opened, name) < 0) {
        lv_template_close(&opened);
        return lv_fail_within("template");
    }
    *out = opened;
    return LV_OK;
}

void lv_template_close(lv_template **template)
{
    if (*template) {
        cJSON_Delete((*template)->file);
        free(*template);
        *template = NULL;
    }
}

const char *lv_template_name(const lv_template *template)
{
    return template->id;
}

const char *lv_template_stop(const lv_template *template)
{
    return template->stop;
}

/* ---- images ---- */

static size_t count_marks(const char *text)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, LV_IMAGE_MARK)); at += LV_IMAGE_MARK_BYTES) {
        n++;
    }
    return n;
}

/* A copy of the turn as a template shows it, in a sample with that many images. One image: LLaVA's
 * preprocess_multimodal, which moves the mark to the beginning, on a line of its own. Several: the
 * marks stay, each ends its line. Both end without white space. NULL: no memory. */
static char *place_marks(const char *text, size_t n_images)
{
    size_t n_marks = count_marks(text);
    char *placed = malloc(strlen(text) + n_marks + 1);
    if (!placed || n_marks == 0 || n_images == 0) {
        return placed ? strcpy(placed, text) : NULL;
    }
    char *end = placed;
    const char *rest = text;
    for (const char *mark; (mark = strstr(rest, LV_IMAGE_MARK));) {
        end = mempcpy(end, rest, (size_t)(mark - rest));
        rest = mark + LV_IMAGE_MARK_BYTES;
        if (n_images > 1) {
            end = mempcpy(end, LV_IMAGE_MARK "\n", LV_IMAGE_MARK_BYTES + (*rest != '\n'));
        }
    }
    end = stpcpy(end, rest);
    const char *kept = placed, *kept_end = end;
    lv_text_strip(&kept, &kept_end);
    size_t n = (size_t)(kept_end - kept);
    if (n_images > 1) {
        memmove(placed, kept, n);
    } else {
        size_t front = LV_IMAGE_MARK_BYTES + (n > 0);
        memmove(placed + front, kept, n);
        memcpy(placed, LV_IMAGE_MARK "\n", front);
        n += front;
    }
    placed[n] = '\0';
    return placed;
}

/* ---- filling in ---- */

/* The values for the parts. */
typedef struct {
    const lv_template *template;
    const lv_tokenizer *tokenizer;
    const char *system;
} filling;

static bool is_end(const lv_part *parts, const lv_part *part)
{
    return part == parts + LV_TEMPLATE_MAX_PARTS || part->kind == LV_PART_END;
}

static int add_part(lv_script *script, const lv_part *part, const filling *with, const char *turn)
{
    int rc = LV_OK;
    switch (part->kind) {
    case LV_PART_TEXT:
        return part->learnt_tokens > 0
                   ? lv_script_add_first(script, part->text, (size_t)part->learnt_tokens)
                   : lv_script_add_text(script, part->text, strlen(part->text), part->learnt);
    case LV_PART_PIECE:
        return lv_script_add_piece(script, part->text, part->learnt, with->tokenizer);
    case LV_PART_SYSTEM:
        return lv_script_add_text(script, with->system, strlen(with->system), part->learnt);
    case LV_PART_TURN:
        return lv_script_add_marked(script, turn, part->learnt);
    case LV_PART_MARKS:
        for (size_t i = count_marks(turn); rc == LV_OK && i > 0; i--) {
            rc = lv_script_add_image(script);
        }
        return rc;
    case LV_PART_EOS:
        return lv_script_add_eos(script, part->learnt, with->tokenizer);
    default:
        return lv_script_add_bos(script, part->learnt, with->tokenizer);
    }
}

static int add_parts(lv_script *script, const lv_part *parts, const filling *with, const char *turn)
{
    int rc = LV_OK;
    for (const lv_part *p = parts; rc == LV_OK && !is_end(parts, p); p++) {
        rc = add_part(script, p, with, turn);
    }
    return rc;
}

static int add_turn(lv_script *script, const lv_record *record, size_t i, bool is_first,
                    const filling *with)
{
    const lv_template *t = with->template;
    const lv_turn *turn = &record->turns[i];
    char *text = place_marks(turn->text, record->n_images);
    if (!text) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for a prompt");
    }
    bool empty = !*text && t->human_empty[0].kind != LV_PART_END;
    const lv_part *parts = turn->role == LV_ROLE_GPT ? t->gpt : empty ? t->human_empty : t->human;
    int rc =
        turn->role == LV_ROLE_HUMAN && !is_first ? add_parts(script, t->between, with, "") : LV_OK;
    if (rc == LV_OK) rc = add_parts(script, parts, with, text);
    free(text);
    return rc;
}

/* ---- requirements of a sample ---- */

static const char *role_name(lv_role role)
{
    return role == LV_ROLE_HUMAN ? "human" : "gpt";
}

static bool has_system(const lv_template *template)
{
    const lv_part *p = template->opening;
    while (!is_end(template->opening, p) && p->kind != LV_PART_SYSTEM) {
        p++;
    }
    return !is_end(template->opening, p);
}

/* A caption's template has no text of its own, and discards the human's. */
static int check_system(const lv_template *template, const char *system)
{
    if (!system || template->is_caption) {
        return LV_OK;
    }
    if (!has_system(template)) {
        return lv_fail(LV_ERR_FORMAT, "\"system_prompt\": template %s has no place for it",
                       template->name);
    }
    return count_marks(system) == 0
               ? LV_OK
               : lv_fail(LV_ERR_FORMAT, "\"system_prompt\" holds an <image> mark");
}

/* *first: the turn to begin with. As in LLaVA, a leading gpt turn is dropped where turns have to
 * alternate. */
static int check_turns(const lv_template *template, const lv_record *record, size_t *first)
{
    const lv_turn *turns = record->turns;
    size_t n = record->n_turns;
    if (template->is_caption && n != 2) {
        return lv_fail(LV_ERR_FORMAT,
                       "template %s needs two turns (image, caption), the sample has %zu",
                       template->name, n);
    }
    *first =
        !template->is_caption && !template->free_turns && n > 0 && turns[0].role == LV_ROLE_GPT;
    for (size_t i = *first; i < n && !template->free_turns; i++) {
        lv_role expected = (i - *first) % 2 ? LV_ROLE_GPT : LV_ROLE_HUMAN;
        if (turns[i].role != expected) {
            return lv_fail(LV_ERR_FORMAT,
                           "conversations[%zu]: the turns do not alternate: expected %s, found %s",
                           i, role_name(expected), role_name(turns[i].role));
        }
        if (expected == LV_ROLE_GPT && !*turns[i].text) {
            return lv_fail(LV_ERR_FORMAT, "conversations[%zu]: the answer is empty", i);
        }
    }
    if (template->is_caption && count_marks(turns[0].text) == 0) {
        return lv_fail(LV_ERR_FORMAT,
                       "conversations[0]: template %s needs an <image> mark in the first turn",
                       template->name);
    }
    return LV_OK;
}

static int check_marks(int code, size_t n_images, size_t n_marks)
{
    return n_images == n_marks ? LV_OK
                               : lv_fail(code, "%zu image%s, but %zu <image> mark%s%s", n_images,
                                         n_images == 1 ? "" : "s", n_marks, n_marks == 1 ? "" : "s",
                                         n_marks == 0 ? ": nothing in the turns says where it "
                                                        "stands"
                                                      : "");
}

int lv_template_encode(lv_prompt *out, const lv_template *template, const lv_tokenizer *tokenizer,
                       const lv_record *record)
{
    lv_script script = {0};
    size_t first = 0, n_words = 0;
    const char *own = record->system_prompt;
    const filling with = {template, tokenizer, own ? own : template->system};
    int rc = check_turns(template, record, &first);
    if (rc == LV_OK) rc = check_system(template, own);
    if (rc == LV_OK) rc = add_parts(&script, template->opening, &with, "");
    for (size_t i = first; rc == LV_OK && i < record->n_turns; i++) {
        rc = add_turn(&script, record, i, i == first, &with);
    }
    if (rc == LV_OK) rc = add_parts(&script, template->closing, &with, "");
    if (rc == LV_OK) rc = check_marks(LV_ERR_FORMAT, record->n_images, script.n_images);
    if (rc == LV_OK) rc = lv_script_tokenise(out, &script, tokenizer);
    if (rc == LV_OK && out->n_supervised == 0) {
        rc = lv_fail(LV_ERR_FORMAT, "nothing in it is supervised: no answer");
    }
    for (size_t i = 0; i < record->n_turns; i++) {
        n_words += lv_text_count_words(record->turns[i].text);
    }
    out->n_words = n_words;
    lv_script_free(&script);
    return rc;
}

int lv_template_encode_question(lv_prompt *out, const lv_template *template,
                                const lv_tokenizer *tokenizer, const char *question,
                                size_t n_images)
{
    lv_script script = {0};
    const filling with = {template, tokenizer, template->system};
    const char *mark = template->is_caption ? LV_IMAGE_MARK : LV_IMAGE_MARK "\n";
    size_t n_marks = count_marks(question);
    size_t n_added = n_marks == 0 ? n_images : 0;
    char *marked = NULL, *placed = NULL;
    int rc = n_marks == 0 ? LV_OK : check_marks(LV_ERR_CONFIG, n_images, n_marks);
    if (rc < 0) {
        return rc;
    }
    if (!*question && n_images == 0) {
        return lv_fail(LV_ERR_CONFIG, "the question is empty, and there is no image");
    }
    marked = malloc(n_added * strlen(mark) + strlen(question) + 1);
    if (marked) {
        char *end = marked;
        for (size_t i = 0; i < n_added; i++) {
            end = stpcpy(end, mark);
        }
        strcpy(end, question);
        placed = place_marks(marked, template->is_caption ? 0 : n_images);
    }
    rc = placed ? add_parts(&script, template->question, &with, placed)
                : lv_fail(LV_ERR_MEMORY, "out of memory for a prompt");
    /* Where a mark was removed, the text around it may form another one. */
    if (rc == LV_OK) rc = check_marks(LV_ERR_CONFIG, n_images, script.n_images);
    if (rc == LV_OK) rc = lv_script_tokenise(out, &script, tokenizer);
    if (rc == LV_OK) {
        out->n_words = lv_text_count_words(question);
    }
    free(marked);
    free(placed);
    lv_script_free(&script);
    return rc;
}

/* ---- pieces ---- */

int lv_template_check(const lv_template *template, const lv_tokenizer *tokenizer)
{
    const filling with = {template, tokenizer, ""};
    lv_script script = {0};
    int rc = LV_OK;
    for (size_t i = 0; i < LV_TEMPLATE_N_LISTS; i++) {
        const lv_part *parts =
            (const lv_part *)((const char *)template + LV_TEMPLATE_LISTS[i].offset);
        for (const lv_part *p = parts; rc == LV_OK && !is_end(parts, p); p++) {
            rc = p->kind == LV_PART_EOS || p->kind == LV_PART_BOS ? add_part(&script, p, &with, "")
                                                                  : LV_OK;
        }
    }
    lv_script_free(&script);
    return rc < 0 ? lv_fail_within("template %s", template->name) : LV_OK;
}

/* The names of the pieces that the tokenizer lacks, each once; returns how many. */
static size_t missing_pieces(const char **names, size_t room, const lv_template *t,
                             const lv_tokenizer *tokenizer)
{
    size_t n = 0;
    for (size_t i = 0; i < LV_TEMPLATE_N_LISTS; i++) {
        const lv_part *parts = (const lv_part *)((const char *)t + LV_TEMPLATE_LISTS[i].offset);
        for (const lv_part *p = parts; n < room && !is_end(parts, p); p++) {
            size_t known = 0;
            while (p->kind == LV_PART_PIECE && known < n && strcmp(names[known], p->text) != 0) {
                known++;
            }
            if (p->kind == LV_PART_PIECE && known == n && lv_tokenizer_id(tokenizer, p->text) < 0) {
                names[n++] = p->text;
            }
        }
    }
    return n;
}

void lv_template_print_missing_pieces(const lv_template *template, const lv_tokenizer *tokenizer)
{
    const char *names[LV_TEMPLATE_N_LISTS * LV_TEMPLATE_MAX_PARTS];
    size_t n = missing_pieces(names, sizeof names / sizeof *names, template, tokenizer);
    if (n == 0) {
        return;
    }
    char list[1024] = "";
    size_t used = 0;
    for (size_t i = 0; i < n && used < sizeof list; i++) {
        used +=
            (size_t)snprintf(list + used, sizeof list - used, "%s \"%s\"", i ? "," : "", names[i]);
    }
    lv_warn("template %s: the tokenizer has no piece%s; written as ordinary text", template->name,
            list);
}
