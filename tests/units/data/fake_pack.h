/* SPDX-License-Identifier: Apache-2.0
 *
 * A pack in memory that implements the reading half of data/pack/pack.h, for tests of its users. An
 * executable that is linked with fake_pack.c has these functions instead of the real ones.
 */
#ifndef LV_TESTS_UNITS_DATA_FAKE_PACK_H
#define LV_TESTS_UNITS_DATA_FAKE_PACK_H

#include "data/pack/pack.h"

#include <stdatomic.h>

enum { FAKE_MAX_TOKENS = 48, FAKE_MAX_IMAGES = 4 };

typedef struct {
    int32_t tokens[FAKE_MAX_TOKENS];
    uint8_t supervised[FAKE_MAX_TOKENS];
    int64_t image_ids[FAKE_MAX_IMAGES];
} fake_sample;

struct lv_pack {
    const char *dir; /* "fake" unless a test sets it */
    int64_t n_samples;
    lv_sample_counts *counts;
    fake_sample *samples;
    int stored_size;
    lv_aspect aspect;
    int image_width, image_height; /* of the images that are read */
    int64_t bad_sample, bad_image; /* cannot be read; -1: none */
    bool slow;                     /* readings take different times, some milliseconds */
    atomic_int n_image_reads;
};

/* fake_pack_create: samples without tokens, nothing bad. Ends the test when memory is out. */
lv_pack *fake_pack_create(int64_t n_samples);
void fake_pack_destroy(lv_pack *pack);

/* fake_pack_set: sample i, from text: a digit or letter is a token with its character's value,
 * an upper-case letter a supervised one, '@' an image (the next of image_ids). */
void fake_pack_set(lv_pack *pack, int64_t i, const char *text, const int64_t *image_ids);

/* fake_pixel: channel c at (x, y) of an image. */
uint8_t fake_pixel(int64_t image_id, int x, int y, int c);

#endif
