/* SPDX-License-Identifier: Apache-2.0 */
#include "train/model/llava/llava.h"

#include "autograd/error.h"
#include "train/model/llava/internal.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_VOCAB_ELEMENTS = 1 << 25 }; /* of the embedding: few rows are supervised */

static const double BOUND = 0.05; /* of every weight: no overflow, no denormals */

static int64_t at_least_one(double n)
{
    return n > 1 ? llround(n) : 1;
}

static lv_llava_config thin(const lv_llava_config *whole, double share)
{
    lv_llava_config config = *whole;
    int64_t n_run = 0;
    int rc = lv_vision_n_run(&n_run, &whole->vision, whole->vision_select_layer);
    LV_CHECK(rc == LV_OK, "a model that was not opened");
    const int64_t most_rows = MAX_VOCAB_ELEMENTS / whole->text.hidden_size + 1;
    config.text.n_layers = at_least_one(share * (double)whole->text.n_layers);
    if (config.text.vocab_size > most_rows) {
        config.text.vocab_size = most_rows;
    }
    config.vision.n_layers = at_least_one(share * (double)n_run);
    config.vision_select_layer = n_run > 0 ? -1 : 0;
    return config;
}

/* Trains what the whole model trains, by name: a name is a glob that fits only itself. */
static int train_the_same(lv_params *params, lv_llava *like)
{
    const size_t n = lv_params_count(params);
    const char **names = calloc(n, sizeof *names);
    size_t n_names = 0;
    if (!names) {
        return lv_fail(LV_ERR_MEMORY, "no memory for the names of %zu parameters", n);
    }
    for (size_t i = 0; i < n; i++) {
        const char *name = lv_params_at(params, i)->name;
        const lv_param *param = lv_params_find(lv_llava_params(like), name);
        if (param && param->trainable && lv_params_at(params, i)->used) {
            names[n_names++] = name;
        }
    }
    int rc = lv_params_set_trainable(params, names, n_names);
    free(names);
    return rc;
}

static int init_all(lv_params *params)
{
    int rc = lv_params_allocate(params);
    for (size_t i = 0; rc == LV_OK && i < lv_params_count(params); i++) {
        rc = lv_params_init(params, lv_params_at(params, i), (lv_init){LV_INIT_UNIFORM, BOUND}, 0);
    }
    return rc;
}

int lv_llava_probe(lv_llava **out, lv_llava *like, lv_precision precision, double share)
{
    lv_llava *model = calloc(1, sizeof *model);
    if (!model) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a model");
    }
    model->config = thin(&like->config, share);
    model->recompute = like->recompute;
    model->dtype = like->dtype;
    int rc = lv_params_create(&model->params);
    if (rc == LV_OK) rc = lv_llava_declare(model);
    if (rc == LV_OK && precision == LV_PRECISION_BF16) {
        lv_params_dtype_set(model->params, LV_BF16);
    }
    if (rc == LV_OK) rc = train_the_same(model->params, like);
    if (rc == LV_OK) rc = init_all(model->params);
    if (rc < 0) {
        lv_llava_close(&model);
        return rc;
    }
    *out = model;
    return LV_OK;
}
