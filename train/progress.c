/* SPDX-License-Identifier: Apache-2.0 */
#include "train/progress.h"

#include "train/metrics.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double QUIET_S = 10;

static bool line_open;
static double last_line_s = -1e9;

/* mpirun gives its ranks a terminal each, wherever its own output goes: what counts then is the
 * launcher's. */
static bool stdout_is_terminal(void)
{
    char link[64], target[256];
    if (!isatty(STDOUT_FILENO)) {
        return false;
    }
    if (!getenv("OMPI_COMM_WORLD_RANK") && !getenv("PMI_RANK") && !getenv("PMIX_RANK")) {
        return true;
    }
    snprintf(link, sizeof link, "/proc/%ld/fd/1", (long)getppid());
    ssize_t n = readlink(link, target, sizeof target - 1);
    target[n > 0 ? n : 0] = '\0';
    return strncmp(target, "/dev/pts/", 9) == 0 || strncmp(target, "/dev/tty", 8) == 0;
}

void lv_progress_show(bool always, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (stdout_is_terminal()) {
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
