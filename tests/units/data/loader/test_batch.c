/* SPDX-License-Identifier: Apache-2.0 */
#include "data/loader/batch.h"

#include "autograd/error.h"
#include "data/chat/template.h"
#include "tests/units/data/fake_pack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { IMAGE_SIZE = 4, IMAGE_FLOATS = 3 * IMAGE_SIZE * IMAGE_SIZE, MAX_ROWS = 512 };

static const lv_vision_input vision = {
    .image_size = IMAGE_SIZE,
    .rows_per_image = 3,
    .aspect = LV_ASPECT_SQUARE,
    .mean = {0.5f, 0.25f, 0.125f},
    .std = {0.25f, 0.5f, 1.0f},
};

/* Upper case is supervised, '@' an image. */
static const char *const texts[] = {
    "ab@CDef@GH", /* supervised in the middle and at the end */
    "@AB",        /* an image row carries the first label */
    "AbC",        /* nothing predicts the first token */
    "@@A",        /* two images side by side */
    "abcDEF",     /* text only */
    "x@",         /* ends in an image, nothing supervised */
    "Z",
};
enum { N_TEXTS = sizeof texts / sizeof *texts };

static const int64_t image_ids[N_TEXTS][FAKE_MAX_IMAGES] = {{4, 2}, {7}, {0}, {3, 4},
                                                            {0},    {9}, {0}};

static lv_pack *create_pack(int first, int n)
{
    lv_pack *pack = fake_pack_create(n);
    for (int i = 0; i < n; i++) {
        fake_pack_set(pack, i, texts[first + i], image_ids[first + i]);
    }
    return pack;
}

/* What LLaVA does, in its order: a list of rows, each with its own label; cut; and only the loss
 * shifts. Feature rows are written as 1000 * image id + row. */
typedef struct {
    int n;
    int row[MAX_ROWS], own_label[MAX_ROWS];
} expansion;

static expansion expand(const char *text, const int64_t *ids, int rows_per_image, int64_t limit)
{
    expansion e = {0};
    for (const char *c = text; *c; c++) {
        int n_rows = *c == '@' ? rows_per_image : 1;
        for (int r = 0; r < n_rows; r++) {
            e.row[e.n] = *c == '@' ? 1000 * (int)*ids + r : *c;
            e.own_label[e.n++] = *c >= 'A' && *c <= 'Z' ? *c : LV_NO_LABEL;
        }
        ids += *c == '@';
    }
    e.n = limit > 0 && limit < e.n ? (int)limit : e.n;
    return e;
}

static const float *expected_pixels(const lv_pack *pack, int64_t image_id,
                                    const lv_vision_input *wanted)
{
    static float pixels[IMAGE_FLOATS];
    uint8_t rgb[3 * 64];
    lv_image image = {pack->image_width, pack->image_height, rgb}, square = {0};
    assert_true(image.width * image.height <= 64);
    for (int i = 0; i < 3 * image.width * image.height; i++) {
        rgb[i] = fake_pixel(image_id, i / 3 % image.width, i / 3 / image.width, i % 3);
    }
    if (pack->stored_size == 0) {
        assert_int_equal(lv_image_square(&square, &image, IMAGE_SIZE, wanted->aspect), 0);
    } else {
        square = image;
    }
    lv_image_normalize(pixels, &square, wanted->mean, wanted->std);
    if (pack->stored_size == 0) {
        lv_image_free(&square);
    }
    return pixels;
}

/* The image whose pixels are image i of the batch, found among all that the pack can have. */
static int find_image(const lv_batch *batch, int64_t i, const lv_pack *pack,
                      const lv_vision_input *wanted)
{
    for (int id = 0; id < 10; id++) {
        if (memcmp(batch->pixels + i * IMAGE_FLOATS, expected_pixels(pack, id, wanted),
                   IMAGE_FLOATS * sizeof(float)) == 0) {
            return id;
        }
    }
    fail_msg("image %d of the batch is none of the pack's", (int)i);
    return -1;
}

static void assert_sequence(const lv_batch *batch, int s, const expansion *expected,
                            const lv_pack *pack, const lv_vision_input *wanted)
{
    const int64_t begin = batch->seq_start[s];
    assert_int_equal(batch->seq_start[s + 1] - begin, expected->n);
    for (int t = 0; t < expected->n; t++) {
        int32_t source = batch->source[begin + t];
        if (source < 0) {
            int64_t feature = -1 - (int64_t)source;
            assert_true(feature < batch->n_images * wanted->rows_per_image);
            int id = find_image(batch, feature / wanted->rows_per_image, pack, wanted);
            assert_int_equal(1000 * id + feature % wanted->rows_per_image, expected->row[t]);
        } else {
            assert_int_equal(source, expected->row[t]);
        }
        assert_int_equal(batch->position[begin + t], t);
        assert_int_equal(batch->label[begin + t],
                         t + 1 < expected->n ? expected->own_label[t + 1] : LV_NO_LABEL);
    }
}

/* Images are numbered in the order of their rows, none left out. */
static void assert_images_counted(const lv_batch *batch, int rows_per_image)
{
    int64_t n_images = 0, n_supervised = 0;
    for (int64_t t = 0; t < batch->seq_start[batch->n_samples]; t++) {
        n_supervised += batch->label[t] != LV_NO_LABEL;
        if (batch->source[t] < 0 && (-1 - batch->source[t]) % rows_per_image == 0) {
            assert_int_equal((-1 - batch->source[t]) / rows_per_image, n_images++);
        }
    }
    assert_int_equal(batch->n_images, n_images);
    assert_int_equal(batch->n_supervised, n_supervised);
    assert_true((batch->pixels == NULL) == (n_images == 0));
}

static void batch_equals_the_naive_expansion_cut_at_every_position(void **state)
{
    (void)state;
    lv_pack *packs[] = {create_pack(0, N_TEXTS)};
    for (int rows_per_image = 1; rows_per_image <= 4; rows_per_image++) {
        lv_vision_input wanted = vision;
        wanted.rows_per_image = rows_per_image;
        for (int64_t limit = 0; limit <= 20; limit++) {
            for (int64_t id = 0; id < N_TEXTS; id++) {
                lv_batch batch;
                expansion e = expand(texts[id], image_ids[id], rows_per_image, limit);
                assert_int_equal(lv_batch_length(&packs[0]->counts[id], rows_per_image, limit),
                                 e.n);
                assert_int_equal(lv_batch_read(&batch, packs, 1, &id, 1, &wanted, limit), 0);
                assert_int_equal(batch.seq_start[0], 0);
                assert_sequence(&batch, 0, &e, packs[0], &wanted);
                assert_images_counted(&batch, rows_per_image);
                int64_t n_labels = -1;
                assert_int_equal(lv_batch_labels(&n_labels, packs[0], id, rows_per_image, limit),
                                 0);
                if (e.n < expand(texts[id], image_ids[id], rows_per_image, 0).n) {
                    assert_int_equal(n_labels, batch.n_supervised);
                }
                lv_batch_free(&batch);
            }
        }
    }
    fake_pack_destroy(packs[0]);
}

static void sequences_of_several_packs_are_laid_end_to_end(void **state)
{
    (void)state;
    lv_pack *packs[] = {create_pack(0, 2), fake_pack_create(0), create_pack(2, 1),
                        create_pack(3, N_TEXTS - 3)};
    static const int64_t ids[] = {6, 3, 0, 5, 1, 4, 2, 0};
    enum { N = sizeof ids / sizeof *ids };
    for (int64_t limit = 0; limit <= 20; limit++) {
        lv_batch batch;
        assert_int_equal(lv_batch_read(&batch, packs, 4, ids, N, &vision, limit), 0);
        assert_int_equal(batch.n_samples, N);
        assert_memory_equal(batch.sample_ids, ids, sizeof ids);
        assert_int_equal(batch.seq_start[0], 0);
        for (int s = 0; s < N; s++) {
            expansion e = expand(texts[ids[s]], image_ids[ids[s]], vision.rows_per_image, limit);
            assert_sequence(&batch, s, &e, packs[0], &vision);
        }
        assert_images_counted(&batch, vision.rows_per_image);
        int64_t n_rows = batch.seq_start[N];
        assert_int_equal(batch.n_bytes, (2 * N + 1) * 8 + n_rows * 3 * 4 +
                                            batch.n_images * IMAGE_FLOATS * (int64_t)sizeof(float));
        lv_batch_free(&batch);
        lv_batch_free(&batch);
    }
    for (int p = 0; p < 4; p++) {
        fake_pack_destroy(packs[p]);
    }
}

/* "ab@CDef@GH" with 3 rows an image, by hand: a b i i i C D e f i i i G H */
static void labels_and_sources_of_one_sample_by_hand(void **state)
{
    (void)state;
    lv_pack *packs[] = {create_pack(0, 1)};
    static const int32_t source[] = {'a', 'b', -1, -2, -3, 'C', 'D',
                                     'e', 'f', -4, -5, -6, 'G', 'H'};
    enum { X = LV_NO_LABEL };
    static const int32_t label[] = {X, X, X, X, 'C', 'D', X, X, X, X, X, 'G', 'H', X};
    lv_batch batch;
    assert_int_equal(lv_batch_read(&batch, packs, 1, (int64_t[]){0}, 1, &vision, 2048), 0);
    assert_int_equal(batch.seq_start[1], 14);
    assert_memory_equal(batch.source, source, sizeof source);
    assert_memory_equal(batch.label, label, sizeof label);
    assert_int_equal(batch.n_supervised, 4);
    lv_batch_free(&batch);

    /* cut in the second image: one of its rows is left; the label of row 4 stays */
    assert_int_equal(lv_batch_read(&batch, packs, 1, (int64_t[]){0}, 1, &vision, 10), 0);
    assert_int_equal(batch.seq_start[1], 10);
    assert_memory_equal(batch.source, source, 10 * sizeof *source);
    assert_memory_equal(batch.label, label, 10 * sizeof *label);
    assert_int_equal(batch.n_supervised, 2);
    assert_int_equal(batch.n_images, 2);
    lv_batch_free(&batch);

    /* cut between the last image row and C: C is no label, for it is not there */
    assert_int_equal(lv_batch_read(&batch, packs, 1, (int64_t[]){0}, 1, &vision, 5), 0);
    assert_int_equal(batch.label[4], LV_NO_LABEL);
    assert_int_equal(batch.n_supervised, 0);
    lv_batch_free(&batch);
    fake_pack_destroy(packs[0]);
}

static void images_without_a_row_are_not_read(void **state)
{
    (void)state;
    lv_pack *packs[] = {create_pack(0, 1)};
    lv_batch batch;
    packs[0]->bad_image = 2; /* its second image, from row 9 on */
    assert_int_equal(lv_batch_read(&batch, packs, 1, (int64_t[]){0}, 1, &vision, 9), 0);
    assert_int_equal(packs[0]->n_image_reads, 1);
    assert_int_equal(batch.n_images, 1);
    lv_batch_free(&batch);
    assert_int_equal(lv_batch_read(&batch, packs, 1, (int64_t[]){0}, 1, &vision, 10),
                     LV_ERR_FORMAT);
    fake_pack_destroy(packs[0]);
}

static void text_only_batches_have_no_pixels_and_read_none(void **state)
{
    (void)state;
    lv_pack *packs[] = {create_pack(0, N_TEXTS)};
    lv_batch batch;
    assert_int_equal(lv_batch_read(&batch, packs, 1, (int64_t[]){4, 2}, 2, &vision, 0), 0);
    assert_int_equal(batch.n_images, 0);
    assert_null(batch.pixels);
    assert_int_equal(packs[0]->n_image_reads, 0);
    lv_batch_free(&batch);
    fake_pack_destroy(packs[0]);
}

static void images_are_made_square_as_asked_unless_stored_so(void **state)
{
    (void)state;
    lv_pack *packs[] = {create_pack(1, 1)};
    for (int i = 0; i < 3; i++) {
        lv_vision_input wanted = vision;
        wanted.aspect = i == 1 ? LV_ASPECT_PAD : LV_ASPECT_SQUARE;
        if (i == 2) {
            packs[0]->stored_size = packs[0]->image_width = packs[0]->image_height = IMAGE_SIZE;
        }
        lv_batch batch;
        assert_int_equal(lv_batch_read(&batch, packs, 1, (int64_t[]){0}, 1, &wanted, 0), 0);
        assert_memory_equal(batch.pixels, expected_pixels(packs[0], 7, &wanted),
                            IMAGE_FLOATS * sizeof(float));
        if (i == 2) { /* channel 1 at (2, 3): nothing but normalised */
            float value = ((float)fake_pixel(7, 2, 3, 1) / 255 - 0.25f) / 0.5f;
            assert_float_equal(batch.pixels[(1 * IMAGE_SIZE + 3) * IMAGE_SIZE + 2], value, 1e-6);
        }
        lv_batch_free(&batch);
    }
    fake_pack_destroy(packs[0]);
}

static void a_pack_with_other_pixels_than_wanted_is_refused_naming_both(void **state)
{
    (void)state;
    lv_pack *packs[] = {create_pack(1, 1)};
    lv_batch batch;
    packs[0]->stored_size = 336;
    assert_int_equal(lv_batch_read(&batch, packs, 1, (int64_t[]){0}, 1, &vision, 0), LV_ERR_CONFIG);
    assert_non_null(strstr(lv_error_message(), "336 x 336"));
    assert_non_null(strstr(lv_error_message(), "4 x 4"));
    packs[0]->stored_size = IMAGE_SIZE;
    packs[0]->aspect = LV_ASPECT_PAD;
    assert_int_equal(lv_batch_check_pack(packs[0], &vision), LV_ERR_CONFIG);
    assert_non_null(strstr(lv_error_message(), "\"pad\""));
    assert_non_null(strstr(lv_error_message(), "\"square\""));
    packs[0]->aspect = LV_ASPECT_SQUARE;
    assert_int_equal(lv_batch_check_pack(packs[0], &vision), LV_OK);
    /* its images must have that size */
    assert_int_equal(lv_batch_read(&batch, packs, 1, (int64_t[]){0}, 1, &vision, 0), LV_ERR_FORMAT);
    assert_non_null(strstr(lv_error_message(), "9 x 6"));
    fake_pack_destroy(packs[0]);
}

static void damaged_samples_are_refused_by_name(void **state)
{
    (void)state;
    lv_pack *packs[] = {create_pack(0, 3), create_pack(0, 3)};
    const int64_t id = 4; /* sample 1 of the second pack */
    lv_batch batch = {.n_samples = 77};
    fake_sample *sample = &packs[1]->samples[1];
    packs[1]->dir = "second";
    for (int damage = 0; damage < 6; damage++) {
        lv_sample_counts counts = packs[1]->counts[1];
        fake_sample undamaged = *sample;
        sample->tokens[1] = damage == 0 ? LV_IMAGE_TOKEN : damage == 1 ? -1 : 'A';
        packs[1]->counts[1].n_images = damage == 2 ? 0 : damage == 3 ? -1 : 1;
        packs[1]->counts[1].n_tokens = damage == 4 ? 0 : 3;
        packs[1]->bad_sample = damage == 5 ? 1 : -1;
        assert_int_equal(lv_batch_read(&batch, packs, 2, &id, 1, &vision, 0),
                         damage == 5 ? LV_ERR_IO : LV_ERR_FORMAT);
        assert_non_null(strstr(lv_error_message(), "pack second, sample 1: "));
        *sample = undamaged;
        packs[1]->counts[1] = counts;
    }
    packs[1]->bad_sample = -1;
    packs[1]->bad_image = 7;
    assert_int_equal(lv_batch_read(&batch, packs, 2, &id, 1, &vision, 0), LV_ERR_FORMAT);
    assert_string_equal(lv_error_message(), "pack second, sample 1: shard 0, image 7: damaged");
    assert_int_equal(batch.n_samples, 77); /* untouched */
    fake_pack_destroy(packs[0]);
    fake_pack_destroy(packs[1]);
}

static void prompt_becomes_one_sequence_without_labels(void **state)
{
    (void)state;
    static const int32_t tokens[] = {1, LV_IMAGE_TOKEN, 5, LV_IMAGE_TOKEN};
    static const int32_t source[] = {1, -1, -2, -3, 5, -4, -5, -6};
    lv_pack *pack = create_pack(0, 1);
    lv_image images[2] = {0};
    lv_batch batch;
    assert_int_equal(lv_pack_read_image(pack, 8, &images[0]), 0);
    assert_int_equal(lv_pack_read_image(pack, 5, &images[1]), 0);
    assert_int_equal(lv_batch_from_prompt(&batch, tokens, 4, images, 2, &vision), 0);
    assert_int_equal(batch.n_samples, 1);
    assert_int_equal(batch.seq_start[0], 0);
    assert_int_equal(batch.seq_start[1], 8);
    assert_memory_equal(batch.source, source, sizeof source);
    for (int t = 0; t < 8; t++) {
        assert_int_equal(batch.position[t], t);
        assert_int_equal(batch.label[t], LV_NO_LABEL);
    }
    assert_int_equal(batch.n_supervised, 0);
    assert_int_equal(batch.n_images, 2);
    assert_int_equal(find_image(&batch, 0, pack, &vision), 8);
    assert_int_equal(find_image(&batch, 1, pack, &vision), 5);
    lv_batch_free(&batch);

    assert_int_equal(lv_batch_from_prompt(&batch, tokens, 1, NULL, 0, &vision), 0);
    assert_null(batch.pixels);
    lv_batch_free(&batch);
    assert_int_equal(lv_batch_from_prompt(&batch, tokens, 4, images, 1, &vision), LV_ERR_CONFIG);
    assert_int_equal(lv_batch_from_prompt(&batch, tokens, 1, images, 1, &vision), LV_ERR_CONFIG);
    assert_int_equal(lv_batch_from_prompt(&batch, tokens, 0, NULL, 0, &vision), LV_ERR_CONFIG);
    lv_image_free(&images[0]);
    lv_image_free(&images[1]);
    fake_pack_destroy(pack);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_equals_the_naive_expansion_cut_at_every_position),
        cmocka_unit_test(sequences_of_several_packs_are_laid_end_to_end),
        cmocka_unit_test(labels_and_sources_of_one_sample_by_hand),
        cmocka_unit_test(images_without_a_row_are_not_read),
        cmocka_unit_test(text_only_batches_have_no_pixels_and_read_none),
        cmocka_unit_test(images_are_made_square_as_asked_unless_stored_so),
        cmocka_unit_test(a_pack_with_other_pixels_than_wanted_is_refused_naming_both),
        cmocka_unit_test(damaged_samples_are_refused_by_name),
        cmocka_unit_test(prompt_becomes_one_sequence_without_labels),
    };
    return cmocka_run_group_tests_name("data/batch", tests, NULL, NULL);
}
