/* SPDX-License-Identifier: Apache-2.0 */
#include "train/host/tell.h"

#include "autograd/error.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_BYTES = 8192, PAUSE_MS = 100 };

void lv_tell(const char *fmt, ...)
{
    char text[TEXT_BYTES];
    const char *label = lv_rank_label();
    va_list args;
    size_t n = (size_t)snprintf(text, sizeof text, "llava: %s%s", label, *label ? ": " : "");
    va_start(args, fmt);
    vsnprintf(text + n, sizeof text - n - 1, fmt, args);
    va_end(args);
    n = strlen(text);
    if (text[n - 1] != '\n') {
        text[n++] = '\n';
    }
    for (size_t at = 0; at < n;) {
        ssize_t written = write(STDERR_FILENO, text + at, n - at);
        if (written <= 0) {
            return; /* nobody listens */
        }
        at += (size_t)written;
    }
}

void lv_tell_pause(void)
{
    poll(NULL, 0, PAUSE_MS);
}
