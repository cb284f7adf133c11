/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/units/data/template_fixture.h"

#include "autograd/error.h"
#include "data/json/json.h"
#include "tests/units/data/text_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

int encode(lv_prompt *out, const char *name, const lv_tokenizer *with, const cJSON *sample)
{
    lv_template *template = NULL;
    lv_record record;
    assert_ok(lv_template_open(&template, name));
    assert_ok(lv_record_parse(&record, sample));
    int rc = lv_template_encode(out, template, with, &record);
    lv_record_free(&record);
    lv_template_close(&template);
    return rc;
}

void has_ids(const lv_prompt *prompt, const cJSON *ids, const char *name)
{
    const cJSON *id = ids->child;
    bool same = (int)prompt->n_tokens == cJSON_GetArraySize(ids);
    for (size_t i = 0; same && i < prompt->n_tokens; i++, id = id->next) {
        same = prompt->tokens[i] == (int32_t)id->valuedouble;
    }
    if (!same) {
        fail_msg("%s: other ids than LLaVA's", name);
    }
}

void has_mask(const lv_prompt *prompt, const char *mask, const char *name)
{
    for (size_t i = 0; i < prompt->n_tokens; i++) {
        if (prompt->supervised[i] != (mask[i] == '1')) {
            fail_msg("%s: token %zu: supervised %d, LLaVA's mask %s", name, i,
                     prompt->supervised[i], mask);
        }
    }
}

static uint32_t crc_of_ids(const lv_prompt *prompt)
{
    uLong crc = crc32(0, NULL, 0);
    for (size_t i = 0; i < prompt->n_tokens; i++) {
        uint32_t id = (uint32_t)prompt->tokens[i];
        unsigned char bytes[] = {id & 0xFF, id >> 8 & 0xFF, id >> 16 & 0xFF, id >> 24};
        crc = crc32(crc, bytes, sizeof bytes);
    }
    return (uint32_t)crc;
}

void coco_file_matches(const char *file, const char *template, const cJSON *rows,
                       const lv_tokenizer *llama)
{
    cJSON *samples = NULL;
    lv_prompt prompt = {0};
    char name[64];
    snprintf(name, sizeof name, "coco/%s", file);
    char *path = data_path(name);
    assert_non_null(path);
    assert_ok(lv_json_read(&samples, path));
    const cJSON *row = rows->child;
    const cJSON *sample;
    size_t n = 0;
    cJSON_ArrayForEach (sample, samples) {
        assert_non_null(row);
        const cJSON *crc_mask = row->child->next;
        assert_ok(encode(&prompt, template, llama, sample));
        assert_int_equal(prompt.n_tokens, crc_mask->next->valuedouble);
        assert_int_equal(crc_of_ids(&prompt), row->child->valuedouble);
        assert_int_equal(prompt.n_supervised, crc_mask->next->next->valuedouble);
        assert_int_equal(crc32(0, prompt.supervised, (uInt)prompt.n_tokens), crc_mask->valuedouble);
        row = row->next;
        n++;
    }
    assert_null(row);
    print_message("# %s: %zu samples\n", file, n);
    lv_prompt_free(&prompt);
    cJSON_Delete(samples);
    free(path);
}

lv_tokenizer *open_llama(void)
{
    lv_tokenizer *llama = NULL;
    char *path = data_path("llama");
    if (path) {
        assert_ok(lv_tokenizer_open(&llama, path));
    }
    free(path);
    return llama;
}
