/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_modality: which samples of a pack have an image and which are text alone, each kind numbered
 * in the pack's order. A bit a sample and a count every 512: n/7 bytes, found in O(log n).
 */
#ifndef LV_DATA_LOADER_MODALITY_H
#define LV_DATA_LOADER_MODALITY_H

#include "data/pack/pack.h"

typedef enum { LV_MODALITY_TEXT, LV_MODALITY_IMAGE, LV_N_MODALITIES } lv_modality_kind;

typedef struct {
    int64_t n[LV_N_MODALITIES]; /* samples of each kind */
    uint64_t *has_image;        /* bit i % 64 of word i / 64 */
    int64_t *images_before;     /* [blocks] samples with an image before each block of 512 */
    int64_t n_blocks;
} lv_modality;

/* lv_modality_create: from the counts of n samples. fails  LV_ERR_MEMORY */
int lv_modality_create(lv_modality *out, const lv_sample_counts *counts, int64_t n);
void lv_modality_free(lv_modality *modality);

/* lv_modality_find: the index in its pack of the k-th sample (from 0) of a kind. */
int64_t lv_modality_find(const lv_modality *modality, lv_modality_kind kind, int64_t k);

#endif
