/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Thread_local char message[LV_MESSAGE_BYTES];
static _Thread_local int message_code;

static void (*abort_hook)(void);
static char rank_label[128];

int lv_fail(int code, const char *fmt, ...)
{
    va_list args;
    char text[LV_MESSAGE_BYTES]; /* the arguments may point into the old message */
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    memcpy(message, text, sizeof message);
    message_code = code;
    return code;
}

int lv_fail_errno(int code, const char *fmt, ...)
{
    int saved_errno = errno;
    va_list args;
    char text[LV_MESSAGE_BYTES];
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return lv_fail(code, "%s: %s", text, strerror(saved_errno));
}

int lv_fail_within(const char *fmt, ...)
{
    va_list args;
    char text[LV_MESSAGE_BYTES];
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return lv_fail(message_code, "%s: %s", text, message);
}

const char *lv_error_message(void)
{
    return message;
}

void lv_failure_take(lv_failure *out, int rc)
{
    out->code = rc;
    snprintf(out->message, sizeof out->message, "%s", rc < 0 ? message : "");
}

int lv_failure_raise(const lv_failure *failure)
{
    return failure->code < 0 ? lv_fail(failure->code, "%s", failure->message) : failure->code;
}

void lv_abort_hook_set(void (*hook)(void))
{
    abort_hook = hook;
}

void lv_rank_label_set(const char *label)
{
    snprintf(rank_label, sizeof rank_label, "%s", label);
}

const char *lv_rank_label(void)
{
    return rank_label;
}

void lv_message_write(int fd, const char *text, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t written = write(fd, text + at, n - at);
        if (written > 0) {
            at += (size_t)written;
        } else if (written == 0 || errno != EINTR) {
            return;
        }
    }
}

void lv_message_pause(void)
{
    enum { PAUSE_MS = 100 };
    poll(NULL, 0, PAUSE_MS);
}

static void print_message(const char *label, const char *fmt, va_list args)
{
    char few[LV_MESSAGE_BYTES + 256], *text = few;
    va_list again;
    va_copy(again, args);
    const size_t n_label =
        (size_t)snprintf(few, sizeof few, "llava: %s%s", label, *label ? ": " : "");
    size_t n = n_label + (size_t)vsnprintf(few + n_label, sizeof few - n_label, fmt, args);
    if (n + 2 > sizeof few) {
        text = malloc(n + 2);
        if (text) {
            memcpy(text, few, n_label);
            vsnprintf(text + n_label, n + 1 - n_label, fmt, again);
        } else { /* what fits of it */
            text = few;
            n = sizeof few - 2;
        }
    }
    va_end(again);
    if (text[n - 1] != '\n') {
        text[n++] = '\n';
    }
    lv_message_write(STDERR_FILENO, text, n);
    if (text != few) {
        free(text);
    }
}

void lv_tell(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    print_message(rank_label, fmt, args);
    va_end(args);
}

void lv_warn(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    print_message("", fmt, args);
    va_end(args);
}

_Noreturn void lv_check_failed(const char *file, int line, const char *cond, const char *fmt, ...)
{
    va_list args;
    char text[LV_MESSAGE_BYTES];
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    lv_tell("%s:%d: %s (%s)", file, line, text, cond);
    if (abort_hook) {
        abort_hook();
    }
    abort();
}
