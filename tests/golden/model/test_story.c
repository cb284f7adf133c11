/* SPDX-License-Identifier: Apache-2.0
 *
 * A real, trained LLaMA: its greedy text, token for token as transformers writes it. It runs
 * as the language model of a LLaVA whose vision tower is not used.
 */
#include "data/base/file.h"
#include "data/json/json.h"
#include "golden.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static lv_llava *open_story(const golden *g)
{
    lv_llava *model = NULL;
    char *story = lv_path("%s/story", getenv("LLAVA_TEST_DATA") ? getenv("LLAVA_TEST_DATA") : "");
    if (lv_dir_exists(story)) {
        const lv_llava_options options = {
            .vision_tower = g->vision_tower,
            .language_model = story,
            .projector_type = "linear",
        };
        golden_ok(lv_llava_open(&model, &options));
    }
    free(story);
    return model;
}

static void continue_prompt(const golden *g, lv_llava *model, const cJSON *json)
{
    int32_t prompt[64], tokens[128];
    uint8_t supervised[64] = {0};
    int64_t n = 0;
    lv_batch batch;
    const cJSON *item, *want = lv_json_find(json, "continuation");
    golden_sample sample = {.tokens = prompt, .supervised = supervised};
    cJSON_ArrayForEach (item, lv_json_find(json, "prompt")) {
        assert_in_range(sample.n, 0, 63);
        prompt[sample.n++] = (int32_t)item->valuedouble;
    }
    golden_batch_of(&batch, g, model, &sample, 1);
    const lv_generate_options options = {
        .max_new_tokens = cJSON_GetArraySize(want), .top_p = 1, .eos_token_id = 2};
    assert_in_range(options.max_new_tokens, 1, 128);
    golden_ok(golden_generate(model, &batch, &options, tokens, &n));
    assert_int_equal(n, cJSON_GetArraySize(want));
    for (int i = 0; i < n; i++) {
        assert_int_equal(tokens[i], golden_number(json, "continuation", i));
    }
    golden_batch_free(&batch);
}

static void greedy_text_of_a_trained_model_is_transformers_token_for_token(void **state)
{
    (void)state;
    golden g;
    cJSON *json = NULL;
    const cJSON *item;
    golden_open(&g, "gqa");
    lv_llava *model = open_story(&g);
    if (!model) {
        golden_close(&g);
        skip();
    }
    char *path = lv_path("%s/../story.json", g.dir);
    golden_ok(lv_json_read(&json, path));
    cJSON_ArrayForEach (item, json) {
        continue_prompt(&g, model, item);
    }
    free(path);
    cJSON_Delete(json);
    lv_llava_close(&model);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_text_of_a_trained_model_is_transformers_token_for_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
