/* SPDX-License-Identifier: Apache-2.0 */
#include "data/loader/sampler.h"

#include "autograd/error.h"
#include "data/base/hash.h"
#include "data/loader/modality.h"
#include "data/loader/permutation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Uses of a key, apart from other uses of the seed. */
enum { KEY_EPOCH = 0x5a4d, KEY_PASS, KEY_KIND, KEY_MEGABATCHES };

/* One pack. Without grouping all its samples are of one kind, the first, and modality is empty. */
typedef struct {
    int64_t first_id, n, per_epoch;
    int64_t n_of[LV_N_MODALITIES];
    const lv_sample_counts *counts;
    lv_modality modality;
} stream;

typedef struct {
    int64_t id, n_words, place;
} item;

struct lv_sampler {
    lv_sampler_options options; /* packs NULL: the streams have copies */
    stream *streams;
    int64_t epoch_samples, n_steps;
    item *items; /* of grouping: up to two megabatches */
};

/* ---- an epoch ---- */

static int64_t samples_per_epoch(const lv_sampler_pack *pack)
{
    LV_CHECK(pack->n_samples >= 0 && pack->weight > 0, "%lld samples of weight %g",
             (long long)pack->n_samples, pack->weight);
    if (pack->weight == 1 || pack->n_samples == 0) {
        return pack->n_samples;
    }
    int64_t n = llround(pack->weight * (double)pack->n_samples);
    return n > 0 ? n : 1;
}

int64_t lv_sampler_epoch_samples(const lv_sampler_options *options)
{
    int64_t n = 0;
    for (int p = 0; p < options->n_packs; p++) {
        LV_CHECK(!__builtin_add_overflow(n, samples_per_epoch(&options->packs[p]), &n),
                 "the samples of an epoch do not fit 64 bits");
    }
    return n;
}

static int64_t ceil_divide(int64_t n, int64_t by)
{
    return n / by + (n % by != 0);
}

int64_t lv_sampler_steps_per_epoch(const lv_sampler_options *options)
{
    LV_CHECK(options->global_batch_size > 0, "global batch size %lld",
             (long long)options->global_batch_size);
    return ceil_divide(lv_sampler_epoch_samples(options), options->global_batch_size);
}

/* How many samples of a kind the stream gave before an epoch. Up to sample p of a pass there are
 * floor(p * images / n) with an image. */
static int64_t given_before(const stream *s, lv_modality_kind kind, int64_t epoch)
{
    int64_t all, n_images = s->n_of[LV_MODALITY_IMAGE];
    LV_CHECK(!__builtin_mul_overflow(epoch, s->per_epoch, &all), "epoch %lld", (long long)epoch);
    if (n_images == 0 || s->n == 0) {
        return kind == LV_MODALITY_TEXT ? all : 0;
    }
    n_images = all / s->n * n_images + all % s->n * n_images / s->n;
    return kind == LV_MODALITY_IMAGE ? n_images : all - n_images;
}

static int64_t given_in(const stream *s, lv_modality_kind kind, int64_t epoch)
{
    return given_before(s, kind, epoch + 1) - given_before(s, kind, epoch);
}

static int64_t epoch_kind(const lv_sampler *sampler, lv_modality_kind kind, int64_t epoch)
{
    int64_t n = 0;
    for (int p = 0; p < sampler->options.n_packs; p++) {
        n += given_in(&sampler->streams[p], kind, epoch);
    }
    return n;
}

/* The k-th of the epoch's samples of a kind, the packs one after the other. */
static item item_at(const lv_sampler *sampler, lv_modality_kind kind, int64_t epoch, int64_t k)
{
    const stream *s = sampler->streams;
    for (int64_t n; k >= (n = given_in(s, kind, epoch)); s++) {
        k -= n;
    }
    const int64_t at = given_before(s, kind, epoch) + k, n = s->n_of[kind];
    int64_t index = at % n;
    if (sampler->options.shuffle && s->per_epoch % s->n != 0) { /* whole passes need no order */
        uint64_t pack = (uint64_t)(s - sampler->streams);
        uint64_t high = (pack * LV_N_MODALITIES + kind) << 32 | KEY_PASS;
        uint64_t key = lv_permutation_key(sampler->options.seed, high, (uint64_t)(at / n));
        lv_permutation pass = lv_permutation_make(n, key);
        index = lv_permutation_at(&pass, index);
    }
    if (sampler->options.group_by_modality_length) {
        index = lv_modality_find(&s->modality, kind, index);
        return (item){.id = s->first_id + index, .n_words = s->counts[index].n_words};
    }
    return (item){.id = s->first_id + index};
}

static lv_permutation permutation_of(const lv_sampler *sampler, int64_t n, uint64_t what,
                                     int64_t epoch)
{
    return lv_permutation_make(n, lv_permutation_key(sampler->options.seed, what, (uint64_t)epoch));
}

/* ---- grouping ---- */

static int most_words_first(const void *a, const void *b)
{
    const item *x = a, *y = b;
    if (x->n_words != y->n_words) {
        return x->n_words > y->n_words ? -1 : 1;
    }
    return x->place < y->place ? -1 : x->place > y->place;
}

static int lowest_id_first(const void *a, const void *b)
{
    const item *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Megabatch g of a kind into out, longest first. returns its size */
static int64_t megabatch(const lv_sampler *sampler, lv_modality_kind kind, int64_t epoch, int64_t g,
                         item *out)
{
    const int64_t size = sampler->options.global_batch_size;
    const int64_t n_kind = epoch_kind(sampler, kind, epoch), first = g * size;
    const int64_t n = n_kind - first < size ? n_kind - first : size;
    lv_permutation order = permutation_of(sampler, n_kind, (uint64_t)kind << 32 | KEY_KIND, epoch);
    for (int64_t i = 0; i < n; i++) {
        out[i] = item_at(sampler, kind, epoch, lv_permutation_at(&order, first + i));
        out[i].place = i;
    }
    qsort(out, (size_t)n, sizeof *out, most_words_first);
    return n;
}

/* The step's samples, from *items. returns how many */
static int64_t grouped_step(const lv_sampler *sampler, int64_t epoch, int64_t step,
                            const item **items)
{
    const int64_t size = sampler->options.global_batch_size;
    const int64_t n_images = epoch_kind(sampler, LV_MODALITY_IMAGE, epoch);
    const int64_t n_texts = sampler->epoch_samples - n_images;
    item *out = sampler->items;
    *items = out;
    if (n_images == 0 || n_texts == 0) {
        lv_modality_kind kind = n_images > 0 ? LV_MODALITY_IMAGE : LV_MODALITY_TEXT;
        return megabatch(sampler, kind, epoch, step, out);
    }
    const int64_t last_image = ceil_divide(n_images, size) - 1;
    const int64_t last_text = ceil_divide(n_texts, size) - 1;
    if (step < last_image + last_text) {
        lv_permutation order =
            permutation_of(sampler, last_image + last_text, KEY_MEGABATCHES, epoch);
        int64_t g = lv_permutation_at(&order, step);
        return g < last_image ? megabatch(sampler, LV_MODALITY_IMAGE, epoch, g, out)
                              : megabatch(sampler, LV_MODALITY_TEXT, epoch, g - last_image, out);
    }
    int64_t n = megabatch(sampler, LV_MODALITY_IMAGE, epoch, last_image, out);
    n += megabatch(sampler, LV_MODALITY_TEXT, epoch, last_text, out + n);
    qsort(out, (size_t)n, sizeof *out, lowest_id_first);
    const int64_t begin = (step - last_image - last_text) * size;
    *items = out + begin;
    return n - begin < size ? n - begin : size;
}

int64_t lv_sampler_batch(lv_sampler *sampler, int64_t epoch, int64_t step, int64_t *ids)
{
    LV_CHECK(epoch >= 0 && step >= 0 && step < sampler->n_steps, "epoch %lld, step %lld of %lld",
             (long long)epoch, (long long)step, (long long)sampler->n_steps);
    if (sampler->options.group_by_modality_length) {
        const item *items;
        int64_t n = grouped_step(sampler, epoch, step, &items);
        for (int64_t i = 0; i < n; i++) {
            ids[i] = items[i].id;
        }
        return n;
    }
    const int64_t size = sampler->options.global_batch_size, first = step * size;
    const int64_t left = sampler->epoch_samples - first, n = left < size ? left : size;
    lv_permutation order = permutation_of(sampler, sampler->epoch_samples, KEY_EPOCH, epoch);
    for (int64_t i = 0; i < n; i++) {
        int64_t k = sampler->options.shuffle ? lv_permutation_at(&order, first + i) : first + i;
        ids[i] = item_at(sampler, LV_MODALITY_TEXT, epoch, k).id;
    }
    return n;
}

uint64_t lv_sampler_hash(const int64_t *ids, int64_t n)
{
    uint64_t hash = LV_HASH_START;
    for (int64_t i = 0; i < n; i++) {
        hash = lv_hash_uint64(hash, (uint64_t)ids[i]);
    }
    return hash;
}

/* ---- creation ---- */

static int fill_stream(stream *s, const lv_sampler_pack *pack, int64_t first_id, bool grouped)
{
    *s = (stream){.first_id = first_id,
                  .n = pack->n_samples,
                  .per_epoch = samples_per_epoch(pack),
                  .n_of = {[LV_MODALITY_TEXT] = pack->n_samples},
                  .counts = pack->counts};
    if (!grouped) {
        return LV_OK;
    }
    if (pack->n_samples > INT32_MAX) { /* given_before multiplies two such numbers */
        return lv_fail(LV_ERR_UNSUPPORTED, "grouping the %lld samples of one pack",
                       (long long)pack->n_samples);
    }
    int rc = lv_modality_create(&s->modality, pack->counts, pack->n_samples);
    if (rc == LV_OK) {
        memcpy(s->n_of, s->modality.n, sizeof s->n_of);
    }
    return rc;
}

static int fill_sampler(lv_sampler *sampler, const lv_sampler_options *options)
{
    const bool grouped = options->group_by_modality_length;
    const int64_t size = options->global_batch_size;
    int64_t first_id = 0;
    int rc = LV_OK;
    sampler->epoch_samples = lv_sampler_epoch_samples(options);
    sampler->n_steps = lv_sampler_steps_per_epoch(options);
    const int64_t n_items = sampler->n_steps > 1 ? 2 * size : sampler->epoch_samples;
    sampler->streams = calloc((size_t)options->n_packs + 1, sizeof *sampler->streams);
    sampler->items = grouped ? calloc((size_t)n_items + 1, sizeof *sampler->items) : NULL;
    if (!sampler->streams || (grouped && !sampler->items)) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a sampler of batches of %lld",
                       (long long)size);
    }
    for (int p = 0; rc == LV_OK && p < options->n_packs; p++) {
        rc = fill_stream(&sampler->streams[p], &options->packs[p], first_id, grouped);
        first_id += options->packs[p].n_samples;
    }
    return rc;
}

int lv_sampler_create(lv_sampler **out, const lv_sampler_options *options)
{
    LV_CHECK(options->shuffle || !options->group_by_modality_length, "grouping without a shuffle");
    lv_sampler *sampler = calloc(1, sizeof *sampler);
    if (!sampler) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a sampler");
    }
    sampler->options = *options;
    sampler->options.packs = NULL;
    int rc = fill_sampler(sampler, options);
    if (rc != LV_OK) {
        lv_sampler_destroy(&sampler);
        return rc;
    }
    *out = sampler;
    return LV_OK;
}

void lv_sampler_destroy(lv_sampler **sampler_ptr)
{
    lv_sampler *sampler = *sampler_ptr;
    if (!sampler) {
        return;
    }
    for (int p = 0; sampler->streams && p < sampler->options.n_packs; p++) {
        lv_modality_free(&sampler->streams[p].modality);
    }
    free(sampler->streams);
    free(sampler->items);
    free(sampler);
    *sampler_ptr = NULL;
}
