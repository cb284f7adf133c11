/* SPDX-License-Identifier: Apache-2.0
 *
 * Histograms of whole numbers, drawn in plain characters.
 */
#ifndef LV_TOOLS_INSPECT_HISTOGRAM_H
#define LV_TOOLS_INSPECT_HISTOGRAM_H

#include <cjson/cJSON.h>
#include <stdint.h>
#include <stdio.h>

enum { LV_MAX_BINS = 64 };

typedef struct {
    int64_t from, to; /* inclusive; to INT64_MAX: no upper end */
    int64_t count;
} lv_bin;

typedef struct {
    int n_bins;
    int decimals; /* values are shown divided by 10^decimals */
    int64_t n;    /* values counted */
    lv_bin bins[LV_MAX_BINS];
} lv_histogram;

/* lv_histogram_count: n values >= 0, value(context, i) each. The bins cover them all: up to 12 of
 * one width (1, 2 or 5 times a power of ten), or powers of two if the largest value is more than 16
 * times the smallest. */
void lv_histogram_count(lv_histogram *out, int64_t n,
                        int64_t (*value)(const void *context, int64_t i), const void *context);

/* lv_histogram_add: to the bin that has the value, if there is one. */
void lv_histogram_add(lv_histogram *histogram, int64_t value);

/* lv_histogram_print: title, then a line a bin; the longest bar ends at the last column. */
void lv_histogram_print(FILE *out, const lv_histogram *histogram, const char *title, int columns);

/* lv_histogram_json: [{"from", "to", "count"}]; "to" is null without an upper end. The caller's;
 * NULL: out of memory. */
cJSON *lv_histogram_json(const lv_histogram *histogram);

#endif
