/* SPDX-License-Identifier: Apache-2.0 */
#include "data/loader/modality.h"

#include "autograd/error.h"

#include <stdlib.h>

enum { WORD_BITS = 64, BLOCK_WORDS = 8, BLOCK_BITS = WORD_BITS * BLOCK_WORDS };

int lv_modality_create(lv_modality *out, const lv_sample_counts *counts, int64_t n)
{
    lv_modality m = {.n_blocks = n / BLOCK_BITS + 1};
    m.has_image = calloc((size_t)m.n_blocks * BLOCK_WORDS, sizeof *m.has_image);
    m.images_before = calloc((size_t)m.n_blocks, sizeof *m.images_before);
    if (!m.has_image || !m.images_before) {
        lv_modality_free(&m);
        return lv_fail(LV_ERR_MEMORY, "no memory for the kinds of %lld samples", (long long)n);
    }
    for (int64_t i = 0; i < n; i++) {
        lv_modality_kind kind = counts[i].n_images > 0 ? LV_MODALITY_IMAGE : LV_MODALITY_TEXT;
        if (i % BLOCK_BITS == 0) {
            m.images_before[i / BLOCK_BITS] = m.n[LV_MODALITY_IMAGE];
        }
        m.has_image[i / WORD_BITS] |= (uint64_t)(kind == LV_MODALITY_IMAGE) << i % WORD_BITS;
        m.n[kind]++;
    }
    if (n % BLOCK_BITS == 0) { /* the last block is empty */
        m.images_before[m.n_blocks - 1] = m.n[LV_MODALITY_IMAGE];
    }
    *out = m;
    return LV_OK;
}

void lv_modality_free(lv_modality *modality)
{
    free(modality->has_image);
    free(modality->images_before);
    *modality = (lv_modality){0};
}

/* Samples of the kind before a block. */
static int64_t count_before(const lv_modality *m, lv_modality_kind kind, int64_t block)
{
    int64_t n_images = m->images_before[block];
    return kind == LV_MODALITY_IMAGE ? n_images : block * BLOCK_BITS - n_images;
}

int64_t lv_modality_find(const lv_modality *m, lv_modality_kind kind, int64_t k)
{
    LV_CHECK(k >= 0 && k < m->n[kind], "sample %lld of %lld", (long long)k, (long long)m->n[kind]);
    int64_t low = 0, high = m->n_blocks; /* count_before(low) <= k < count_before(high) */
    while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        if (count_before(m, kind, middle) <= k) {
            low = middle;
        } else {
            high = middle;
        }
    }
    k -= count_before(m, kind, low);
    for (int64_t word = low * BLOCK_WORDS;; word++) {
        uint64_t bits = kind == LV_MODALITY_IMAGE ? m->has_image[word] : ~m->has_image[word];
        int n_here = __builtin_popcountll(bits);
        if (k < n_here) {
            while (k-- > 0) {
                bits &= bits - 1; /* without its lowest */
            }
            return word * WORD_BITS + __builtin_ctzll(bits);
        }
        k -= n_here;
    }
}
