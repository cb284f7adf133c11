/* SPDX-License-Identifier: Apache-2.0 */
#include "data/base/clock.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

double lv_clock_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

const char *lv_duration_text(char buf[32], double seconds)
{
    const double longest_s = 1e9 - 1;
    long s = seconds > 0 ? (long)(fmin(seconds, longest_s) + 0.5) : 0; /* 0 for NaN */
    if (s >= 3600) {
        snprintf(buf, 32, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    } else {
        snprintf(buf, 32, "%ld:%02ld", s / 60, s % 60);
    }
    return buf;
}

const char *lv_duration_words(char buf[32], double seconds)
{
    if (seconds < 120) {
        snprintf(buf, 32, "%.0f seconds", seconds);
    } else if (seconds < 10800) {
        snprintf(buf, 32, "%.0f minutes", seconds / 60);
    } else {
        snprintf(buf, 32, "%.1f hours", seconds / 3600);
    }
    return buf;
}

const char *lv_bytes_text(char buf[32], int64_t n)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
    double value = (double)n;
    int unit = 0;
    for (; value >= 1000 && unit < 4; unit++) {
        value /= 1000;
    }
    snprintf(buf, 32, "%.*f %s", unit > 0, value, units[unit]);
    return buf;
}
