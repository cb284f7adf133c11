/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

_Noreturn void lv_check_failed(const char *file, int line, const char *cond, const char *fmt, ...)
{
    va_list args;
    char text[LV_MESSAGE_BYTES];
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    fprintf(stderr, "llava: %s%s%s:%d: %s (%s)\n", rank_label, *rank_label ? ": " : "", file, line,
            text, cond);
    fflush(stderr);
    if (abort_hook) {
        abort_hook();
    }
    abort();
}
