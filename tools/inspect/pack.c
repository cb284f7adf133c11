/* SPDX-License-Identifier: Apache-2.0
 *
 * llava inspect PACK: counts, histograms, what a length limit cuts, rejects.
 */
#include "tools/inspect/inspect.h"

#include "autograd/error.h"
#include "data/base/clock.h"
#include "data/json/json.h"
#include "data/pack/manifest.h"
#include "tools/inspect/pack_stats.h"
#include "tools/terminal.h"
#include "train/host/progress.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHOWN_REASONS = 8 };
static const double QUIET_S = 2; /* no progress is shown before */

/* ---- progress, on a terminal ---- */

static double begin_s;

static void show_progress(const char *what, int64_t done, int64_t all)
{
    char eta[32];
    double elapsed_s = lv_clock_s() - begin_s;
    if (!isatty(STDOUT_FILENO) || elapsed_s < QUIET_S) {
        return;
    }
    double left_s = (double)(all - done) * elapsed_s / fmax((double)done, 1);
    lv_progress_show(false, "%s %" PRId64 "/%" PRId64 "  ETA %s", what, done, all,
                     done > 0 ? lv_duration_text(eta, left_s) : "?");
}

static void show_verified(int64_t done_bytes, int64_t all_bytes)
{
    show_progress("comparing every byte: MB", done_bytes / 1000000, all_bytes / 1000000);
}

static void begin_progress(void)
{
    lv_progress_end();
    begin_s = lv_clock_s();
}

static int read_stats(lv_pack_stats *stats, lv_pack *pack, const lv_inspect_options *options)
{
    void (*watch)(const char *, int64_t, int64_t) = options->json ? NULL : show_progress;
    int rc = LV_OK;
    if (!options->quick) {
        begin_progress();
        rc = lv_pack_verify(pack, options->json ? NULL : show_verified);
    }
    begin_progress();
    if (rc == LV_OK) {
        rc = lv_pack_stats_read(stats, pack, lv_inspect_rows_per_image(pack, options),
                                lv_inspect_max_length(options), watch);
    }
    lv_progress_end();
    return rc;
}

/* ---- as text ---- */

static void print_pack_images(const lv_pack *pack, const lv_pack_stats *s)
{
    lv_aspect aspect = LV_ASPECT_SQUARE;
    int size = lv_pack_stored_size(pack, &aspect);
    if (size > 0) {
        printf("  %-20s RGB %d x %d, %s\n", "images stored", size, size, lv_aspect_name(aspect));
    } else if (s->n_images > 0) {
        printf("  %-20s as found:", "images stored");
        for (int f = 0, n = 0; f < LV_N_IMAGE_FORMATS; f++) {
            if (s->n_of_format[f] > 0) {
                printf("%s %" PRId64 " %s", n++ ? "," : "", s->n_of_format[f],
                       lv_image_format_name(f));
            }
        }
        printf("\n");
    }
    lv_inspect_count("distinct images", s->n_images);
    if (s->n_images > 0) {
        lv_inspect_bytes("their bytes", s->image_bytes);
    }
}

/* By reason; nothing if there are none. */
static int print_rejects(const char *dir, int64_t n_rejects, int64_t n_records)
{
    lv_reject_reason reasons[SHOWN_REASONS];
    int64_t n_other = n_rejects;
    int n = n_rejects > 0 ? lv_pack_reject_reasons(reasons, SHOWN_REASONS, dir) : 0;
    if (n_rejects == 0 || n < 0) {
        return n;
    }
    printf("  %-20s %" PRId64 " of %" PRId64 " records, listed in %s/" LV_PACK_REJECTS_NAME "\n",
           "rejected", n_rejects, n_records, dir);
    for (int i = 0; i < n; i++) {
        printf("    %8" PRId64 "  ", reasons[i].n);
        lv_print_shown(stdout, reasons[i].text, strlen(reasons[i].text));
        printf("\n");
        n_other -= reasons[i].n;
    }
    if (n_other > 0) {
        printf("    %8" PRId64 "  other reasons\n", n_other);
    }
    return LV_OK;
}

static void print_cuts(const lv_pack_stats *s, int64_t max_length, int rows_per_image)
{
    printf("\n  max_length %" PRId64 " (--max-length), an image being %d rows "
           "(--rows-per-image)\n",
           max_length, rows_per_image);
    lv_inspect_share("  samples cut", s->n_cut, s->n_samples);
    lv_inspect_share("  left without label", s->n_unlabelled, s->n_samples);
    lv_inspect_share("  labels lost", s->n_lost, s->n_supervised);
}

static void print_histograms(const lv_pack_stats *s, bool stored)
{
    lv_painter painter;
    lv_painter_start(&painter, stdout);
    const int columns = painter.columns;
    lv_histogram_print(stdout, &s->tokens, "tokens of a sample, an image being one", columns);
    if (s->n_sample_images > 0) {
        lv_histogram_print(stdout, &s->rows, "rows of a sample, images expanded", columns);
    }
    lv_histogram_print(stdout, &s->supervised, "supervised tokens of a sample", columns);
    if (s->n_sample_images > 0) {
        lv_histogram_print(stdout, &s->images, "images of a sample", columns);
    }
    if (s->n_images > 0 && !stored) {
        lv_histogram_print(stdout, &s->edge, "shorter edge of an image, pixels", columns);
        lv_histogram_print(stdout, &s->aspect, "width / height of an image", columns);
    }
}

static int print_pack(const char *dir, const lv_pack *pack, const lv_pack_stats *s,
                      const lv_pack_summary *totals, const lv_inspect_options *options)
{
    lv_aspect aspect;
    printf("%s: a pack\n", dir);
    lv_inspect_text("template", lv_pack_template(pack));
    lv_inspect_text("tokenizer", lv_pack_tokenizer_fingerprint(pack));
    lv_inspect_count("samples", s->n_samples);
    lv_inspect_count("of them text only", s->n_text_only);
    lv_inspect_count("images in samples", s->n_sample_images);
    print_pack_images(pack, s);
    lv_inspect_count("tokens", s->n_tokens);
    lv_inspect_share("supervised tokens", s->n_supervised, s->n_tokens);
    lv_inspect_count("longest, tokens", s->longest);
    int rc = print_rejects(dir, totals->n_rejects, totals->n_records);
    if (rc < 0) {
        return rc;
    }
    if (s->n_samples > 0) {
        print_cuts(s, lv_inspect_max_length(options), lv_inspect_rows_per_image(pack, options));
        print_histograms(s, lv_pack_stored_size(pack, &aspect) > 0);
    }
    printf("\n");
    if (options->quick) {
        printf("  its bytes were not compared with the checksums (--quick)\n");
        return LV_OK;
    }
    return lv_inspect_result(LV_OK);
}

/* ---- as JSON ---- */

static bool add_count(cJSON *object, const char *name, int64_t n)
{
    return cJSON_AddNumberToObject(object, name, (double)n);
}

static bool add_histogram(cJSON *object, const char *name, const lv_histogram *h)
{
    return cJSON_AddItemToObject(object, name, lv_histogram_json(h));
}

static bool add_limit(cJSON *root, const lv_pack_stats *s, int64_t max_length, int rows_per_image)
{
    cJSON *limit = cJSON_AddObjectToObject(root, "limit");
    return add_count(limit, "max_length", max_length) &&
           add_count(limit, "rows_per_image", rows_per_image) &&
           add_count(limit, "samples_cut", s->n_cut) &&
           add_count(limit, "samples_without_label", s->n_unlabelled) &&
           add_count(limit, "labels_lost", s->n_lost);
}

static bool add_histograms(cJSON *root, const lv_pack_stats *s)
{
    cJSON *all = cJSON_AddObjectToObject(root, "histograms");
    return add_histogram(all, "tokens", &s->tokens) && add_histogram(all, "rows", &s->rows) &&
           add_histogram(all, "supervised_tokens", &s->supervised) &&
           add_histogram(all, "images", &s->images) && add_histogram(all, "edge", &s->edge) &&
           add_histogram(all, "width_per_height_percent", &s->aspect);
}

static bool add_formats(cJSON *root, const lv_pack_stats *s)
{
    cJSON *formats = cJSON_AddObjectToObject(root, "formats");
    bool good = formats != NULL;
    for (int f = 0; f < LV_N_IMAGE_FORMATS; f++) {
        good = good && add_count(formats, lv_image_format_name(f), s->n_of_format[f]);
    }
    return good;
}

static int print_pack_json(const char *dir, const lv_pack *pack, const lv_pack_stats *s,
                           const lv_pack_summary *totals, const lv_inspect_options *options)
{
    cJSON *root = cJSON_CreateObject();
    char *text = NULL;
    if (cJSON_AddStringToObject(root, "pack", dir) &&
        cJSON_AddStringToObject(root, "template", lv_pack_template(pack)) &&
        cJSON_AddStringToObject(root, "tokenizer", lv_pack_tokenizer_fingerprint(pack)) &&
        add_count(root, "records", totals->n_records) &&
        add_count(root, "rejects", totals->n_rejects) && add_count(root, "samples", s->n_samples) &&
        add_count(root, "text_only", s->n_text_only) && add_count(root, "tokens", s->n_tokens) &&
        add_count(root, "supervised_tokens", s->n_supervised) &&
        add_count(root, "longest_tokens", s->longest) &&
        add_count(root, "sample_images", s->n_sample_images) &&
        add_count(root, "images", s->n_images) && add_count(root, "image_bytes", s->image_bytes) &&
        add_formats(root, s) &&
        add_limit(root, s, lv_inspect_max_length(options),
                  lv_inspect_rows_per_image(pack, options)) &&
        add_histograms(root, s) && cJSON_AddBoolToObject(root, "verified", !options->quick)) {
        text = lv_json_print_line(root);
    }
    cJSON_Delete(root);
    if (!text) {
        return lv_fail(LV_ERR_MEMORY, "out of memory");
    }
    lv_json_print_shown(stdout, text);
    free(text);
    return LV_OK;
}

static int inspect_whole(const char *dir, lv_pack *pack, const lv_inspect_options *options)
{
    lv_pack_summary totals = {0};
    lv_pack_stats *stats = malloc(sizeof *stats);
    int rc = stats ? read_stats(stats, pack, options) : lv_fail(LV_ERR_MEMORY, "out of memory");
    if (rc == LV_OK) rc = lv_pack_manifest_totals(&totals, lv_pack_manifest(pack));
    if (rc == LV_OK) {
        rc = options->json ? print_pack_json(dir, pack, stats, &totals, options)
                           : print_pack(dir, pack, stats, &totals, options);
    }
    free(stats);
    return rc;
}

int lv_inspect_pack(const char *dir, const lv_inspect_options *options)
{
    lv_pack *pack = NULL;
    int rc = lv_pack_open(&pack, dir);
    if (rc == LV_OK) {
        rc = options->sample != LV_NOT_GIVEN || options->id ? lv_inspect_sample(dir, pack, options)
                                                            : inspect_whole(dir, pack, options);
    }
    lv_pack_close(&pack);
    return rc;
}
