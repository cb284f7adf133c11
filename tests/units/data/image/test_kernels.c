/* SPDX-License-Identifier: Apache-2.0
 *
 * data/image/kernels.h: every CPU level gives the bits of the portable loops.
 */
#include "data/image/kernels.h"

#include "autograd/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { POISON = 0xA5, GUARD = 64 };

static uint64_t n_drawn;

static uint32_t draw(uint32_t below)
{
    uint32_t bits[4];
    lv_philox(bits, 1, 0, n_drawn++);
    return bits[0] % below;
}

static uint8_t *draw_bytes(size_t n)
{
    uint8_t *bytes = malloc(n ? n : 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)draw(256);
    }
    return bytes;
}

/* Weights as a filter's, some of them far beyond, so that sums are clipped at both ends. */
static void draw_weights(int32_t *weights, size_t n)
{
    for (size_t t = 0; t < n; t++) {
        int32_t magnitude = (int32_t)draw(draw(4) ? 1 << 21 : 1 << 24);
        weights[t] = draw(3) ? magnitude : -magnitude;
    }
}

static void check_narrow_row(const lv_image_kernels *kernel, size_t n, size_t taps, size_t width)
{
    const lv_image_kernels *portable = lv_image_kernels_at(LV_CPU_PORTABLE);
    lv_image_columns columns = {.n = n,
                                .max_taps = (taps + LV_IMAGE_TAP_GROUP - 1) / LV_IMAGE_TAP_GROUP *
                                            LV_IMAGE_TAP_GROUP,
                                .first = calloc(n, sizeof(int32_t)),
                                .n_taps = calloc(n, sizeof(int32_t)),
                                .start = calloc(n, 4 * sizeof(int32_t))};
    columns.weights = calloc(n * columns.max_taps, sizeof(int32_t));
    size_t skip = draw(16), out_bytes = 3 * n + 1; /* any alignment; the last byte is spoilt */
    uint8_t *memory = draw_bytes(skip + 3 * width + LV_IMAGE_SLACK), *row = memory + skip;
    uint8_t *want = malloc(out_bytes), *got = malloc(skip + out_bytes + GUARD);
    assert_true(columns.first && columns.n_taps && columns.start && columns.weights && want && got);
    for (size_t i = 0; i < n; i++) {
        columns.n_taps[i] = (int32_t)draw((uint32_t)taps + 1);
        columns.first[i] = (int32_t)draw((uint32_t)(width - (size_t)columns.n_taps[i] + 1));
        draw_weights(columns.weights + i * columns.max_taps, (size_t)columns.n_taps[i]);
        draw_weights(columns.start + 4 * i, 3);
    }
    portable->narrow_row(want, row, &columns);
    for (int twice = 0; twice < 2; twice++) { /* bytes after the row must have no effect */
        memset(got, POISON, skip + out_bytes + GUARD);
        memset(row + 3 * width, twice ? 0xFF : 0, LV_IMAGE_SLACK);
        kernel->narrow_row(got + skip, row, &columns);
        assert_memory_equal(got + skip, want, 3 * n);
        for (size_t i = 0; i < skip; i++) {
            assert_int_equal(got[i], POISON);
        }
        for (size_t i = skip + out_bytes; i < skip + out_bytes + GUARD; i++) {
            assert_int_equal(got[i], POISON);
        }
    }
    free(columns.first);
    free(columns.n_taps);
    free(columns.start);
    free(columns.weights);
    free(memory);
    free(want);
    free(got);
}

static void check_blend_rows(const lv_image_kernels *kernel, size_t n, size_t n_taps)
{
    size_t skip = draw(16);
    uint8_t *memory = draw_bytes(skip + n_taps * n), *rows = memory + skip;
    uint8_t *pad = draw_bytes(n), *want = malloc(n + 1), *got = malloc(skip + n + GUARD);
    int32_t *weights = calloc(n_taps + 2, sizeof *weights);
    assert_true(want && got && weights);
    draw_weights(weights, n_taps + 1);
    lv_image_kernels_at(LV_CPU_PORTABLE)
        ->blend_rows(want, rows, weights, n_taps, pad, weights[n_taps], n);
    memset(got, POISON, skip + n + GUARD);
    kernel->blend_rows(got + skip, rows, weights, n_taps, pad, weights[n_taps], n);
    assert_memory_equal(got + skip, want, n);
    for (size_t i = 0; i < skip + n + GUARD; i++) {
        assert_true((i >= skip && i < skip + n) || got[i] == POISON);
    }
    free(memory);
    free(pad);
    free(want);
    free(got);
    free(weights);
}

static void test_narrow_row_has_the_portable_bits_at_every_level(void **state)
{
    (void)state;
    static const size_t taps[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 40};
    for (int level = 0; level <= (int)lv_cpu_found(); level++) {
        for (size_t t = 0; t < sizeof taps / sizeof *taps; t++) {
            for (size_t n = 1; n < 40; n += 1 + n / 5) {
                check_narrow_row(lv_image_kernels_at((lv_cpu_level)level), n, taps[t],
                                 taps[t] + draw(30));
            }
        }
    }
}

static void test_blend_rows_has_the_portable_bits_at_every_level(void **state)
{
    (void)state;
    for (int level = 0; level <= (int)lv_cpu_found(); level++) {
        for (size_t n_taps = 0; n_taps < 12; n_taps++) {
            for (size_t n = 1; n < 200; n += 1 + n / 9) {
                check_blend_rows(lv_image_kernels_at((lv_cpu_level)level), n, n_taps);
            }
        }
    }
}

/* The portable loops against the formula of the header in 64 bits. */
static void test_the_portable_loops_are_the_formula(void **state)
{
    (void)state;
    const lv_image_kernels *kernel = lv_image_kernels_at(LV_CPU_PORTABLE);
    const int32_t weights[4] = {3000000, -900000, 2500000, 0};
    const uint8_t row[15] = {255, 0, 9, 1, 255, 80, 255, 128, 17}, pad[3] = {10, 200, 255};
    int32_t first = 0, n_taps = 3, start[4] = {1 << 21, -5000000, 1 << 21, 0};
    int32_t w[4];
    memcpy(w, weights, sizeof w);
    lv_image_columns columns = {
        .n = 1, .max_taps = 4, .first = &first, .n_taps = &n_taps, .weights = w, .start = start};
    uint8_t narrow[4], blended[3];
    kernel->narrow_row(narrow, row, &columns);
    kernel->blend_rows(blended, row, weights, 3, pad, 700000, 3);
    for (int c = 0; c < 3; c++) {
        int64_t across = start[c], down = (1 << 21) + 700000LL * pad[c];
        for (int t = 0; t < 3; t++) {
            across += (int64_t)weights[t] * row[3 * t + c];
            down += (int64_t)weights[t] * row[3 * t + c];
        }
        across >>= LV_IMAGE_WEIGHT_BITS;
        down >>= LV_IMAGE_WEIGHT_BITS;
        assert_int_equal(narrow[c], across < 0 ? 0 : across > 255 ? 255 : across);
        assert_int_equal(blended[c], down < 0 ? 0 : down > 255 ? 255 : down);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_portable_loops_are_the_formula),
        cmocka_unit_test(test_narrow_row_has_the_portable_bits_at_every_level),
        cmocka_unit_test(test_blend_rows_has_the_portable_bits_at_every_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
