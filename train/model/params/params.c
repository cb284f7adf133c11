/* SPDX-License-Identifier: Apache-2.0 */
#include "train/model/params/internal.h"

#include "autograd/error.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64, LIST_BYTES = 512 };

static const int64_t ONE_BUCKET = INT64_MAX; /* a single rank sends nothing */

static const size_t DRY_ADDRESS_BYTES = (size_t)1 << 42; /* more than any node's memory */

void lv_params_share_set(lv_params *params, int rank, int n_ranks, int64_t bucket_count)
{
    LV_CHECK(!params->allocated, "shared out after the memory was given");
    params->rank = rank;
    params->n_ranks = n_ranks;
    params->bucket_count = bucket_count;
}

int lv_params_create(lv_params **out)
{
    lv_params *params = calloc(1, sizeof *params);
    if (!params) {
        return lv_fail(LV_ERR_MEMORY, "out of memory");
    }
    lv_params_share_set(params, 0, 1, ONE_BUCKET);
    *out = params;
    return LV_OK;
}

void lv_params_destroy(lv_params **params)
{
    lv_params *p = *params;
    if (!p) {
        return;
    }
    for (size_t i = 0; i < p->n; i++) {
        if (!p->items[i]->trainable && !p->items[i]->mapped && !p->items[i]->copied && !p->dry) {
            free(p->items[i]->tensor.data);
        }
        free(p->items[i]->name);
        free(p->items[i]);
    }
    for (size_t i = 0; i < p->n_kept; i++) {
        lv_weights_close(&p->kept[i]);
    }
    free(p->kept);
    free(p->items);
    if (!p->dry) {
        free(p->masters);
        free(p->flat_grad);
        free(p->working);
    }
    lv_shard_destroy(&p->shard);
    lv_arena_destroy(&p->dry);
    free(p);
    *params = NULL;
}

int lv_params_dry_set(lv_params *params)
{
    LV_CHECK(!params->allocated, "a plan is declared after the memory was given");
    return lv_arena_create(&params->dry, "plan's", DRY_ADDRESS_BYTES);
}

void lv_params_dtype_set(lv_params *params, lv_dtype dtype)
{
    LV_CHECK(!params->allocated && (dtype == LV_F32 || dtype == LV_BF16),
             "a run of %s, or declared after the memory was given", lv_dtype_name(dtype));
    params->dtype = dtype;
}

void lv_params_part_begin(lv_params *params, lv_part part)
{
    params->part = part;
}

const char *lv_part_name(lv_part part)
{
    static const char *const names[LV_N_PARTS] = {
        [LV_PART_VISION] = "vision_tower",
        [LV_PART_CONNECTOR] = "projector",
        [LV_PART_LANGUAGE] = "language_model",
        [LV_PART_ADAPTER] = "adapter",
    };
    return names[part];
}

static void add_param(lv_params *params, lv_param *param)
{
    if (params->n == params->capacity) {
        params->capacity = params->capacity ? 2 * params->capacity : 64;
        params->items = realloc(params->items, params->capacity * sizeof *params->items);
        LV_CHECK(params->items, "out of memory for the list of parameters");
    }
    params->items[params->n++] = param;
}

lv_tensor *lv_params_declare(lv_params *params, const char *name, int n_dims, const int64_t *shape,
                             bool decay, bool used)
{
    LV_CHECK(!params->allocated, "%s is declared after the memory was given", name);
    LV_CHECK(!lv_params_find(params, name), "%s is declared twice", name);
    LV_CHECK(n_dims >= 1 && n_dims <= LV_MAX_DIMS, "%s: %d dims", name, n_dims);
    lv_param *param = calloc(1, sizeof *param);
    LV_CHECK(param, "out of memory for %s", name);
    *param = (lv_param){
        .name = strdup(name), .part = params->part, .decay = decay, .used = used, .offset = -1};
    LV_CHECK(param->name, "out of memory for %s", name);
    param->tensor = (lv_tensor){.dtype = LV_F32, .n_dims = n_dims, .is_param = true};
    for (int i = 0; i < LV_MAX_DIMS; i++) {
        param->tensor.shape[i] = i < n_dims ? shape[i] : 1;
        LV_CHECK(param->tensor.shape[i] > 0, "%s: dim %d is %" PRId64, name, i, shape[i]);
    }
    add_param(params, param);
    return &param->tensor;
}

size_t lv_params_count(const lv_params *params)
{
    return params->n;
}

lv_param *lv_params_at(lv_params *params, size_t i)
{
    LV_CHECK(i < params->n, "parameter %zu of %zu", i, params->n);
    return params->items[i];
}

lv_param *lv_params_find(lv_params *params, const char *name)
{
    for (size_t i = 0; i < params->n; i++) {
        if (strcmp(params->items[i]->name, name) == 0) {
            return params->items[i];
        }
    }
    return NULL;
}

lv_param *lv_params_of(lv_params *params, const lv_tensor *tensor)
{
    size_t i = params->n;
    while (i > 0 && &params->items[i - 1]->tensor != tensor) { /* most often the newest */
        i--;
    }
    LV_CHECK(i > 0, "a tensor that is no parameter");
    return params->items[i - 1];
}

size_t lv_params_count_of(const lv_params *params, lv_part part)
{
    size_t n = 0;
    for (size_t i = 0; i < params->n; i++) {
        n += params->items[i]->part == part;
    }
    return n;
}

bool lv_params_trains(const lv_params *params, lv_part part)
{
    for (size_t i = 0; i < params->n; i++) {
        if (params->items[i]->part == part && params->items[i]->trainable) {
            return true;
        }
    }
    return false;
}

static bool fits(const char *glob, const char *name)
{
    size_t len = strlen(glob);
    return strpbrk(glob, "*?[")
               ? fnmatch(glob, name, 0) == 0
               : strncmp(glob, name, len) == 0 && (name[len] == '.' || name[len] == '\0');
}

/* The first components of the names of trainable parameters: "vision_tower, projector". */
static void list_groups(const lv_params *params, char text[LIST_BYTES])
{
    const char *last = "";
    size_t last_len = 0, at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < params->n && at < LIST_BYTES; i++) {
        const char *name = params->items[i]->name;
        size_t len = strcspn(name, ".");
        if (!params->items[i]->used || (len == last_len && strncmp(name, last, len) == 0)) {
            continue;
        }
        at +=
            (size_t)snprintf(text + at, LIST_BYTES - at, "%s%.*s", at ? ", " : "", (int)len, name);
        last = name;
        last_len = len;
    }
}

int lv_params_set_trainable(lv_params *params, const char *const *globs, size_t n_globs)
{
    char groups[LIST_BYTES];
    LV_CHECK(!params->allocated, "trainable parameters are chosen after the memory was given");
    for (size_t g = 0; g < n_globs; g++) {
        bool found = false;
        for (size_t i = 0; i < params->n && !found; i++) {
            found = params->items[i]->used && fits(globs[g], params->items[i]->name);
        }
        if (!found) {
            list_groups(params, groups);
            return lv_fail(LV_ERR_CONFIG,
                           "\"%s\" fits no parameter that can be trained; their names begin with "
                           "%s",
                           globs[g], groups);
        }
    }
    for (size_t i = 0; i < params->n; i++) {
        lv_param *param = params->items[i];
        param->trainable = false;
        for (size_t g = 0; g < n_globs; g++) {
            param->trainable |= param->used && fits(globs[g], param->name);
        }
        param->tensor.requires_grad = param->trainable;
    }
    return LV_OK;
}

/* Aligned memory for count values of dtype; NULL with the message set if there is none. */
static void *allocate_values(const lv_params *params, int64_t count, lv_dtype dtype,
                             const char *what)
{
    size_t bytes;
    if (__builtin_mul_overflow((size_t)count, lv_dtype_bytes(dtype), &bytes) ||
        bytes > SIZE_MAX - ALIGNMENT) {
        lv_fail(LV_ERR_MEMORY, "%s: %" PRId64 " values are too many", what, count);
        return NULL;
    }
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    void *data = NULL;
    if (!params->dry) {
        data = aligned_alloc(ALIGNMENT, bytes);
    } else if (bytes <= DRY_ADDRESS_BYTES - lv_arena_mark(params->dry)) {
        data = lv_arena_alloc(params->dry, bytes);
    }
    if (!data) {
        lv_fail(LV_ERR_MEMORY, "%s: no memory for %zu bytes", what, bytes);
    }
    return data;
}

/* lv_tensor_count, checked for overflow: no file has confirmed the shape. */
static bool count_of(const lv_tensor *x, int64_t *count)
{
    *count = 1;
    for (int i = 0; i < x->n_dims; i++) {
        if (__builtin_mul_overflow(*count, x->shape[i], count)) {
            return false;
        }
    }
    return true;
}

void *lv_params_place(const lv_params *params, const lv_param *param, lv_dtype dtype)
{
    int64_t count;
    if (!count_of(&param->tensor, &count)) {
        lv_fail(LV_ERR_MEMORY, "%s: too many values", param->name);
        return NULL;
    }
    return allocate_values(params, count, dtype, param->name);
}

/* The rank's own masters and all values that the ops read in f32. */
static int64_t n_f32_values(const lv_params *params)
{
    return params->n_own_working + params->flat_count - params->n_working;
}

static int allocate_flat(lv_params *params)
{
    const lv_shard *shard = params->shard;
    for (int64_t k = 0; k < shard->n_buckets && shard->buckets[k].end <= params->n_working; k++) {
        params->n_own_working += shard->own[k].end - shard->own[k].begin;
    }
    params->flat_grad = allocate_values(params, params->flat_count, LV_F32, "the gradients");
    params->masters =
        allocate_values(params, n_f32_values(params), LV_F32, "the trainable parameters");
    if (params->n_working > 0) {
        params->working =
            allocate_values(params, params->n_working, LV_BF16, "the working weights");
    }
    if (!params->flat_grad || !params->masters || (params->n_working > 0 && !params->working)) {
        return LV_ERR_MEMORY; /* lv_params_destroy frees what there is */
    }
    if (!params->dry) {
        memset(params->flat_grad, 0, (size_t)params->flat_count * sizeof(lv_real));
    }
    return LV_OK;
}

/* Offsets in the flat buffers of the trainable parameters that the ops read in bf16, or in f32. */
static int place_flat(lv_params *params, bool bf16)
{
    int64_t count;
    for (size_t i = 0; i < params->n; i++) {
        lv_param *param = params->items[i];
        if (!param->trainable || lv_params_is_bf16(params, param) != bf16) {
            continue;
        }
        param->offset = params->flat_count;
        if (!count_of(&param->tensor, &count) ||
            __builtin_add_overflow(params->flat_count, count, &params->flat_count)) {
            return lv_fail(LV_ERR_MEMORY, "%s: too many values", param->name);
        }
    }
    return LV_OK;
}

int lv_params_allocate(lv_params *params)
{
    LV_CHECK(!params->allocated, "parameters are allocated once");
    int rc = place_flat(params, true);
    params->n_working = params->flat_count;
    if (rc == LV_OK) rc = place_flat(params, false);
    if (rc == LV_OK) {
        rc = lv_shard_create(&params->shard, params->flat_count, params->n_working,
                             params->bucket_count, params->rank, params->n_ranks);
    }
    if (rc == LV_OK && params->flat_count > 0) rc = allocate_flat(params);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < params->n; i++) {
        lv_param *param = params->items[i];
        if (param->trainable) {
            param->tensor.data = lv_params_read_at(params, param->offset, &param->tensor.dtype);
            param->tensor.grad = params->flat_grad + param->offset;
        }
    }
    params->allocated = true;
    return LV_OK;
}

void lv_params_keep(lv_params *params, lv_weights **weights)
{
    lv_weights **kept = realloc(params->kept, (params->n_kept + 1) * sizeof *kept);
    LV_CHECK(kept, "out of memory for a list of files");
    params->kept = kept;
    params->kept[params->n_kept++] = *weights;
    *weights = NULL;
}

int64_t lv_params_flat_count(const lv_params *params)
{
    return params->flat_count;
}

lv_real *lv_params_flat_grad(lv_params *params)
{
    return params->flat_grad;
}

const lv_shard *lv_params_shard(const lv_params *params)
{
    return params->shard;
}

lv_real *lv_params_master(const lv_params *params, const lv_bucket_shard *own)
{
    return own->begin < params->n_working ? params->masters + own->at
                                          : lv_params_f32_at(params, own->begin);
}

void *lv_params_read_at(const lv_params *params, int64_t i, lv_dtype *dtype)
{
    *dtype = i < params->n_working ? LV_BF16 : LV_F32;
    return i < params->n_working ? (void *)(params->working + i)
                                 : (void *)lv_params_f32_at(params, i);
}

void lv_params_grad_begin(lv_params *params)
{
    for (size_t i = 0; i < params->n; i++) {
        params->items[i]->tensor.grad_begun = false;
    }
}

void lv_params_grad_end(lv_params *params)
{
    for (size_t i = 0; i < params->n; i++) {
        lv_tensor *x = &params->items[i]->tensor;
        if (x->grad && !x->grad_begun) {
            memset(x->grad, 0, (size_t)lv_tensor_count(x) * sizeof(lv_real));
            x->grad_begun = true;
        }
    }
}

lv_params_memory lv_params_memory_of(const lv_params *params)
{
    lv_params_memory memory = {
        .trained_bytes = n_f32_values(params) * (int64_t)sizeof(lv_real),
        .grad_bytes = params->flat_count * (int64_t)sizeof(lv_real),
        .working_bytes = params->n_working * (int64_t)sizeof(uint16_t),
    };
    for (size_t i = 0; i < params->n; i++) {
        const lv_param *param = params->items[i];
        int64_t bytes =
            lv_tensor_count(&param->tensor) * (int64_t)lv_dtype_bytes(param->tensor.dtype);
        if (param->trainable || !param->tensor.data) {
            continue;
        }
        if (param->copied) {
            memory.copied_bytes += bytes;
        } else if (!param->mapped) {
            memory.frozen_bytes += bytes;
        } else if (param->used) { /* what no step reads stays in its file */
            memory.mapped_bytes += bytes;
        }
    }
    return memory;
}
