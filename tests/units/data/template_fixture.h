/* SPDX-License-Identifier: Apache-2.0
 *
 * Samples through templates, and what LLaVA makes of them.
 */
#ifndef LV_TESTS_TEMPLATE_FIXTURE_H
#define LV_TESTS_TEMPLATE_FIXTURE_H

#include "data/chat/template.h"

#include <cjson/cJSON.h>

#define HUMAN(text) "{\"from\": \"human\", \"value\": \"" text "\"}"
#define GPT(text) "{\"from\": \"gpt\", \"value\": \"" text "\"}"
#define SAMPLE(image, turns) "{" image "\"conversations\": [" turns "]}"
#define ONE "\"image\": \"a.jpg\", "
#define TWO "\"image\": [\"a.jpg\", \"b.jpg\"], "

/* encode: the sample through the template of that name or file; as lv_template_encode. */
int encode(lv_prompt *out, const char *name, const lv_tokenizer *with, const cJSON *sample);

/* Fail the test by the sample's name. mask: a '0' or '1' a token. */
void has_ids(const lv_prompt *prompt, const cJSON *ids, const char *name);
void has_mask(const lv_prompt *prompt, const char *mask, const char *name);

/* coco_file_matches: every sample of a file of coco/; rows are [CRC-32 of ids, of mask, number of
 * ids, of supervised ones]. */
void coco_file_matches(const char *file, const char *template, const cJSON *rows,
                       const lv_tokenizer *llama);

/* open_llama: LLaMA's tokenizer of the real data, NULL if it is not there. */
lv_tokenizer *open_llama(void);

#endif
