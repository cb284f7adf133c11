/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_batch: one micro-batch, sequences laid end to end, images expanded to their rows, cut at the
 * length limit. T rows, I images that have at least one row.
 */
#ifndef LV_DATA_LOADER_BATCH_H
#define LV_DATA_LOADER_BATCH_H

#include "data/image/image.h"
#include "data/pack/pack.h"

typedef struct {
    int n_samples;
    int64_t *sample_ids;  /* [n_samples] */
    int64_t *seq_start;   /* [n_samples + 1], seq_start[n_samples] = T */
    int32_t *source;      /* [T] >= 0: a token id; < 0: row -1 - source of the images' feature rows,
                             image i owning the rows [i*rows_per_image, (i+1)*rows_per_image) */
    int32_t *position;    /* [T] from 0 in each sequence */
    int32_t *label;       /* [T] the next row's token if it is supervised, otherwise LV_NO_LABEL */
    int64_t n_supervised; /* labels that are not LV_NO_LABEL */
    int64_t n_images;
    float *pixels;  /* (I, 3, S, S) */
    size_t n_bytes; /* of all arrays */
} lv_batch;

enum { LV_NO_LABEL = -100 };

/* lv_vision_input: the input of the vision tower. */
typedef struct {
    int image_size;     /* S */
    int rows_per_image; /* rows of a feature map, after the connector */
    lv_aspect aspect;
    float mean[3], std[3];
} lv_vision_input;

/* lv_batch_length: rows of a sample after expansion and cut. max_length 0: no limit */
int64_t lv_batch_length(const lv_sample_counts *counts, int rows_per_image, int64_t max_length);

/* lv_batch_labels: how many labels the length limit leaves of a sample. Of one that it does not cut
 * that is the count of the pack, and nothing is read.
 * fails  LV_ERR_IO, LV_ERR_FORMAT naming the sample, LV_ERR_MEMORY */
int lv_batch_labels(int64_t *n_labels, lv_pack *pack, int64_t index, int rows_per_image,
                    int64_t max_length);

/* lv_batch_locate: the pack that holds a sample, and its index there. Sample ids run through the
 * packs in their order. Aborts if there is no such sample. */
lv_pack *lv_batch_locate(lv_pack *const *packs, int n_packs, int64_t sample_id, int64_t *index);

/* lv_batch_check_pack: a pack that stores pixels stores them in the size and aspect of the tower's
 * input.
 * fails  LV_ERR_CONFIG naming both sizes and aspects */
int lv_batch_check_pack(const lv_pack *pack, const lv_vision_input *vision);

/* lv_batch_read: build the batch of the given samples; decodes and preprocesses their images. An
 * image without a row within the limit is not read.
 *   A sample is cut as LLaVA does it: expanded, then the first max_length rows kept, then shifted
 *   (so the row before the cut has no label). An image that is cut keeps its first rows; its
 *   feature rows in source still count from i*rows_per_image.
 * in     max_length 0: no limit
 * out    batch is the caller's: lv_batch_free. Without images: n_images 0, pixels NULL
 * fails  LV_ERR_IO, LV_ERR_FORMAT, LV_ERR_CONFIG (lv_batch_check_pack), LV_ERR_MEMORY, each naming
 *        the pack and the sample's index in it
 * source LLaVA, llava_arch.py: prepare_inputs_labels_for_multimodal */
int lv_batch_read(lv_batch *out, lv_pack *const *packs, int n_packs, const int64_t *sample_ids,
                  int n_samples, const lv_vision_input *vision, int64_t max_length);

/* lv_batch_check_ids: every token id is in the model's vocabulary.
 * in     packs: of the loader that read the batch
 * fails  LV_ERR_CONFIG naming pack, sample and id */
int lv_batch_check_ids(const lv_batch *batch, lv_pack *const *packs, int n_packs,
                       int64_t vocab_size);

/* lv_batch_from_prompt: a batch of one sequence without labels (for generation, tests), its sample
 * id 0.
 * in     tokens[n] with LV_IMAGE_TOKEN marks; images: n_images decoded images
 * fails  LV_ERR_CONFIG if marks and images do not match, LV_ERR_MEMORY */
int lv_batch_from_prompt(lv_batch *out, const int32_t *tokens, size_t n, const lv_image *images,
                         int n_images, const lv_vision_input *vision);
void lv_batch_free(lv_batch *batch);

#endif
