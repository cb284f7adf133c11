/* SPDX-License-Identifier: Apache-2.0
 *
 * Values into parameters and out of them: from files, copied or mapped, and from functions.
 */
#include "train/model/params/internal.h"

#include "autograd/error.h"
#include "autograd/kernels/convert.h"
#include "autograd/rng.h"
#include "data/base/hash.h"

#include <string.h>

enum { PIECE_VALUES = 4096 };

/* Memory of its own for a frozen parameter that is written. */
static int reserve_values(lv_params *params, lv_param *param)
{
    LV_CHECK(params->allocated, "%s: values before lv_params_allocate", param->name);
    if (!param->tensor.data || param->mapped || param->copied) {
        lv_dtype dtype = lv_params_is_bf16(params, param) ? LV_BF16 : LV_F32;
        void *data = lv_params_place(params, param, dtype);
        if (!data) {
            return LV_ERR_MEMORY;
        }
        param->tensor.data = data;
        param->tensor.dtype = dtype;
        param->mapped = false;
        param->copied = false;
    }
    param->file_data = NULL;
    return LV_OK;
}

/* The rank's own masters among the flat elements [begin, begin+n), which the ops read in bf16. */
static void put_masters(const lv_params *params, int64_t begin, const lv_real *values, int64_t n)
{
    const lv_shard *shard = params->shard;
    for (int64_t k = lv_shard_bucket_of(shard, begin);
         k < shard->n_buckets && shard->buckets[k].begin < begin + n; k++) {
        const lv_bucket_shard *own = &shard->own[k];
        const int64_t from = own->begin > begin ? own->begin : begin;
        const int64_t to = own->end < begin + n ? own->end : begin + n;
        if (from < to) {
            memcpy(lv_params_master(params, own) + (from - own->begin), values + (from - begin),
                   (size_t)(to - from) * sizeof *values);
        }
    }
}

/* Elements [i, i+n) of a parameter, wherever it is kept. */
static void store_values(const lv_params *params, const lv_param *param, int64_t i,
                         const lv_real *values, int64_t n)
{
    if (param->tensor.dtype == LV_BF16) {
        lv_convert_from_real((uint16_t *)param->tensor.data + i, LV_BF16, values, n);
        if (param->trainable) {
            put_masters(params, param->offset + i, values, n);
        }
    } else {
        memcpy((lv_real *)param->tensor.data + i, values, (size_t)n * sizeof *values);
    }
}

static int check_shape(const lv_param *param, const lv_weight *weight)
{
    const lv_tensor *x = &param->tensor;
    const int n_dims = weight->n_dims;
    char expected[128], found[128];
    return n_dims == x->n_dims &&
                   memcmp(weight->shape, x->shape, (size_t)n_dims * sizeof *x->shape) == 0
               ? LV_OK
               : lv_fail(LV_ERR_SHAPE, "%s has the shape %s in the file, the model needs %s",
                         param->name, lv_shape_text(found, sizeof found, n_dims, weight->shape),
                         lv_shape_text(expected, sizeof expected, x->n_dims, x->shape));
}

/* Copies a file's values. What is bf16 in the file is the same bits in memory. */
static int set_values(lv_params *params, lv_param *param, const lv_weight *weight)
{
    int rc = reserve_values(params, param);
    if (rc < 0 || params->dry) {
        return rc;
    }
    const int64_t count = lv_tensor_count(&param->tensor);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += PIECE_VALUES) {
        lv_real values[PIECE_VALUES];
        int64_t n = count - i < PIECE_VALUES ? count - i : PIECE_VALUES;
        lv_convert_to_real(values, lv_element_const(weight->data, weight->dtype, i), weight->dtype,
                           n);
        store_values(params, param, i, values, n);
    }
    return LV_OK;
}

int lv_params_fill(lv_params *params, lv_param *param, lv_params_value *value, const void *context)
{
    int rc = reserve_values(params, param);
    if (rc < 0 || params->dry) {
        return rc;
    }
    const int64_t count = lv_tensor_count(&param->tensor);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += PIECE_VALUES) {
        lv_real values[PIECE_VALUES];
        int64_t n = count - i < PIECE_VALUES ? count - i : PIECE_VALUES;
        for (int64_t k = 0; k < n; k++) {
            values[k] = (lv_real)value(context, i + k);
        }
        store_values(params, param, i, values, n);
    }
    return LV_OK;
}

/* The source of an element, beside its index. */
typedef struct {
    uint64_t seed, name;
    double scale;
} init_draw;

static double uniform_value(const void *context, int64_t i)
{
    const init_draw *d = context;
    return d->scale * (2 * lv_random_uniform(d->seed, d->name, (uint64_t)i) - 1);
}

static double normal_value(const void *context, int64_t i)
{
    const init_draw *d = context;
    return d->scale * lv_random_normal(d->seed, d->name, (uint64_t)i);
}

static double constant_value(const void *context, int64_t i)
{
    (void)i;
    return ((const init_draw *)context)->scale;
}

int lv_params_init(lv_params *params, lv_param *param, lv_init init, uint64_t seed)
{
    init_draw draw = {seed, lv_hash_text(LV_HASH_START, param->name), init.scale};
    lv_params_value *value = constant_value;
    switch (init.kind) {
    case LV_INIT_NONE:
        return lv_fail(LV_ERR_CONFIG, "%s has no initial values: they have to come from a file",
                       param->name);
    case LV_INIT_ZERO:
    case LV_INIT_ONE:
        draw.scale = init.kind == LV_INIT_ONE;
        break;
    case LV_INIT_NORMAL:
        value = normal_value;
        break;
    case LV_INIT_UNIFORM:
        value = uniform_value;
        break;
    }
    return lv_params_fill(params, param, value, &draw);
}

int lv_params_init_part(lv_params *params, lv_part part, uint64_t seed)
{
    int rc = LV_OK;
    for (size_t i = 0; i < params->n && rc == LV_OK; i++) {
        lv_param *param = params->items[i];
        if (param->part == part) {
            rc = lv_params_init(params, param, param->init, seed);
        }
    }
    return rc;
}

/* The ops can read it in the file, unless a bf16 run has to narrow it. A parameter that is not used
 * is only saved again. */
static bool can_be_mapped(const lv_params *params, const lv_param *param, const lv_weight *weight)
{
    bool f32 = weight->dtype == LV_F32 && sizeof(lv_real) == sizeof(float) &&
               (uintptr_t)weight->data % sizeof(lv_real) == 0 && !lv_params_is_bf16(params, param);
    return !param->trainable && (!param->tensor.data || param->mapped) &&
           (!param->used || f32 || (weight->dtype == LV_BF16 && param->takes_bf16));
}

static bool is_to_be_copied(const lv_params *params, const lv_param *param)
{
    return params->copies && !param->trainable && param->used &&
           (!param->tensor.data || param->mapped || param->copied);
}

/* Sets the dtype now; of a plan, the address too. */
static int leave_to_copy(const lv_params *params, lv_param *param, const lv_weight *weight)
{
    const bool bf16 =
        lv_params_is_bf16(params, param) || (weight->dtype == LV_BF16 && param->takes_bf16);
    param->tensor.dtype = bf16 ? LV_BF16 : LV_F32;
    param->tensor.data = params->dry ? lv_params_place(params, param, param->tensor.dtype) : NULL;
    param->mapped = false;
    param->copied = true;
    return params->dry && !param->tensor.data ? LV_ERR_MEMORY : LV_OK;
}

int lv_params_map(lv_params *params, lv_param *param, const lv_weight *weight)
{
    int rc = check_shape(param, weight);
    if (rc == LV_OK && is_to_be_copied(params, param)) {
        rc = leave_to_copy(params, param, weight);
    } else if (rc == LV_OK && can_be_mapped(params, param, weight)) {
        /* read-only: nothing writes to it */
        param->tensor.data = (void *)(uintptr_t)weight->data;
        param->tensor.dtype = weight->dtype;
        param->mapped = true;
    } else if (rc == LV_OK) {
        rc = set_values(params, param, weight);
    }
    if (rc == LV_OK && !param->trainable) {
        param->file_data = weight->data;
        param->file_dtype = weight->dtype;
    }
    return rc;
}

int lv_params_assume(lv_params *params, lv_param *param, lv_dtype dtype)
{
    LV_CHECK(params->dry, "%s: assumed where no plan is made", param->name);
    lv_weight weight = {.name = param->name, .dtype = dtype, .n_dims = param->tensor.n_dims};
    memcpy(weight.shape, param->tensor.shape, sizeof weight.shape);
    weight.data = lv_params_place(params, param, dtype);
    return weight.data ? lv_params_map(params, param, &weight) : LV_ERR_MEMORY;
}

lv_tensor lv_params_exact(const lv_params *params, const lv_param *param)
{
    lv_tensor x = param->tensor;
    if (param->trainable && x.dtype == LV_BF16) {
        LV_CHECK(params->n_ranks == 1, "%s: its master is shared out among ranks", param->name);
        x.data = params->masters + param->offset;
        x.dtype = LV_F32;
    } else if (param->file_data) {
        x.data = (void *)(uintptr_t)param->file_data;
        x.dtype = param->file_dtype;
    }
    return x;
}

void lv_params_refresh(lv_params *params)
{
    const lv_shard *shard = params->shard;
    for (int64_t k = 0; k < shard->n_buckets && shard->buckets[k].end <= params->n_working; k++) {
        const lv_bucket_shard *own = &shard->own[k];
        lv_convert_from_real(params->working + own->begin, LV_BF16, lv_params_master(params, own),
                             own->end - own->begin);
    }
}

/* Each step is a bijection of word and lane: a changed word always changes its lane. */
static uint64_t hash_piece(const uint8_t *data, size_t n, uint64_t seed)
{
    enum { N_LANES = 4 }; /* the products of one lane wait for each other */
    static const uint64_t FACTOR = 0x9e3779b97f4a7c15u;
    uint64_t lane[N_LANES] = {seed, ~seed, seed ^ FACTOR, ~seed ^ FACTOR}, word[N_LANES];
    for (size_t i = 0; i < n; i += sizeof word) {
        if (n - i < sizeof word) {
            memset(word, 0, sizeof word);
        }
        memcpy(word, data + i, n - i < sizeof word ? n - i : sizeof word);
        for (int k = 0; k < N_LANES; k++) {
            lane[k] = (lane[k] ^ word[k]) * FACTOR;
            lane[k] ^= lane[k] >> 29;
        }
    }
    uint64_t hash = n;
    for (int k = 0; k < N_LANES; k++) {
        hash = (hash ^ lane[k]) * FACTOR;
        hash ^= hash >> 32;
    }
    return hash;
}

uint64_t lv_params_checksum(const lv_params *params)
{
    enum { PIECE_BYTES = 1 << 16 };
    uint64_t sum = 0; /* of integers: the same in any order */
    for (size_t i = 0; i < params->n; i++) {
        const lv_param *param = params->items[i];
        if (!param->trainable) {
            continue;
        }
        const uint8_t *data = param->tensor.data;
        const int64_t n_bytes =
            lv_tensor_count(&param->tensor) * (int64_t)lv_dtype_bytes(param->tensor.dtype);
#pragma omp parallel for schedule(static) reduction(+ : sum)
        for (int64_t at = 0; at < n_bytes; at += PIECE_BYTES) {
            const int64_t n = n_bytes - at < PIECE_BYTES ? n_bytes - at : PIECE_BYTES;
            sum += hash_piece(data + at, (size_t)n, ((uint64_t)i << 48) + (uint64_t)at);
        }
    }
    return sum;
}
