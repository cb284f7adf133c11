/* SPDX-License-Identifier: Apache-2.0
 *
 * The templates, each a table entry: what stands before, around and between the turns, and which
 * of it is learnt. A record filled into one is a script (template_script.h), which is tokenised.
 */
#include "data/template.h"

#include "autograd/error.h"
#include "data/template_script.h"
#include "data/text.h"

#include <stdlib.h>
#include <string.h>

typedef enum {
    PART_END,
    PART_TEXT,   /* the words of the table */
    PART_SYSTEM, /* the record's system prompt, or the template's */
    PART_TURN,   /* the turn's text with its <image> marks */
    PART_MARKS,  /* the turn's <image> marks alone */
    PART_EOS,
} part_kind;

typedef struct {
    part_kind kind;
    const char *text;
    bool learnt;
} part;

enum { MAX_PARTS = 6 };

struct lv_template {
    const char *name;
    const char *system;
    part opening[MAX_PARTS];
    part human[MAX_PARTS];
    part human_empty[MAX_PARTS]; /* a human turn without text, as LLaVA writes it */
    part gpt[MAX_PARTS];
    part question[MAX_PARTS]; /* at inference: all of the prompt */
    bool is_caption;          /* two turns; the human's holds nothing but the image */
};

/* clang-format off */
#define TEXT(words) {.kind = PART_TEXT, .text = (words)}
#define PART(part_kind) {.kind = (part_kind)}
#define LEARN_TEXT(words) {.kind = PART_TEXT, .text = (words), .learnt = true}
#define LEARN(part_kind) {.kind = (part_kind), .learnt = true}
/* clang-format on */

static const lv_template templates[] = {
    {
        .name = "plain",
        .is_caption = true,
        .human = {PART(PART_MARKS)},
        .gpt = {LEARN(PART_TURN), LEARN_TEXT("\n")},
        .question = {PART(PART_TURN)},
    },
    {
        .name = "v1",
        .system = "A chat between a curious user and an artificial intelligence assistant. The "
                  "assistant gives helpful, detailed, and polite answers to the user's questions.",
        .opening = {PART(PART_SYSTEM), TEXT(" ")},
        .human = {TEXT("USER: "), PART(PART_TURN), TEXT(" ")},
        .human_empty = {TEXT("USER:")},
        .gpt = {TEXT("ASSISTANT:"), LEARN_TEXT(" "), LEARN(PART_TURN), LEARN(PART_EOS)},
        .question = {PART(PART_SYSTEM), TEXT(" USER: "), PART(PART_TURN), TEXT(" ASSISTANT:")},
    },
};
enum { N_TEMPLATES = sizeof templates / sizeof *templates };

int lv_template_open(lv_template **out, const char *name)
{
    char known[256] = "";
    for (size_t i = 0; i < N_TEMPLATES; i++) {
        if (strcmp(templates[i].name, name) == 0) {
            lv_template *opened = malloc(sizeof *opened);
            if (!opened) {
                return lv_fail(LV_ERR_MEMORY, "out of memory for a template");
            }
            *opened = templates[i];
            *out = opened;
            return LV_OK;
        }
        strcat(strcat(known, i ? ", " : ""), templates[i].name);
    }
    return lv_fail(LV_ERR_CONFIG, "there is no template \"%s\"; there are: %s", name, known);
}

void lv_template_close(lv_template **template)
{
    free(*template);
    *template = NULL;
}

const char *lv_template_name(const lv_template *template)
{
    return template->name;
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
 * preprocess_multimodal, which brings the mark to the front, on a line of its own. Several: the
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

static int add_parts(lv_script *script, const part *parts, const lv_template *template,
                     const lv_record *record, const char *turn)
{
    int rc = LV_OK;
    for (const part *p = parts; rc == LV_OK && p < parts + MAX_PARTS && p->kind != PART_END; p++) {
        switch (p->kind) {
        case PART_TEXT:
            rc = lv_script_add_text(script, p->text, strlen(p->text), p->learnt);
            break;
        case PART_SYSTEM: {
            const char *own = record ? record->system_prompt : NULL;
            const char *text = own ? own : template->system;
            rc = lv_script_add_text(script, text, strlen(text), p->learnt);
            break;
        }
        case PART_TURN:
            rc = lv_script_add_marked(script, turn, p->learnt);
            break;
        case PART_MARKS:
            for (size_t i = count_marks(turn); rc == LV_OK && i > 0; i--) {
                rc = lv_script_add_image(script);
            }
            break;
        default:
            rc = lv_script_add_eos(script, p->learnt);
        }
    }
    return rc;
}

static int add_turn(lv_script *script, const lv_template *template, const lv_record *record,
                    const lv_turn *turn)
{
    char *text = place_marks(turn->text, record->n_images);
    if (!text) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for a prompt");
    }
    bool empty = !*text && template->human_empty[0].kind != PART_END;
    const part *parts = turn->role == LV_ROLE_GPT ? template->gpt
                        : empty                   ? template->human_empty
                                                  : template->human;
    int rc = add_parts(script, parts, template, record, text);
    free(text);
    return rc;
}

/* ---- what a sample must be ---- */

static const char *role_name(lv_role role)
{
    return role == LV_ROLE_HUMAN ? "human" : "gpt";
}

/* *first: the turn to begin with. LLaVA drops a leading gpt turn; so does every template here but
 * captions. */
static int check_turns(const lv_template *template, const lv_record *record, size_t *first)
{
    const lv_turn *turns = record->turns;
    size_t n = record->n_turns;
    if (template->is_caption && n != 2) {
        return lv_fail(LV_ERR_FORMAT,
                       "template %s needs two turns (image, caption), the sample has %zu",
                       template->name, n);
    }
    *first = !template->is_caption && n > 0 && turns[0].role == LV_ROLE_GPT;
    for (size_t i = *first; i < n; i++) {
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
    return n_images == n_marks
               ? LV_OK
               : lv_fail(code, "%zu image%s, but %zu <image> mark%s", n_images,
                         n_images == 1 ? "" : "s", n_marks, n_marks == 1 ? "" : "s");
}

int lv_template_encode(lv_prompt *out, const lv_template *template, const lv_tokenizer *tokenizer,
                       const lv_record *record)
{
    lv_script script = {0};
    size_t first = 0, n_words = 0;
    int rc = check_turns(template, record, &first);
    if (rc == LV_OK && record->system_prompt && count_marks(record->system_prompt) > 0) {
        rc = lv_fail(LV_ERR_FORMAT, "\"system_prompt\" holds an <image> mark");
    }
    rc = rc < 0 ? rc : add_parts(&script, template->opening, template, record, "");
    for (size_t i = first; rc == LV_OK && i < record->n_turns; i++) {
        rc = add_turn(&script, template, record, &record->turns[i]);
    }
    rc = rc < 0 ? rc : check_marks(LV_ERR_FORMAT, record->n_images, script.n_images);
    rc = rc < 0 ? rc : lv_script_tokenise(out, &script, tokenizer);
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
    rc = placed ? add_parts(&script, template->question, template, NULL, placed)
                : lv_fail(LV_ERR_MEMORY, "out of memory for a prompt");
    /* Where a mark was taken out, what stood around it may be another one. */
    rc = rc < 0 ? rc : check_marks(LV_ERR_CONFIG, n_images, script.n_images);
    rc = rc < 0 ? rc : lv_script_tokenise(out, &script, tokenizer);
    if (rc == LV_OK) {
        out->n_words = lv_text_count_words(question);
    }
    free(marked);
    free(placed);
    lv_script_free(&script);
    return rc;
}
