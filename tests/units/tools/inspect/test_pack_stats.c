/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/inspect/pack_stats.h"

#include "data/loader/batch.h"
#include "tests/units/data/fake_pack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_SAMPLES = 300, N_IMAGES = 50, ROWS = 7 };

/* ---- the parts of a pack that fake_pack.c has not ---- */

int64_t lv_pack_n_images(const lv_pack *pack)
{
    (void)pack;
    return N_IMAGES;
}

/* Image 3 could not be used. */
int lv_pack_image_facts(lv_pack *pack, int64_t image_id, lv_image_facts *out)
{
    (void)pack;
    *out = (lv_image_facts){.name = "x.jpg",
                            .name_bytes = 5,
                            .format = image_id % 2 ? LV_IMAGE_JPEG : LV_IMAGE_WEBP,
                            .width = image_id == 3 ? 0 : 100 + (int)image_id,
                            .height = image_id == 3 ? 0 : 400,
                            .n_bytes = 10};
    return 0;
}

void lv_pack_release(lv_pack *pack)
{
    (void)pack;
}

/* Samples of up to 47 tokens with up to 4 images; upper case is supervised. */
static lv_pack *create_pack(void)
{
    static const int64_t ids[FAKE_MAX_IMAGES] = {0, 1, 2, 4};
    lv_pack *pack = fake_pack_create(N_SAMPLES);
    uint32_t seed = 7;
    for (int i = 0; i < N_SAMPLES; i++) {
        char text[FAKE_MAX_TOKENS] = "";
        int n = 1 + i % (FAKE_MAX_TOKENS - 1), n_images = 0;
        for (int t = 0; t < n; t++) {
            seed = seed * 1664525 + 1013904223;
            bool image = seed >> 29 == 0 && n_images < FAKE_MAX_IMAGES;
            n_images += image;
            text[t] = image ? '@' : seed >> 30 & 1 ? 'A' : 'a';
        }
        fake_pack_set(pack, i, text, ids);
    }
    return pack;
}

static int64_t sum(const lv_histogram *h)
{
    int64_t n = 0;
    for (int b = 0; b < h->n_bins; b++) {
        n += h->bins[b].count;
    }
    return n;
}

static void histograms_add_up_to_the_counts(void **state)
{
    (void)state;
    lv_pack *pack = create_pack();
    lv_pack_stats *s = calloc(1, sizeof *s);
    assert_non_null(s);
    assert_int_equal(lv_pack_stats_read(s, pack, ROWS, 1 << 20, NULL), 0);
    int64_t n_tokens = 0, n_images = 0, n_text_only = 0;
    for (int i = 0; i < N_SAMPLES; i++) {
        n_tokens += pack->counts[i].n_tokens;
        n_images += pack->counts[i].n_images;
        n_text_only += pack->counts[i].n_images == 0;
    }
    assert_int_equal(s->n_tokens, n_tokens);
    assert_int_equal(s->n_sample_images, n_images);
    assert_int_equal(s->n_text_only, n_text_only);
    assert_int_equal(sum(&s->tokens), N_SAMPLES);
    assert_int_equal(sum(&s->rows), N_SAMPLES);
    assert_int_equal(sum(&s->supervised), N_SAMPLES);
    assert_int_equal(sum(&s->images), N_SAMPLES);
    assert_int_equal(s->images.bins[0].count, n_text_only);
    assert_int_equal(s->n_images, N_IMAGES - 1);
    assert_int_equal(sum(&s->edge), N_IMAGES - 1);
    assert_int_equal(sum(&s->aspect), N_IMAGES - 1);
    assert_int_equal(s->n_of_format[LV_IMAGE_JPEG], N_IMAGES / 2 - 1);
    assert_int_equal(s->n_of_format[LV_IMAGE_WEBP], N_IMAGES / 2);
    assert_int_equal(s->image_bytes, 10 * (N_IMAGES - 1));
    assert_int_equal(s->n_cut + s->n_unlabelled + s->n_lost, 0);
    free(s);
    fake_pack_destroy(pack);
}

/* Against the batches that training would compute on. */
static void cuts_are_what_the_loader_cuts(void **state)
{
    (void)state;
    static const lv_vision_input vision = {
        .image_size = 4, .rows_per_image = ROWS, .std = {1.0f, 1.0f, 1.0f}};
    lv_pack *pack = create_pack();
    lv_pack_stats *s = calloc(1, sizeof *s);
    assert_non_null(s);
    for (int64_t limit = 1; limit < 60; limit += 7) {
        int64_t n_cut = 0, n_unlabelled = 0, n_lost = 0;
        for (int64_t i = 0; i < N_SAMPLES; i++) {
            lv_batch whole = {0}, cut = {0};
            assert_int_equal(lv_batch_read(&whole, &pack, 1, &i, 1, &vision, 0), 0);
            assert_int_equal(lv_batch_read(&cut, &pack, 1, &i, 1, &vision, limit), 0);
            bool is_cut = cut.seq_start[1] < whole.seq_start[1];
            n_cut += is_cut;
            n_unlabelled += is_cut && cut.n_supervised == 0;
            n_lost += is_cut ? pack->counts[i].n_supervised - cut.n_supervised : 0;
            lv_batch_free(&whole);
            lv_batch_free(&cut);
        }
        assert_int_equal(lv_pack_stats_read(s, pack, ROWS, limit, NULL), 0);
        assert_int_equal(s->n_cut, n_cut);
        assert_int_equal(s->n_unlabelled, n_unlabelled);
        assert_int_equal(s->n_lost, n_lost);
        assert_true(n_cut > 0 && n_lost > 0);
    }
    free(s);
    fake_pack_destroy(pack);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histograms_add_up_to_the_counts),
        cmocka_unit_test(cuts_are_what_the_loader_cuts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
