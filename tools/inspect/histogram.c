/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/inspect/histogram.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { TYPICAL_BINS = 10, WIDE = 16, LABEL_BYTES = 64, MIN_BAR = 10 };

/* The smallest of 1, 2, 5, 10, 20, 50, ... that is not below n. */
static int64_t nice_width(int64_t n)
{
    int64_t power = 1;
    while (power <= n / 10) {
        power *= 10;
    }
    return n <= power       ? power
           : n <= 2 * power ? 2 * power
           : n <= 5 * power ? 5 * power
                            : 10 * power;
}

static void add_bin(lv_histogram *h, int64_t from, int64_t to)
{
    h->bins[h->n_bins++] = (lv_bin){.from = from, .to = to};
}

static void make_bins(lv_histogram *h, int64_t min, int64_t max)
{
    if (max / WIDE > min || (min == 0 && max >= WIDE)) {
        if (min == 0) {
            add_bin(h, 0, 0);
        }
        for (int k = 0; k < 63 && max >> k; k++) {
            int64_t from = (int64_t)1 << k;
            if (min < 2 * (uint64_t)from) {
                add_bin(h, from, (int64_t)(2 * (uint64_t)from - 1));
            }
        }
        return;
    }
    int64_t width = nice_width((max - min) / TYPICAL_BINS + 1);
    for (int64_t from = min / width * width; from <= max; from += width) {
        add_bin(h, from, from + width - 1);
    }
}

void lv_histogram_count(lv_histogram *out, int64_t n,
                        int64_t (*value)(const void *context, int64_t i), const void *context)
{
    int64_t min = INT64_MAX, max = 0;
    *out = (lv_histogram){0};
    for (int64_t i = 0; i < n; i++) {
        int64_t v = value(context, i);
        min = v < min ? v : min;
        max = v > max ? v : max;
    }
    if (n > 0) {
        make_bins(out, min, max);
    }
    for (int64_t i = 0; i < n; i++) {
        lv_histogram_add(out, value(context, i));
    }
}

void lv_histogram_add(lv_histogram *h, int64_t value)
{
    for (int b = 0; b < h->n_bins; b++) {
        if (value >= h->bins[b].from && value <= h->bins[b].to) {
            h->bins[b].count++;
            h->n++;
            return;
        }
    }
}

static int print_value(char *text, size_t n, int64_t value, int decimals)
{
    return decimals > 0 ? snprintf(text, n, "%.*f", decimals, (double)value / pow(10, decimals))
                        : snprintf(text, n, "%" PRId64, value);
}

static const char *label_of(char text[LABEL_BYTES], const lv_bin *bin, int decimals)
{
    int n = print_value(text, LABEL_BYTES, bin->from, decimals);
    if (bin->to == INT64_MAX) {
        snprintf(text + n, LABEL_BYTES - (size_t)n, "+");
    } else if (bin->to > bin->from) {
        text[n++] = '-';
        print_value(text + n, LABEL_BYTES - (size_t)n, bin->to, decimals);
    }
    return text;
}

static void print_bar(FILE *out, int64_t count, int64_t most, int width)
{
    int n = (int)((double)count / (double)most * width + 0.5);
    n = count > 0 && n == 0 ? 1 : n;
    for (int i = 0; i < n; i++) {
        fputs(i == 0 ? " #" : "#", out);
    }
}

void lv_histogram_print(FILE *out, const lv_histogram *h, const char *title, int columns)
{
    char label[LABEL_BYTES], count[32];
    size_t label_width = 0;
    int count_width = 0;
    int64_t most = 1;
    for (int b = 0; b < h->n_bins; b++) {
        size_t length = strlen(label_of(label, &h->bins[b], h->decimals));
        int digits = snprintf(count, sizeof count, "%" PRId64, h->bins[b].count);
        label_width = length > label_width ? length : label_width;
        count_width = digits > count_width ? digits : count_width;
        most = h->bins[b].count > most ? h->bins[b].count : most;
    }
    int bar = columns - (int)label_width - count_width - 15;
    bar = bar > MIN_BAR ? bar : MIN_BAR;
    fprintf(out, "\n  %s\n", title);
    for (int b = 0; b < h->n_bins; b++) {
        double share = 100 * (double)h->bins[b].count / (double)h->n;
        fprintf(out, "    %*s  %*" PRId64 " %5.1f%%", (int)label_width,
                label_of(label, &h->bins[b], h->decimals), count_width, h->bins[b].count, share);
        print_bar(out, h->bins[b].count, most, bar);
        fputc('\n', out);
    }
}

cJSON *lv_histogram_json(const lv_histogram *h)
{
    cJSON *bins = cJSON_CreateArray();
    bool good = bins != NULL;
    for (int b = 0; good && b < h->n_bins; b++) {
        cJSON *bin = cJSON_CreateObject();
        good = bin && cJSON_AddItemToArray(bins, bin) &&
               cJSON_AddNumberToObject(bin, "from", (double)h->bins[b].from) &&
               (h->bins[b].to == INT64_MAX
                    ? cJSON_AddNullToObject(bin, "to")
                    : cJSON_AddNumberToObject(bin, "to", (double)h->bins[b].to)) &&
               cJSON_AddNumberToObject(bin, "count", (double)h->bins[b].count);
    }
    if (!good) {
        cJSON_Delete(bins);
        return NULL;
    }
    return bins;
}
