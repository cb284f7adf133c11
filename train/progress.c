/* SPDX-License-Identifier: Apache-2.0 */
#include "train/progress.h"

#include "train/metrics.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const double QUIET_S = 10;

static bool line_open;
static double last_line_s = -1e9;

void lv_progress_show(bool always, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (isatty(STDOUT_FILENO)) {
        printf("\r\033[K%s", text);
        line_open = true;
    } else if (always || lv_clock_s() - last_line_s >= QUIET_S) {
        printf("%s\n", text);
        last_line_s = lv_clock_s();
    }
    fflush(stdout);
}

void lv_progress_end(void)
{
    if (line_open) {
        printf("\n");
        fflush(stdout);
        line_open = false;
    }
}

const char *lv_duration_text(char buf[32], double seconds)
{
    long s = seconds > 0 && seconds < 1e9 ? (long)(seconds + 0.5) : 0;
    if (s >= 3600) {
        snprintf(buf, 32, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    } else {
        snprintf(buf, 32, "%ld:%02ld", s / 60, s % 60);
    }
    return buf;
}
