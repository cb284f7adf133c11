/* SPDX-License-Identifier: Apache-2.0
 *
 * Conversation templates: a record to token ids and the mask of what is learnt. The mask comes
 * from spans noted while the prompt is built, never from texts that are tokenised again.
 * The text in [ ] is learnt; BOS comes first if the tokenizer adds it:
 *
 *   plain    <image>[caption "\n"]; the human's text and a system_prompt are discarded
 *   v1       system " USER: " question " ASSISTANT:"[" " answer EOS], and again from "USER: "
 *   v0       system "\n\n", then "### Human: " question "\n" or ["### Assistant: " answer "\n"],
 *            in any order, also empty ones, then ["### "]; of each "### Human: " the first two
 *            tokens are learnt too
 *   llama_2  "[INST] <<SYS>>\n" system "\n<</SYS>>\n\n" question " [/INST]"[" " answer " " EOS],
 *            and again: BOS "[INST] " question ...
 *   chatml   "<|im_start|>system\n" system "<|im_end|>", then, again and again,
 *            "<|im_start|>user\n" question "<|im_end|>" "<|im_start|>assistant\n"
 *            [answer "<|im_end|>"]; both marks are the tokenizer's pieces of that name, ordinary
 *            text if it has none
 *   FILE     a JSON file, below
 *
 * Where turns have to alternate (all but v0), a leading gpt turn is dropped, and an empty answer
 * is refused. A record's own system_prompt replaces the template's. In a turn with an
 * <image> mark the mark moves to the beginning, on a line of its own, as in LLaVA's training; in a
 * sample with several images the marks stay where they are, each followed by a newline. Either way
 * such a turn is stripped of white space at its ends. Nothing in a record's text becomes EOS, BOS
 * or another special piece.
 *
 * A template file is an object of lists of parts; configs/templates/ has some. A part is one of
 *   {"text": "USER: "}         this text
 *   {"piece": "<|im_end|>"}    the tokenizer's piece of that name; its name as text if it has none
 *   {"insert": WHAT}           turn: the text of the turn, images at its marks;
 *                              marks: its images alone; system: the system text; eos; bos
 * and is learnt with "learnt": true beside it; of a text, with "learnt_tokens": N, only its first
 * N tokens (up to 1000). Keys of the object:
 *   name         required; up to 64 letters, digits, '.', '_', '-'
 *   system       the system text, default ""
 *   opening      before the first turn
 *   human, gpt   required: a turn, with one {"insert": "turn"} (human: or "marks")
 *   human_empty  a human turn without text, default as human
 *   between      before every human turn but the first
 *   closing      after the last turn
 *   question     required: all of the prompt at inference, with one {"insert": "turn"}
 *   stop         text or piece that ends an answer at inference, beside EOS
 *   caption      true: two turns, an image and its caption
 *   free_turns   true: turns in any order, also empty ones
 * Any other key is refused. At most 12 parts a list and 1 MiB a file.
 */
#ifndef LV_DATA_CHAT_TEMPLATE_H
#define LV_DATA_CHAT_TEMPLATE_H

#include "data/chat/record.h"
#include "data/tokenizer/tokenizer.h"

enum { LV_IMAGE_TOKEN = -200 }; /* the image's place among the tokens of a pack */

typedef struct lv_template lv_template;

/* lv_prompt: start it with {0}, may be filled again, end it with lv_prompt_free. */
typedef struct {
    size_t n_tokens, capacity;
    int32_t *tokens;     /* ids, LV_IMAGE_TOKEN for an image */
    uint8_t *supervised; /* 1: this token is a label */
    size_t n_supervised;
    size_t n_images;
    size_t n_words; /* of all turns, split at white space as Python's split() */
} lv_prompt;
void lv_prompt_free(lv_prompt *prompt);

/* lv_template_open: one of the names above, or a file if there is a '/' in name or ".json" at its
 * end.
 * fails  LV_ERR_CONFIG naming those that there are; LV_ERR_IO, LV_ERR_FORMAT with file and key */
int lv_template_open(lv_template **out, const char *name);
void lv_template_close(lv_template **template);

/* lv_template_name: identifies the template: a file's name with the CRC-32 of its bytes. At
 * most 127 bytes; borrowed. */
const char *lv_template_name(const lv_template *template);

/* lv_template_stop: the text or piece that ends an answer beside EOS, NULL if there is none;
 * borrowed. */
const char *lv_template_stop(const lv_template *template);

/* lv_template_check: whether the tokenizer has the BOS and EOS that the template inserts, before
 * there is a record that needs them.
 * fails  LV_ERR_CONFIG, LV_ERR_MEMORY */
int lv_template_check(const lv_template *template, const lv_tokenizer *tokenizer);

/* lv_template_print_missing_pieces: one line on stderr if the tokenizer lacks a piece of the
 * template, which is then written as ordinary text. */
void lv_template_print_missing_pieces(const lv_template *template, const lv_tokenizer *tokenizer);

/* lv_template_encode: the training prompt of a record.
 * fails  LV_ERR_FORMAT with the reason for which the sample is rejected: turns that do not
 *        alternate, images and <image> marks that do not match, nothing supervised, ... */
int lv_template_encode(lv_prompt *out, const lv_template *template, const lv_tokenizer *tokenizer,
                       const lv_record *record);

/* lv_template_encode_question: the prompt for an answer that is still to be written.
 * in     question: may hold <image> marks; without one, n_images marks are put before it. Marks are
 *        placed as in training; plain takes its text as given
 * fails  LV_ERR_CONFIG if marks and n_images do not match */
int lv_template_encode_question(lv_prompt *out, const lv_template *template,
                                const lv_tokenizer *tokenizer, const char *question,
                                size_t n_images);

#endif
