/* SPDX-License-Identifier: Apache-2.0 */
#include "train/model/language/cache.h"

#include "autograd/error.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* capacity 0: the number is free. */
typedef struct {
    int64_t begin, n_rows, capacity;
} cached_sequence;

struct lv_llama_cache {
    lv_dtype dtype;
    int64_t n_layers, row_size; /* row_size = n_kv_heads * head_dim */
    int64_t room;
    void **halves; /* [2 * n_layers] (room, row_size) */
    cached_sequence *sequences;
    int n_sequences;
};

int lv_llama_cache_create(lv_llama_cache **out, const lv_llama_config *config, lv_dtype dtype)
{
    lv_llama_cache *cache = calloc(1, sizeof *cache);
    if (!cache || !(cache->halves = calloc(2 * (size_t)config->n_layers, sizeof *cache->halves))) {
        free(cache);
        return lv_fail(LV_ERR_MEMORY, "no memory for a cache of %" PRId64 " layers",
                       config->n_layers);
    }
    cache->dtype = dtype;
    cache->n_layers = config->n_layers;
    cache->row_size = config->n_kv_heads * config->head_dim;
    *out = cache;
    return LV_OK;
}

void lv_llama_cache_destroy(lv_llama_cache **cache)
{
    if (*cache) {
        for (int64_t i = 0; i < 2 * (*cache)->n_layers; i++) {
            free((*cache)->halves[i]);
        }
        free((*cache)->halves);
        free((*cache)->sequences);
        free(*cache);
        *cache = NULL;
    }
}

static lv_range extent(const cached_sequence *s)
{
    return (lv_range){s->begin, s->begin + s->capacity};
}

/* The first row from which `capacity` rows are nobody's; the end of all sequences has no bound. */
static int64_t first_fit(const lv_llama_cache *cache, int64_t capacity)
{
    int64_t begin = 0;
    for (int i = 0; i < cache->n_sequences;) {
        lv_range taken = extent(&cache->sequences[i++]);
        if (taken.begin < begin + capacity && begin < taken.end) {
            begin = taken.end;
            i = 0;
        }
    }
    return begin;
}

/* What is not written to takes no memory: calloc of so much is the system's own pages. */
static int grow(lv_llama_cache *cache, int64_t room)
{
    const size_t element = lv_dtype_bytes(cache->dtype);
    size_t count, bytes;
    bool fits = !__builtin_mul_overflow((size_t)room, (size_t)cache->row_size, &count) &&
                !__builtin_mul_overflow(count, element, &bytes);
    for (int64_t i = 0; i < 2 * cache->n_layers; i++) {
        char *grown = fits ? calloc(count, element) : NULL;
        if (!grown) {
            return lv_fail(LV_ERR_MEMORY,
                           "no memory for the keys and values of %" PRId64 " tokens (%.0f bytes)",
                           room,
                           (double)room * (double)cache->row_size * 2 * (double)cache->n_layers *
                               (double)element);
        }
        for (int s = 0; s < cache->n_sequences; s++) {
            const cached_sequence *kept = &cache->sequences[s];
            const int64_t at = kept->begin * cache->row_size;
            if (kept->n_rows > 0) {
                memcpy(lv_element(grown, cache->dtype, at),
                       lv_element(cache->halves[i], cache->dtype, at),
                       (size_t)(kept->n_rows * cache->row_size) * element);
            }
        }
        free(cache->halves[i]);
        cache->halves[i] = grown;
    }
    cache->room = room;
    return LV_OK;
}

static int free_number(lv_llama_cache *cache, int *number)
{
    int i = 0;
    while (i < cache->n_sequences && cache->sequences[i].capacity > 0) {
        i++;
    }
    if (i == cache->n_sequences) {
        cached_sequence *more = realloc(cache->sequences, (size_t)(i + 1) * sizeof *more);
        if (!more) {
            return lv_fail(LV_ERR_MEMORY, "no memory for %d sequences", i + 1);
        }
        more[i] = (cached_sequence){0};
        cache->sequences = more;
        cache->n_sequences = i + 1;
    }
    *number = i;
    return LV_OK;
}

int lv_llama_cache_add(lv_llama_cache *cache, int *sequence, int64_t capacity)
{
    int number = 0;
    LV_CHECK(capacity > 0, "a cached sequence of %" PRId64 " rows", capacity);
    int rc = free_number(cache, &number);
    const int64_t begin = first_fit(cache, capacity), end = begin + capacity;
    if (rc == LV_OK && end > cache->room) {
        rc = grow(cache, lv_max_i64(end, cache->room + cache->room / 2));
    }
    if (rc == LV_OK) {
        cache->sequences[number] = (cached_sequence){.begin = begin, .capacity = capacity};
        *sequence = number;
    }
    return rc;
}

static cached_sequence *of_number(const lv_llama_cache *cache, int sequence)
{
    LV_CHECK(sequence >= 0 && sequence < cache->n_sequences &&
                 cache->sequences[sequence].capacity > 0,
             "the cache has no sequence %d", sequence);
    return &cache->sequences[sequence];
}

void lv_llama_cache_remove(lv_llama_cache *cache, int sequence)
{
    *of_number(cache, sequence) = (cached_sequence){0};
}

lv_range lv_llama_cache_rows(const lv_llama_cache *cache, int sequence)
{
    const cached_sequence *s = of_number(cache, sequence);
    return (lv_range){s->begin, s->begin + s->n_rows};
}

int64_t lv_llama_cache_room(const lv_llama_cache *cache)
{
    return cache->room;
}

lv_tensor *lv_llama_cache_append(const lv_llama_cache *cache, lv_tape *tape, int64_t layer,
                                 lv_cache_half half, const lv_tensor *x, int64_t B,
                                 const int *sequences, const int64_t *seq_start)
{
    void *data = cache->halves[2 * layer + (int)half];
    LV_CHECK(x->dtype == cache->dtype, "rows of %s in a cache of %s", lv_dtype_name(x->dtype),
             lv_dtype_name(cache->dtype));
    for (int64_t b = 0; b < B; b++) {
        const cached_sequence *s = of_number(cache, sequences[b]);
        const int64_t R = seq_start[b + 1] - seq_start[b];
        LV_CHECK(R <= s->capacity - s->n_rows,
                 "%" PRId64 " more rows of a cached sequence that has %" PRId64 " of %" PRId64, R,
                 s->n_rows, s->capacity);
        memcpy(lv_element(data, x->dtype, (s->begin + s->n_rows) * cache->row_size),
               lv_element_const(x->data, x->dtype, seq_start[b] * cache->row_size),
               (size_t)(R * cache->row_size) * lv_dtype_bytes(x->dtype));
    }
    return lv_tape_view(tape, data, x->dtype, 2, (int64_t[]){cache->room, cache->row_size});
}

void lv_llama_cache_advance(lv_llama_cache *cache, int64_t B, const int *sequences,
                            const int64_t *seq_start)
{
    for (int64_t b = 0; b < B; b++) {
        of_number(cache, sequences[b])->n_rows += seq_start[b + 1] - seq_start[b];
    }
}
