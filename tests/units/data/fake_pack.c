/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/units/data/fake_pack.h"

#include "autograd/error.h"
#include "data/chat/template.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

lv_pack *fake_pack_create(int64_t n_samples)
{
    lv_pack *pack = calloc(1, sizeof *pack);
    assert_non_null(pack);
    pack->dir = "fake";
    pack->n_samples = n_samples;
    pack->counts = calloc((size_t)n_samples + 1, sizeof *pack->counts);
    pack->samples = calloc((size_t)n_samples + 1, sizeof *pack->samples);
    assert_non_null(pack->counts);
    assert_non_null(pack->samples);
    pack->image_width = 9;
    pack->image_height = 6;
    pack->bad_sample = pack->bad_image = -1;
    return pack;
}

void fake_pack_destroy(lv_pack *pack)
{
    free(pack->counts);
    free(pack->samples);
    free(pack);
}

void fake_pack_set(lv_pack *pack, int64_t i, const char *text, const int64_t *image_ids)
{
    fake_sample *sample = &pack->samples[i];
    lv_sample_counts *counts = &pack->counts[i];
    assert_in_range(strlen(text), 0, FAKE_MAX_TOKENS);
    *counts = (lv_sample_counts){0};
    for (const char *c = text; *c; c++) {
        bool image = *c == '@';
        bool supervised = isupper((unsigned char)*c);
        if (image) {
            sample->image_ids[counts->n_images] = image_ids[counts->n_images];
            counts->n_images++;
        }
        sample->tokens[counts->n_tokens] = image ? LV_IMAGE_TOKEN : *c;
        sample->supervised[counts->n_tokens] = supervised;
        counts->n_supervised += supervised;
        counts->n_tokens++;
    }
}

uint8_t fake_pixel(int64_t image_id, int x, int y, int c)
{
    return (uint8_t)(image_id * 31 + x * 7 + y * 3 + c * 50);
}

static void linger(const lv_pack *pack, int64_t i)
{
    if (pack->slow) {
        nanosleep(&(struct timespec){0, (i * 7919 % 5) * 500000}, NULL);
    }
}

const char *lv_pack_dir(const lv_pack *pack)
{
    return pack->dir;
}

int64_t lv_pack_n_samples(const lv_pack *pack)
{
    return pack->n_samples;
}

const lv_sample_counts *lv_pack_counts(const lv_pack *pack)
{
    return pack->counts;
}

int lv_pack_stored_size(const lv_pack *pack, lv_aspect *aspect)
{
    *aspect = pack->aspect;
    return pack->stored_size;
}

int lv_pack_read_sample(lv_pack *pack, int64_t i, int32_t *tokens, uint8_t *supervised,
                        int64_t *image_ids, char **id)
{
    assert_null(id);
    if (i == pack->bad_sample) {
        return lv_fail(LV_ERR_IO, "shard 0, sample %d: gone", (int)i);
    }
    linger(pack, i);
    const lv_sample_counts *counts = &pack->counts[i];
    memcpy(tokens, pack->samples[i].tokens, (size_t)counts->n_tokens * sizeof *tokens);
    memcpy(supervised, pack->samples[i].supervised, (size_t)counts->n_tokens);
    memcpy(image_ids, pack->samples[i].image_ids, (size_t)counts->n_images * sizeof *image_ids);
    return LV_OK;
}

int lv_pack_read_image(lv_pack *pack, int64_t image_id, lv_image *out)
{
    atomic_fetch_add(&pack->n_image_reads, 1);
    if (image_id == pack->bad_image) {
        return lv_fail(LV_ERR_FORMAT, "shard 0, image %d: damaged", (int)image_id);
    }
    linger(pack, image_id);
    *out = (lv_image){pack->image_width, pack->image_height, NULL};
    out->rgb = malloc(3 * (size_t)out->width * (size_t)out->height);
    if (!out->rgb) {
        return lv_fail(LV_ERR_MEMORY, "no memory");
    }
    for (int y = 0; y < out->height; y++) {
        for (int x = 0; x < out->width; x++) {
            for (int c = 0; c < 3; c++) {
                out->rgb[(y * out->width + x) * 3 + c] = fake_pixel(image_id, x, y, c);
            }
        }
    }
    return LV_OK;
}
