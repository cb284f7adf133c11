/* SPDX-License-Identifier: Apache-2.0 */
#include "train/plan/batch.h"

#include "autograd/error.h"
#include "autograd/real.h"

#include <stdlib.h>

static const int64_t MAX_VISITS = 1 << 21; /* of samples and ranks, in a walk */

/* What a cut leaves is bounded from above: images are taken to come before the text. */
static lv_plan_sample sample_of(const lv_sample_counts *counts, const lv_loader_options *options)
{
    const int64_t rows = options->vision.rows_per_image;
    lv_plan_sample sample = {.n_rows = lv_batch_length(counts, (int)rows, options->max_length)};
    sample.n_image_rows = lv_min_i64(sample.n_rows, counts->n_images * rows);
    sample.n_images = rows > 0 ? (sample.n_image_rows + rows - 1) / rows : 0;
    sample.n_supervised = lv_min_i64(sample.n_rows, counts->n_supervised);
    return sample;
}

static int64_t pixel_count(const lv_vision_input *vision, int64_t n_images)
{
    return 3 * (int64_t)vision->image_size * vision->image_size * n_images;
}

int64_t lv_plan_batch_bytes(const lv_plan_sample *samples, int64_t n, const lv_vision_input *vision)
{
    int64_t bytes = 0;
    for (int64_t i = 0; i < n; i++) {
        bytes += samples[i].n_rows * 3 * (int64_t)sizeof(int32_t) +
                 pixel_count(vision, samples[i].n_images) * (int64_t)sizeof(float);
    }
    return bytes;
}

static void append_sample(lv_batch *batch, const lv_plan_sample *sample, int64_t rows_per_image)
{
    const int64_t begin = batch->seq_start[batch->n_samples];
    for (int64_t i = 0; i < sample->n_rows; i++) {
        bool image = i < sample->n_image_rows;
        bool supervised = i >= sample->n_rows - sample->n_supervised;
        int64_t row = batch->n_images * rows_per_image + i;
        batch->source[begin + i] = image ? (int32_t)(-1 - row) : 0;
        batch->position[begin + i] = (int32_t)i;
        batch->label[begin + i] = supervised ? 0 : LV_NO_LABEL;
    }
    batch->seq_start[++batch->n_samples] = begin + sample->n_rows;
    batch->n_images += sample->n_images;
    batch->n_supervised += sample->n_supervised;
}

int lv_plan_batch(lv_batch *out, const lv_plan_sample *samples, int64_t n,
                  const lv_vision_input *vision)
{
    size_t n_rows = 0;
    int64_t n_images = 0;
    for (int64_t i = 0; i < n; i++) {
        n_rows += (size_t)samples[i].n_rows;
        n_images += samples[i].n_images;
    }
    lv_batch batch = {
        .sample_ids = calloc((size_t)n + 1, sizeof *batch.sample_ids),
        .seq_start = calloc((size_t)n + 1, sizeof *batch.seq_start),
        .source = calloc(n_rows + 1, sizeof *batch.source),
        .position = calloc(n_rows + 1, sizeof *batch.position),
        .label = calloc(n_rows + 1, sizeof *batch.label),
        /* never accessed: addresses alone */
        .pixels = calloc((size_t)pixel_count(vision, n_images) + 1, sizeof *batch.pixels),
    };
    if (!batch.sample_ids || !batch.seq_start || !batch.source || !batch.position || !batch.label ||
        !batch.pixels) {
        lv_batch_free(&batch);
        return lv_fail(LV_ERR_MEMORY, "no memory for a batch of %zu rows", n_rows);
    }
    for (int64_t i = 0; i < n; i++) {
        append_sample(&batch, &samples[i], vision->rows_per_image);
    }
    *out = batch;
    return LV_OK;
}

/* ---- the walk ---- */

typedef struct {
    const lv_loader_options *options;
    lv_sampler *sampler;
    lv_plan_visit *visit;
    void *context;
    int64_t *ids, *length; /* of a global batch */
    lv_plan_sample *samples;
    lv_plan_sample *batch;                          /* of a micro-batch */
    int64_t most_of_step, most_of_batch, all_bytes; /* of a rank's batches */
} plan_walk;

static lv_plan_sample sample_at(const lv_loader_options *options, int64_t id)
{
    int64_t index;
    lv_pack *pack = lv_batch_locate(options->packs, options->n_packs, id, &index);
    return sample_of(&lv_pack_counts(pack)[index], options);
}

static int walk_rank(plan_walk *w, const lv_shares *shares, int64_t step, int rank)
{
    const int64_t end = shares->rank_start[rank + 1];
    int64_t step_bytes = 0;
    int rc = LV_OK;
    for (int64_t begin = shares->rank_start[rank]; rc == LV_OK && begin < end;) {
        int64_t next = lv_shares_cut(shares, w->length, begin, end, w->options->micro_batch_tokens);
        for (int64_t i = begin; i < next; i++) {
            w->batch[i - begin] = w->samples[shares->place[i]];
        }
        int64_t bytes = lv_plan_batch_bytes(w->batch, next - begin, &w->options->vision);
        w->most_of_batch = bytes > w->most_of_batch ? bytes : w->most_of_batch;
        step_bytes += bytes;
        const lv_plan_position position = {.step = step, .rank = rank};
        rc = w->visit(w->context, &position, w->batch, next - begin);
        begin = next;
    }
    w->most_of_step = step_bytes > w->most_of_step ? step_bytes : w->most_of_step;
    w->all_bytes += step_bytes;
    return rc;
}

static int walk_step(plan_walk *w, int64_t s, int n_ranks)
{
    const lv_loader_options *o = w->options;
    const int64_t per_epoch = lv_sampler_steps_per_epoch(&o->sampler);
    int64_t n = lv_sampler_batch(w->sampler, s / per_epoch, s % per_epoch, w->ids);
    lv_shares shares = {0};
    for (int64_t i = 0; i < n; i++) {
        w->samples[i] = sample_at(o, w->ids[i]);
        w->length[i] = w->samples[i].n_rows;
    }
    int rc = lv_shares_make(&shares, w->length, n, n_ranks);
    for (int rank = 0; rc == LV_OK && rank < n_ranks; rank++) {
        rc = walk_rank(w, &shares, s, rank);
    }
    lv_shares_free(&shares);
    return rc;
}

/* The loader's ring of steps, within its bound, and the batch in use. */
int64_t lv_plan_read_ahead(const lv_loader_options *options, int64_t step_bytes,
                           int64_t batch_bytes)
{
    const int64_t n_ring = lv_loader_ring_steps(options->n_workers);
    int64_t bytes = options->ahead_bytes;
    return (step_bytes < bytes / n_ring ? n_ring * step_bytes : bytes) + batch_bytes;
}

int lv_plan_walk(int64_t *read_ahead_bytes, const lv_loader_options *options, int n_ranks,
                 int64_t n_steps, lv_plan_visit *visit, void *context)
{
    const int64_t size = options->sampler.global_batch_size;
    const int64_t most = lv_min_i64(size, lv_sampler_epoch_samples(&options->sampler));
    plan_walk w = {.options = options,
                   .visit = visit,
                   .context = context,
                   .ids = calloc((size_t)most + 1, sizeof *w.ids),
                   .length = calloc((size_t)most + 1, sizeof *w.length),
                   .samples = calloc((size_t)most + 1, sizeof *w.samples),
                   .batch = calloc((size_t)most + 1, sizeof *w.batch)};
    int rc = w.ids && w.length && w.samples && w.batch
                 ? lv_sampler_create(&w.sampler, &options->sampler)
                 : lv_fail(LV_ERR_MEMORY, "no memory for global batches of %lld", (long long)most);
    const int64_t n_visited = MAX_VISITS / (most + n_ranks) + 1;
    const int64_t stride = (n_steps - 1) / n_visited + 1;
    for (int64_t s = 0; rc == LV_OK && s < n_steps; s += stride) {
        rc = walk_step(&w, s, n_ranks);
    }
    if (rc == LV_OK) {
        *read_ahead_bytes =
            lv_min_i64(lv_plan_read_ahead(options, w.most_of_step, w.most_of_batch), w.all_bytes);
    }
    lv_sampler_destroy(&w.sampler);
    free(w.ids);
    free(w.length);
    free(w.samples);
    free(w.batch);
    return rc;
}
