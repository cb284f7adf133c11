/* SPDX-License-Identifier: Apache-2.0
 *
 * Output and defaults that all of llava inspect shares.
 */
#include "tools/inspect/inspect.h"

#include "autograd/error.h"
#include "data/base/clock.h"
#include "data/base/file.h"
#include "tools/terminal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_IMAGE_SIZE = 336, DEFAULT_MAX_LENGTH = 2048, PATCH = 14 };

int lv_inspect_image_size(const lv_pack *pack, const lv_inspect_options *options)
{
    lv_aspect aspect;
    int stored = lv_pack_stored_size(pack, &aspect);
    return options->image_size != LV_NOT_GIVEN ? (int)options->image_size
           : stored > 0                        ? stored
                                               : DEFAULT_IMAGE_SIZE;
}

int64_t lv_inspect_max_length(const lv_inspect_options *options)
{
    return options->max_length != LV_NOT_GIVEN ? options->max_length : DEFAULT_MAX_LENGTH;
}

int lv_inspect_rows_per_image(const lv_pack *pack, const lv_inspect_options *options)
{
    int edge = lv_inspect_image_size(pack, options) / PATCH;
    return options->rows_per_image != LV_NOT_GIVEN ? (int)options->rows_per_image
           : edge > 0                              ? edge * edge
                                                   : 1;
}

bool lv_inspect_has(const char *dir, const char *name)
{
    char *path = lv_path("%s/%s", dir, name);
    bool there = lv_file_exists(path);
    free(path);
    return there;
}

void lv_inspect_text(const char *label, const char *text)
{
    printf("  %-20s ", label);
    lv_print_shown(stdout, text, strlen(text));
    printf("\n");
}

void lv_inspect_count(const char *label, int64_t n)
{
    printf("  %-20s %" PRId64 "\n", label, n);
}

void lv_inspect_share(const char *label, int64_t n, int64_t all)
{
    printf("  %-20s %" PRId64 " (%.2f%%)\n", label, n,
           all > 0 ? 100 * (double)n / (double)all : 0.0);
}

void lv_inspect_bytes(const char *label, int64_t bytes)
{
    char text[32];
    printf("  %-20s %s\n", label, lv_bytes_text(text, bytes));
}

int lv_inspect_result(int rc)
{
    if (rc == LV_OK) {
        printf("  whole: every byte is as it was written\n");
    }
    return rc;
}
