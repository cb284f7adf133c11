/* SPDX-License-Identifier: Apache-2.0
 *
 * Time, and times and sizes as text.
 */
#ifndef LV_DATA_BASE_CLOCK_H
#define LV_DATA_BASE_CLOCK_H

#include <stdint.h>

/* lv_clock_s: seconds on the monotonic clock. */
double lv_clock_s(void);

/* lv_duration_text: "1:02:03" or "2:03", at most some 30 years; returns buf. */
const char *lv_duration_text(char buf[32], double seconds);

/* lv_duration_words: "90 seconds", "12 minutes", "3.5 hours"; returns buf. */
const char *lv_duration_words(char buf[32], double seconds);

/* lv_bytes_text: "12.3 MB", decimal; returns buf. */
const char *lv_bytes_text(char buf[32], int64_t n);

#endif
