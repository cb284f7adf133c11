/* SPDX-License-Identifier: Apache-2.0
 *
 * The lines that all of llava inspect prints.
 */
#include "tools/inspect.h"

#include "autograd/error.h"
#include "data/file.h"
#include "tools/terminal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    static const char *const units[] = {"bytes", "KB", "MB", "GB", "TB"};
    double n = (double)bytes;
    int unit = 0;
    for (; n >= 1000 && unit < 4; unit++) {
        n /= 1000;
    }
    printf("  %-20s %.*f %s\n", label, unit > 0, n, units[unit]);
}

int lv_inspect_verdict(int rc)
{
    if (rc == LV_OK) {
        printf("  whole: every byte is as it was written\n");
    }
    return rc;
}
