/* SPDX-License-Identifier: Apache-2.0
 *
 * llava inspect PACK: the records that were rejected, by reason.
 */
#include "tools/inspect.h"

#include "autograd/error.h"
#include "data/file.h"
#include "data/json.h"
#include "data/pack_manifest.h"
#include "tools/terminal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_REASONS = 256, SHOWN = 8 };

typedef struct {
    char *text;
    int64_t n;
} reason;

typedef struct {
    int n;
    reason items[MAX_REASONS];
    int64_t n_other; /* of further reasons, or lines that can not be read */
} reasons;

/* The reason without what differs from record to record, its image's name; free() it. */
static char *reason_of(const cJSON *line)
{
    const char *text = NULL, *image = NULL;
    if (lv_json_string(line, "reason", true, &text) < 0 ||
        lv_json_string(line, "image", false, &image) < 0) {
        return NULL;
    }
    const char *at = image && *image ? strstr(text, image) : NULL;
    return at ? lv_path("%.*s*%s", (int)(at - text), text, at + strlen(image)) : strdup(text);
}

/* Takes the text over. */
static void add(reasons *all, char *text)
{
    for (int i = 0; text && i < all->n; i++) {
        if (strcmp(all->items[i].text, text) == 0) {
            all->items[i].n++;
            free(text);
            return;
        }
    }
    if (text && all->n < MAX_REASONS) {
        all->items[all->n++] = (reason){text, 1};
        return;
    }
    all->n_other++;
    free(text);
}

static int read_reasons(reasons *all, const char *path)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n = 0;
    if (!file) {
        return lv_fail_errno(LV_ERR_IO, "%s: opening", path);
    }
    while ((n = getline(&line, &capacity, file)) > 0) {
        cJSON *json = NULL;
        add(all, lv_json_parse(&json, line, (size_t)n) == LV_OK ? reason_of(json) : NULL);
        cJSON_Delete(json);
    }
    int rc = ferror(file) ? lv_fail_errno(LV_ERR_IO, "%s: reading", path) : LV_OK;
    free(line);
    fclose(file);
    return rc;
}

static int by_count(const void *a, const void *b)
{
    int64_t m = ((const reason *)a)->n, n = ((const reason *)b)->n;
    return m < n ? 1 : m > n ? -1 : strcmp(((const reason *)a)->text, ((const reason *)b)->text);
}

static void print_reasons(reasons *all)
{
    qsort(all->items, (size_t)all->n, sizeof *all->items, by_count);
    for (int i = 0; i < all->n; i++) {
        if (i < SHOWN) {
            printf("    %8" PRId64 "  ", all->items[i].n);
            lv_print_shown(stdout, all->items[i].text, strlen(all->items[i].text));
            printf("\n");
        } else {
            all->n_other += all->items[i].n;
        }
    }
    if (all->n_other > 0) {
        printf("    %8" PRId64 "  other reasons\n", all->n_other);
    }
}

int lv_inspect_rejects(const char *dir, int64_t n_rejects, int64_t n_records)
{
    if (n_rejects == 0) {
        return LV_OK;
    }
    reasons *all = calloc(1, sizeof *all);
    if (!all) {
        return lv_fail(LV_ERR_MEMORY, "out of memory");
    }
    char *path = lv_path("%s/" LV_PACK_REJECTS_NAME, dir);
    int rc = read_reasons(all, path);
    if (rc == LV_OK) {
        printf("  %-20s %" PRId64 " of %" PRId64 " records, listed in %s\n", "rejected", n_rejects,
               n_records, path);
        print_reasons(all);
    }
    for (int i = 0; i < all->n; i++) {
        free(all->items[i].text);
    }
    free(all);
    free(path);
    return rc;
}
