/* SPDX-License-Identifier: Apache-2.0
 *
 * llava inspect PACK --sample K: one sample as in training.
 */
#include "tools/inspect/inspect.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "data/loader/batch.h"
#include "data/pack/manifest.h"
#include "data/tokenizer/tokenizer.h"
#include "tools/inspect/pack_stats.h"
#include "tools/inspect/prompt_runs.h"
#include "tools/terminal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_IMAGES = 16 };

typedef struct {
    int64_t number, source_index;
    lv_sample_counts counts;
    char *id;
    int32_t *tokens;
    uint8_t *supervised;
    int64_t *image_ids;
    lv_prompt_runs runs;
    bool has_text; /* runs are there */
} shown_sample;

static void sample_free(shown_sample *v)
{
    free(v->id);
    free(v->tokens);
    free(v->supervised);
    free(v->image_ids);
    lv_prompt_runs_free(&v->runs);
}

/* ---- reading ---- */

static int find_sample(int64_t *number, lv_pack *pack, const lv_inspect_options *options)
{
    const int64_t n = lv_pack_n_samples(pack);
    int64_t n_found = 0;
    if (!options->id) {
        *number = options->sample;
        return *number >= 0 && *number < n
                   ? LV_OK
                   : lv_fail(LV_ERR_CONFIG,
                             "--sample %" PRId64 ": the pack has %" PRId64 " samples, from 0",
                             *number, n);
    }
    int rc = lv_pack_find_id(pack, options->id, number, &n_found);
    if (rc == LV_OK && n_found == 0) {
        rc = lv_fail(LV_ERR_CONFIG, "--id %s: no sample has this id", options->id);
    }
    if (rc == LV_OK && n_found > 1 && !options->json) {
        printf("%" PRId64 " samples have the id %s; this is the first\n", n_found, options->id);
    }
    return rc;
}

static int read_sample(shown_sample *v, lv_pack *pack)
{
    v->counts = lv_pack_counts(pack)[v->number];
    v->tokens = calloc((size_t)v->counts.n_tokens + 1, sizeof *v->tokens);
    v->supervised = calloc((size_t)v->counts.n_tokens + 1, sizeof *v->supervised);
    v->image_ids = calloc((size_t)v->counts.n_images + 1, sizeof *v->image_ids);
    int rc =
        v->tokens && v->supervised && v->image_ids
            ? lv_pack_read_sample(pack, v->number, v->tokens, v->supervised, v->image_ids, &v->id)
            : lv_fail(LV_ERR_MEMORY, "no memory for a sample of %d tokens", v->counts.n_tokens);
    return rc < 0 ? rc : lv_pack_source_index(pack, v->number, &v->source_index);
}

/* The text, by the given tokenizer or the pack's own copy; none without either. */
static int read_sample_text(shown_sample *v, const char *dir, const lv_pack *pack,
                            const char *given)
{
    char *path = given ? lv_path("%s", given) : lv_path("%s/" LV_PACK_TOKENIZER_NAME, dir);
    lv_tokenizer *tokenizer = NULL;
    if (!given && !lv_dir_exists(path)) {
        free(path);
        return LV_OK;
    }
    int rc = lv_tokenizer_open(&tokenizer, path);
    if (rc == LV_OK &&
        strcmp(lv_tokenizer_fingerprint(tokenizer), lv_pack_tokenizer_fingerprint(pack)) != 0) {
        rc =
            lv_fail(given ? LV_ERR_CONFIG : LV_ERR_FORMAT,
                    "%s: this tokenizer (%s) is not the one that the pack was made with (%s)", path,
                    lv_tokenizer_fingerprint(tokenizer), lv_pack_tokenizer_fingerprint(pack));
    }
    if (rc == LV_OK) {
        rc = lv_prompt_runs_create(&v->runs, tokenizer, v->tokens, v->supervised,
                                   (size_t)v->counts.n_tokens);
        v->has_text = rc == LV_OK;
        rc = rc < 0 ? lv_fail_within("%s: sample %" PRId64, dir, v->number) : rc;
    }
    lv_tokenizer_close(&tokenizer);
    free(path);
    return rc;
}

/* ---- as text ---- */

static int print_sample_images(const shown_sample *v, lv_pack *pack)
{
    for (int32_t k = 0; k < v->counts.n_images && k < SHOWN_IMAGES; k++) {
        lv_image_facts f;
        char label[32];
        int rc = lv_pack_image_facts(pack, v->image_ids[k], &f);
        if (rc < 0) {
            return rc;
        }
        snprintf(label, sizeof label, "image %d", k);
        printf("  %-20s ", label);
        lv_print_shown(stdout, f.name, f.name_bytes);
        printf(": %s, %d x %d pixels, %" PRId64 " bytes\n", lv_image_format_name(f.format), f.width,
               f.height, f.n_bytes);
    }
    if (v->counts.n_images > SHOWN_IMAGES) {
        printf("  %-20s and %d more\n", "", v->counts.n_images - SHOWN_IMAGES);
    }
    return LV_OK;
}

static void print_counts(const shown_sample *v, int64_t rows, int64_t n_labels, int rows_per_image,
                         int64_t max_length)
{
    printf("  %-20s %d, %d of them supervised\n", "tokens", v->counts.n_tokens,
           v->counts.n_supervised);
    printf("  %-20s %" PRId64, "rows", rows);
    if (v->counts.n_images > 0) {
        printf(", an image being %d (--rows-per-image)", rows_per_image);
    }
    if (rows > max_length) {
        printf("; cut to %" PRId64 " (--max-length), which leaves %" PRId64 " of the %d labels",
               max_length, n_labels, v->counts.n_supervised);
    }
    printf("\n");
}

static int print_head(const shown_sample *v, const char *dir, lv_pack *pack,
                      const lv_inspect_options *options)
{
    const int rows_per_image = lv_inspect_rows_per_image(pack, options);
    const char *source = "";
    int64_t n_labels = 0;
    int rc = lv_json_string(lv_pack_manifest(pack), "source_name", false, &source);
    if (rc == LV_OK) {
        rc = lv_batch_labels(&n_labels, pack, v->number, rows_per_image,
                             lv_inspect_max_length(options));
    }
    if (rc < 0) {
        return rc;
    }
    printf("%s: sample %" PRId64 " of %" PRId64 ", from 0\n", dir, v->number,
           lv_pack_n_samples(pack));
    lv_inspect_text("id", v->id);
    printf("  %-20s record %" PRId64 " of ", "source", v->source_index);
    lv_print_shown(stdout, source, strlen(source));
    printf(", from 0\n");
    lv_inspect_text("template", lv_pack_template(pack));
    rc = print_sample_images(v, pack);
    if (rc == LV_OK) {
        print_counts(v, lv_batch_length(&v->counts, rows_per_image, 0), n_labels, rows_per_image,
                     lv_inspect_max_length(options));
    }
    return rc;
}

static void print_prompt(lv_painter *p, const shown_sample *v, const char *dir)
{
    if (!v->has_text) {
        printf("\n  no text: %s/tokenizer is not there, the pack has no copy of its tokenizer; "
               "--tokenizer DIR|FILE names it\n",
               dir);
        return;
    }
    printf("\n");
    for (size_t r = 0; r < v->runs.n; r++) {
        const lv_prompt_run *run = &v->runs.items[r];
        lv_painter_text(p, run->text, strlen(run->text),
                        (run->supervised ? LV_STYLE_SUPERVISED : 0) |
                            (run->kind == LV_RUN_TEXT ? 0 : LV_STYLE_PIECE));
    }
    lv_painter_style(p, 0);
    printf("\n");
}

/* Wrapped at the width of the terminal; without colours a mark takes a column. */
static void print_ids(lv_painter *p, const shown_sample *v)
{
    int column = 0;
    printf("\n");
    for (int32_t i = 0; i < v->counts.n_tokens; i++) {
        const bool was = i > 0 && v->supervised[i - 1], is = v->supervised[i];
        char text[16];
        int width = snprintf(text, sizeof text, "%d", v->tokens[i]);
        width += p->has_color ? 0 : is && !was ? 2 : is; /* a closing mark may follow */
        if (!is) {
            lv_painter_style(p, 0);
        }
        if (i > 0 && column + 1 + width > p->columns) {
            printf("\n");
            column = 0;
        } else if (i > 0) {
            printf(" ");
            column++;
        }
        lv_painter_style(p, is ? LV_STYLE_SUPERVISED : 0);
        printf("%s", text);
        column += width;
        column -= is && i + 1 < v->counts.n_tokens && v->supervised[i + 1] && !p->has_color;
    }
    lv_painter_style(p, 0);
    printf("\n");
}

static int print_sample(const shown_sample *v, const char *dir, lv_pack *pack,
                        const lv_inspect_options *options)
{
    lv_painter painter;
    int rc = print_head(v, dir, pack, options);
    if (rc == LV_OK) {
        lv_painter_start(&painter, stdout);
        printf("  %-20s ", "supervised");
        lv_painter_style(&painter, LV_STYLE_SUPERVISED);
        printf("%s", painter.has_color ? "in green" : "between these marks");
        lv_painter_style(&painter, 0);
        printf("\n");
        print_prompt(&painter, v, dir);
        print_ids(&painter, v);
    }
    return rc;
}

/* ---- as JSON ---- */

static bool add_image(cJSON *images, const lv_image_facts *f)
{
    cJSON *image = cJSON_CreateObject();
    char *name = lv_path("%.*s", (int)f->name_bytes, f->name);
    bool good = image && cJSON_AddItemToArray(images, image) &&
                cJSON_AddStringToObject(image, "name", name) &&
                cJSON_AddStringToObject(image, "format", lv_image_format_name(f->format)) &&
                cJSON_AddNumberToObject(image, "width", f->width) &&
                cJSON_AddNumberToObject(image, "height", f->height) &&
                cJSON_AddNumberToObject(image, "bytes", (double)f->n_bytes);
    free(name);
    return good;
}

static bool append_number(cJSON *array, double value)
{
    return cJSON_AddItemToArray(array, cJSON_CreateNumber(value));
}

static bool add_run(cJSON *runs, const lv_prompt_run *run)
{
    static const char *const kinds[] = {"text", "piece", "image"};
    cJSON *item = cJSON_CreateObject();
    return item && cJSON_AddItemToArray(runs, item) &&
           cJSON_AddStringToObject(item, "kind", kinds[run->kind]) &&
           cJSON_AddBoolToObject(item, "supervised", run->supervised) &&
           cJSON_AddNumberToObject(item, "begin", (double)run->begin) &&
           cJSON_AddNumberToObject(item, "end", (double)run->end) &&
           cJSON_AddStringToObject(item, "text", run->text);
}

static bool add_tokens(cJSON *root, const shown_sample *v)
{
    cJSON *tokens = cJSON_AddArrayToObject(root, "tokens");
    cJSON *supervised = cJSON_AddArrayToObject(root, "supervised");
    cJSON *runs = v->has_text ? cJSON_AddArrayToObject(root, "runs") : NULL;
    bool good = tokens && supervised && (runs || !v->has_text);
    for (int32_t i = 0; good && i < v->counts.n_tokens; i++) {
        good = append_number(tokens, v->tokens[i]) && append_number(supervised, v->supervised[i]);
    }
    for (size_t r = 0; good && r < v->runs.n; r++) {
        good = add_run(runs, &v->runs.items[r]);
    }
    return good;
}

static int print_sample_json(const shown_sample *v, lv_pack *pack,
                             const lv_inspect_options *options)
{
    const int rows_per_image = lv_inspect_rows_per_image(pack, options);
    cJSON *root = cJSON_CreateObject();
    bool good = cJSON_AddNumberToObject(root, "sample", (double)v->number) &&
                cJSON_AddStringToObject(root, "id", v->id) &&
                cJSON_AddNumberToObject(root, "source_index", (double)v->source_index) &&
                cJSON_AddStringToObject(root, "template", lv_pack_template(pack)) &&
                cJSON_AddNumberToObject(root, "rows",
                                        (double)lv_batch_length(&v->counts, rows_per_image, 0));
    cJSON *images = cJSON_AddArrayToObject(root, "images");
    int rc = LV_OK;
    for (int32_t k = 0; good && rc == LV_OK && k < v->counts.n_images; k++) {
        lv_image_facts f;
        rc = lv_pack_image_facts(pack, v->image_ids[k], &f);
        good = rc < 0 || add_image(images, &f);
    }
    good = good && (rc < 0 || add_tokens(root, v));
    char *text = good && rc == LV_OK ? lv_json_print_line(root) : NULL;
    cJSON_Delete(root);
    if (text) {
        lv_json_print_shown(stdout, text);
    } else if (rc == LV_OK) {
        rc = lv_fail(LV_ERR_MEMORY, "out of memory");
    }
    free(text);
    return rc;
}

int lv_inspect_sample(const char *dir, lv_pack *pack, const lv_inspect_options *options)
{
    shown_sample view = {0};
    int rc = find_sample(&view.number, pack, options);
    if (rc == LV_OK) rc = read_sample(&view, pack);
    if (rc == LV_OK) rc = read_sample_text(&view, dir, pack, options->tokenizer);
    if (rc == LV_OK && options->png) {
        rc = lv_inspect_png(pack, view.image_ids, view.counts.n_images, options);
    }
    if (rc == LV_OK) {
        rc = options->json ? print_sample_json(&view, pack, options)
                           : print_sample(&view, dir, pack, options);
    }
    sample_free(&view);
    return rc;
}
