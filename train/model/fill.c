/* SPDX-License-Identifier: Apache-2.0 */
#include "train/model/fill.h"

#include "autograd/error.h"
#include "autograd/rng.h"
#include "data/hash.h"

int lv_fill_uniform(lv_params *params, lv_param *param, double bound, uint64_t seed)
{
    int err = lv_params_reserve(params, param);
    if (err || lv_params_is_dry(params)) {
        return err;
    }
    const uint64_t name = lv_hash_text(LV_HASH_START, param->name);
    const int64_t n = lv_tensor_count(&param->tensor);
    lv_real *values = lv_tensor_real(&param->tensor);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        values[i] = (lv_real)(bound * (2 * lv_random_uniform(seed, name, (uint64_t)i) - 1));
    }
    return LV_OK;
}

int lv_fill_normal(lv_params *params, lv_param *param, double std, uint64_t seed)
{
    int err = lv_params_reserve(params, param);
    if (err) {
        return err;
    }
    const uint64_t name = lv_hash_text(LV_HASH_START, param->name);
    const int64_t n = lv_tensor_count(&param->tensor);
    lv_real *values = lv_tensor_real(&param->tensor);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        values[i] = (lv_real)(std * lv_random_normal(seed, name, (uint64_t)i));
    }
    return LV_OK;
}

int lv_fill_constant(lv_params *params, lv_param *param, double value)
{
    int err = lv_params_reserve(params, param);
    if (err) {
        return err;
    }
    const int64_t n = lv_tensor_count(&param->tensor);
    lv_real *values = lv_tensor_real(&param->tensor);
    for (int64_t i = 0; i < n; i++) {
        values[i] = (lv_real)value;
    }
    return LV_OK;
}
