/* SPDX-License-Identifier: Apache-2.0
 *
 * Counts and histograms of a pack.
 */
#ifndef LV_TOOLS_INSPECT_PACK_STATS_H
#define LV_TOOLS_INSPECT_PACK_STATS_H

#include "data/pack/pack.h"
#include "tools/inspect/histogram.h"

typedef struct {
    int64_t n_samples, n_text_only, n_tokens, n_supervised, longest;
    int64_t n_sample_images; /* an image counts in every sample that has it */
    int64_t n_images;        /* distinct ones */
    int64_t image_bytes, n_of_format[LV_N_IMAGE_FORMATS];
    lv_histogram tokens, rows, supervised, images; /* of a sample; rows: images expanded */
    lv_histogram edge, aspect; /* of a distinct image: shorter edge; 100 * width / height */
    int64_t n_cut;             /* samples longer than max_length */
    int64_t n_unlabelled;      /* of those: no label is left */
    int64_t n_lost;            /* supervised tokens that are cut off */
} lv_pack_stats;

/* lv_pack_stats_read: reads the pack once. Cuts at max_length rows are those of the loader, an image
 * being rows_per_image rows. Memory: 4 bytes an image besides that of lv_pack_open. progress, which
 * may be NULL, is called every few thousand samples.
 * fails  LV_ERR_IO, LV_ERR_FORMAT naming shard and sample, LV_ERR_MEMORY */
int lv_pack_stats_read(lv_pack_stats *out, lv_pack *pack, int rows_per_image, int64_t max_length,
                       void (*progress)(const char *what, int64_t done, int64_t all));

#endif
