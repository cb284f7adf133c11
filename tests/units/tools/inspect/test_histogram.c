/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/inspect/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int64_t value_of(const void *values, int64_t i)
{
    return ((const int64_t *)values)[i];
}

/* Every value in one bin, bins side by side, no empty one at either end. */
static void assert_covers(const lv_histogram *h, const int64_t *values, int64_t n)
{
    int64_t sum = 0;
    assert_int_equal(h->n, n);
    assert_in_range(h->n_bins, n > 0, LV_MAX_BINS);
    for (int b = 0; b < h->n_bins; b++) {
        int64_t count = 0;
        for (int64_t i = 0; i < n; i++) {
            count += values[i] >= h->bins[b].from && values[i] <= h->bins[b].to;
        }
        assert_int_equal(h->bins[b].count, count);
        assert_true(b == 0 || h->bins[b].from == h->bins[b - 1].to + 1);
        sum += count;
    }
    assert_int_equal(sum, n);
    if (n > 0) {
        assert_true(h->bins[0].count > 0 && h->bins[h->n_bins - 1].count > 0);
    }
}

static void bins_cover_all_values(void **state)
{
    (void)state;
    static const int64_t ends[][2] = {
        {0, 0},    {0, 1},       {0, 15},  {0, 16},      {1, 1},        {1, 16},
        {1, 17},   {7, 7},       {7, 130}, {100, 1599},  {99, 1700},    {1000000, 1000009},
        {0, 4095}, {3, 1 << 30}, {0, 8},   {2047, 2049}, {5, 1LL << 52}};
    for (size_t e = 0; e < sizeof ends / sizeof *ends; e++) {
        int64_t values[64], n = 64;
        lv_histogram h;
        for (int64_t i = 0; i < n; i++) { /* both ends, and between */
            values[i] = ends[e][0] + (ends[e][1] - ends[e][0]) / (n - 1) * i;
        }
        values[n - 1] = ends[e][1];
        lv_histogram_count(&h, n, value_of, values);
        assert_covers(&h, values, n);
        lv_histogram_count(&h, 1, value_of, values);
        assert_covers(&h, values, 1);
    }
}

static void narrow_values_have_equal_bins_and_wide_ones_powers_of_two(void **state)
{
    (void)state;
    const int64_t narrow[] = {103, 150, 199}, wide[] = {3, 100, 0}, flags[] = {0, 1, 1};
    lv_histogram h;
    lv_histogram_count(&h, 3, value_of, narrow);
    assert_int_equal(h.n_bins, 10);
    assert_int_equal(h.bins[0].from, 100);
    assert_int_equal(h.bins[9].to, 199);
    lv_histogram_count(&h, 3, value_of, wide);
    assert_int_equal(h.n_bins, 8); /* 0, 1, 2-3, ..., 64-127 */
    assert_int_equal(h.bins[2].from, 2);
    assert_int_equal(h.bins[2].count, 1);
    assert_int_equal(h.bins[7].to, 127);
    lv_histogram_count(&h, 3, value_of, flags);
    assert_int_equal(h.n_bins, 2);
    assert_int_equal(h.bins[1].count, 2);
}

static void bars_fit_the_width_and_are_to_scale(void **state)
{
    (void)state;
    lv_histogram h = {.n_bins = 3, .decimals = 2, .n = 111};
    h.bins[0] = (lv_bin){.from = 0, .to = 49, .count = 100};
    h.bins[1] = (lv_bin){.from = 50, .to = 199, .count = 10};
    h.bins[2] = (lv_bin){.from = 200, .to = INT64_MAX, .count = 1};
    for (int columns = 60; columns <= 200; columns += 70) {
        char *text = NULL;
        size_t n = 0;
        long marks[3] = {0};
        FILE *out = open_memstream(&text, &n);
        assert_non_null(out);
        lv_histogram_print(out, &h, "title", columns);
        fclose(out);
        assert_non_null(strstr(text, "  title\n"));
        assert_non_null(strstr(text, "0.00-0.49  100  90.1% #"));
        assert_non_null(strstr(text, "2.00+    1   0.9% #"));
        char *line = strstr(text, "0.00");
        for (int b = 0; b < 3; b++, line++) {
            char *end = strchr(line, '\n'), *first = strchr(line, '#');
            while (line > text && line[-1] != '\n') {
                line--;
            }
            marks[b] = end - first;
            assert_true(end - line <= columns - 1);
            line = end;
        }
        assert_true(marks[0] > columns - 40);
        assert_in_range(marks[1], marks[0] / 10, marks[0] / 10 + 1);
        assert_in_range(marks[2], 1, marks[0] / 100 + 1);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bins_cover_all_values),
        cmocka_unit_test(narrow_values_have_equal_bins_and_wide_ones_powers_of_two),
        cmocka_unit_test(bars_fit_the_width_and_are_to_scale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
