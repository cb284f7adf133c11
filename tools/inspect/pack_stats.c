/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/inspect/pack_stats.h"

#include "autograd/error.h"
#include "data/loader/batch.h"

#include <stdlib.h>

enum { STRIDE = 4096 }; /* samples or images between two calls of progress */

typedef void (*progress_fn)(const char *what, int64_t done, int64_t all);

typedef struct {
    const lv_sample_counts *counts;
    int rows_per_image;
} sample_counts;

static int64_t tokens_of(const void *view, int64_t i)
{
    return ((const sample_counts *)view)->counts[i].n_tokens;
}

static int64_t supervised_of(const void *view, int64_t i)
{
    return ((const sample_counts *)view)->counts[i].n_supervised;
}

static int64_t images_of(const void *view, int64_t i)
{
    return ((const sample_counts *)view)->counts[i].n_images;
}

static int64_t rows_of(const void *view, int64_t i)
{
    const sample_counts *v = view;
    return lv_batch_length(&v->counts[i], v->rows_per_image, 0);
}

static int64_t edge_of(const void *edges, int64_t i)
{
    return ((const int32_t *)edges)[i];
}

static void count_samples(lv_pack_stats *s, const lv_pack *pack, int rows_per_image)
{
    const sample_counts view = {lv_pack_counts(pack), rows_per_image};
    s->n_samples = lv_pack_n_samples(pack);
    for (int64_t i = 0; i < s->n_samples; i++) {
        const lv_sample_counts *c = &view.counts[i];
        s->n_tokens += c->n_tokens;
        s->n_supervised += c->n_supervised;
        s->n_sample_images += c->n_images;
        s->n_text_only += c->n_images == 0;
        s->longest = c->n_tokens > s->longest ? c->n_tokens : s->longest;
    }
    lv_histogram_count(&s->tokens, s->n_samples, tokens_of, &view);
    lv_histogram_count(&s->rows, s->n_samples, rows_of, &view);
    lv_histogram_count(&s->supervised, s->n_samples, supervised_of, &view);
    lv_histogram_count(&s->images, s->n_samples, images_of, &view);
}

static int count_cuts(lv_pack_stats *s, lv_pack *pack, int rows_per_image, int64_t max_length,
                      progress_fn progress)
{
    const lv_sample_counts *counts = lv_pack_counts(pack);
    int rc = LV_OK;
    for (int64_t i = 0; rc == LV_OK && i < s->n_samples; i++) {
        int64_t n_labels = 0;
        if (i % STRIDE == 0) {
            lv_pack_release(pack);
            if (progress) {
                progress("samples", i, s->n_samples);
            }
        }
        if (lv_batch_length(&counts[i], rows_per_image, 0) > max_length) {
            rc = lv_batch_labels(&n_labels, pack, i, rows_per_image, max_length);
            s->n_cut++;
            s->n_unlabelled += n_labels == 0;
            s->n_lost += counts[i].n_supervised - n_labels;
        }
    }
    return rc;
}

static void start_aspect(lv_histogram *h)
{
    /* 3:4, 1:1 and 4:3 fall into the middle of a bin each */
    static const int64_t from[] = {0, 50, 70, 90, 111, 141, 201};
    enum { N = sizeof from / sizeof *from };
    *h = (lv_histogram){.n_bins = N, .decimals = 2};
    for (int b = 0; b < N; b++) {
        h->bins[b] = (lv_bin){.from = from[b], .to = b + 1 < N ? from[b + 1] - 1 : INT64_MAX};
    }
}

static int count_images(lv_pack_stats *s, lv_pack *pack, progress_fn progress)
{
    const int64_t n = lv_pack_n_images(pack);
    int32_t *edges = malloc(((size_t)n + 1) * sizeof *edges);
    int rc = edges ? LV_OK : lv_fail(LV_ERR_MEMORY, "no memory for the sizes of the images");
    start_aspect(&s->aspect);
    for (int64_t i = 0; rc == LV_OK && i < n; i++) {
        lv_image_facts f;
        if (i % STRIDE == 0) {
            lv_pack_release(pack);
            if (progress) {
                progress("images", i, n);
            }
        }
        rc = lv_pack_image_facts(pack, i, &f);
        if (rc < 0 || f.width < 1 || f.height < 1) {
            continue;
        }
        edges[s->n_images++] = f.width < f.height ? f.width : f.height;
        lv_histogram_add(&s->aspect, (int64_t)f.width * 100 / f.height);
        s->image_bytes += f.n_bytes;
        if ((int)f.format >= 0 && (int)f.format < LV_N_IMAGE_FORMATS) {
            s->n_of_format[f.format]++;
        }
    }
    if (rc == LV_OK) {
        lv_histogram_count(&s->edge, s->n_images, edge_of, edges);
    }
    free(edges);
    return rc;
}

int lv_pack_stats_read(lv_pack_stats *out, lv_pack *pack, int rows_per_image, int64_t max_length,
                       progress_fn progress)
{
    lv_pack_stats s = {0};
    count_samples(&s, pack, rows_per_image);
    int rc = count_cuts(&s, pack, rows_per_image, max_length, progress);
    if (rc == LV_OK) rc = count_images(&s, pack, progress);
    if (rc == LV_OK) {
        *out = s;
    }
    return rc;
}
