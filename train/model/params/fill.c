/* SPDX-License-Identifier: Apache-2.0 */
#include "train/model/params/fill.h"

#include "autograd/rng.h"
#include "data/base/hash.h"

/* What an element is drawn from, beside its index. */
typedef struct {
    uint64_t seed, name;
    double scale;
} draw;

static draw draw_of(const lv_param *param, double scale, uint64_t seed)
{
    return (draw){seed, lv_hash_text(LV_HASH_START, param->name), scale};
}

static double uniform(const void *context, int64_t i)
{
    const draw *d = context;
    return d->scale * (2 * lv_random_uniform(d->seed, d->name, (uint64_t)i) - 1);
}

static double normal(const void *context, int64_t i)
{
    const draw *d = context;
    return d->scale * lv_random_normal(d->seed, d->name, (uint64_t)i);
}

static double constant(const void *context, int64_t i)
{
    (void)i;
    return *(const double *)context;
}

int lv_fill_uniform(lv_params *params, lv_param *param, double bound, uint64_t seed)
{
    const draw d = draw_of(param, bound, seed);
    return lv_params_fill(params, param, uniform, &d);
}

int lv_fill_normal(lv_params *params, lv_param *param, double std, uint64_t seed)
{
    const draw d = draw_of(param, std, seed);
    return lv_params_fill(params, param, normal, &d);
}

int lv_fill_constant(lv_params *params, lv_param *param, double value)
{
    return lv_params_fill(params, param, constant, &value);
}
