/* SPDX-License-Identifier: Apache-2.0
 *
 * A run's configuration: the file, and what follows it as one override ("section.key=value"). What
 * is accepted can be used: it is accepted again as it is kept, and is equal to itself.
 */
#include "data/json/json.h"
#include "tests/fuzz/support.h"
#include "train/config/config.h"

#include <math.h>
#include <stdlib.h>

static void check_list(const lv_text_list *list)
{
    LV_CHECK(list->n <= LV_MAX_LIST, "a list of %zu texts", list->n);
    for (size_t i = 0; i < list->n; i++) {
        LV_CHECK(list->items[i], "text %zu of a list is missing", i);
    }
}

static void check_packs(const lv_config_packs *packs)
{
    LV_CHECK(packs->n <= LV_MAX_LIST, "a list of %zu packs", packs->n);
    for (size_t i = 0; i < packs->n; i++) {
        LV_CHECK(packs->paths[i] && packs->weights[i] > 0 && isfinite(packs->weights[i]),
                 "pack %zu of a list", i);
    }
}

static void check_config(const lv_config *config)
{
    lv_config again = {0};
    LV_CHECK(config->run.dir, "no run.dir");
    check_packs(&config->data.packs);
    check_packs(&config->data.val_packs);
    check_list(&config->train.trainable);
    LV_CHECK(config->data.max_length >= 0 && config->data.workers >= 0 &&
                 config->train.global_batch_size > 0 && config->train.micro_batch_tokens > 0 &&
                 config->train.val_every_steps >= 0 && config->checkpoint.keep > 0 &&
                 config->log.every_steps > 0,
             "a number out of range");
    LV_CHECK(isfinite(config->optim.lr) && config->optim.lr >= 0 && config->optim.beta1 < 1 &&
                 config->optim.beta2 < 1 && config->optim.warmup_ratio <= 1,
             "a setting of the optimizer out of range");
    fuzz_must(lv_config_from_json(&again, config->json), "reading an accepted config again");
    LV_CHECK(lv_json_equal(config->json, again.json), "it changed when it was read again");
    fuzz_must(lv_config_compare(config->json, again.json), "comparing a config with itself");
    lv_config_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_parts parts = fuzz_split(data, n);
    lv_config config = {0};
    char *set = fuzz_text(parts.second, parts.n_second);
    const char *const sets[] = {set};
    const char *path = fuzz_write("config.json", parts.first, parts.n_first);
    if (lv_config_read(&config, path, sets, parts.n_second > 0) == LV_OK) {
        check_config(&config);
        lv_config_free(&config);
    }
    free(set);
    return 0;
}
