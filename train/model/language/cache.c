/* SPDX-License-Identifier: Apache-2.0 */
#include "train/model/language/cache.h"

#include "autograd/error.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct lv_llama_cache {
    lv_dtype dtype;
    int64_t n_rows, capacity_rows, row_size; /* row_size = n_kv_heads * head_dim */
    void *data;                              /* (n_layers, 2, capacity_rows, row_size) */
};

int lv_llama_cache_create(lv_llama_cache **out, const lv_llama_config *config, lv_dtype dtype,
                          int64_t n_rows)
{
    lv_llama_cache *cache = calloc(1, sizeof *cache);
    size_t count;
    const int64_t row_size = config->n_kv_heads * config->head_dim;
    if (!cache || n_rows <= 0 ||
        __builtin_mul_overflow((size_t)row_size * 2 * (size_t)config->n_layers, (size_t)n_rows,
                               &count) ||
        !(cache->data = calloc(count, lv_dtype_bytes(dtype)))) {
        free(cache);
        return lv_fail(LV_ERR_MEMORY,
                       "no memory for the keys and values of %" PRId64 " tokens (%.0f bytes)",
                       n_rows,
                       (double)n_rows * (double)row_size * 2 * (double)config->n_layers *
                           (double)lv_dtype_bytes(dtype));
    }
    cache->dtype = dtype;
    cache->capacity_rows = n_rows;
    cache->row_size = row_size;
    *out = cache;
    return LV_OK;
}

void lv_llama_cache_destroy(lv_llama_cache **cache)
{
    if (*cache) {
        free((*cache)->data);
        free(*cache);
        *cache = NULL;
    }
}

int64_t lv_llama_cache_rows(const lv_llama_cache *cache)
{
    return cache->n_rows;
}

lv_tensor *lv_llama_cache_append(const lv_llama_cache *cache, lv_tape *tape, int64_t layer,
                                 lv_cache_half half, const lv_tensor *x)
{
    const int64_t R = x->shape[0], half_size = cache->capacity_rows * cache->row_size;
    void *data = lv_element(cache->data, cache->dtype, (2 * layer + (int)half) * half_size);
    LV_CHECK(x->dtype == cache->dtype, "rows of %s in a cache of %s", lv_dtype_name(x->dtype),
             lv_dtype_name(cache->dtype));
    LV_CHECK(R <= cache->capacity_rows - cache->n_rows,
             "%" PRId64 " more rows in a cache that has %" PRId64 " of %" PRId64, R, cache->n_rows,
             cache->capacity_rows);
    memcpy(lv_element(data, x->dtype, cache->n_rows * cache->row_size), x->data,
           (size_t)lv_tensor_count(x) * lv_dtype_bytes(x->dtype));
    return lv_tape_view(tape, data, x->dtype, 2, (int64_t[]){cache->n_rows + R, cache->row_size});
}

void lv_llama_cache_advance(lv_llama_cache *cache, int64_t R)
{
    cache->n_rows += R;
}
