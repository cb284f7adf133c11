/* SPDX-License-Identifier: Apache-2.0 */
#include "data/base/fail_point.h"

#include "autograd/error.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char VARIABLE[] = "LLAVA_FAIL_POINT";

typedef enum { INVALID, KILL, ERROR, FULL, STALL } fail_action;

typedef struct {
    const char *name; /* NULL: there is none */
    long nth, n_passed;
    fail_action what;
} fail_request;

static fail_request request;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The name in the table, or NULL. */
static const char *find_name(const char *name, size_t n)
{
#define NAME(text, when) text,
    static const char *const names[] = {LV_FAIL_POINTS(NAME)};
#undef NAME
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strlen(names[i]) == n && memcmp(names[i], name, n) == 0) {
            return names[i];
        }
    }
    return NULL;
}

static void read_environment(void)
{
    const char *text = getenv(VARIABLE);
    if (!text || !*text) {
        return;
    }
    size_t n_name = strcspn(text, ":=");
    const char *rest = text + n_name;
    char *end = NULL;
    request = (fail_request){.name = find_name(text, n_name), .nth = 1};
    if (*rest == ':') {
        request.nth = strtol(rest + 1, &end, 10);
        rest = end;
    }
    request.what = strcmp(rest, "=kill") == 0    ? KILL
                   : strcmp(rest, "=error") == 0 ? ERROR
                   : strcmp(rest, "=full") == 0  ? FULL
                   : strcmp(rest, "=stall") == 0 ? STALL
                                                 : INVALID;
    if (!request.name || request.nth < 1) {
        request = (fail_request){.name = text, .what = INVALID};
    }
}

int lv_fail_point(const char *name)
{
    pthread_once(&once, read_environment);
    if (!request.name) {
        return LV_OK;
    }
    LV_CHECK(find_name(name, strlen(name)), "%s is not in the list of fail points", name);
    if (request.what == INVALID) {
        return lv_fail(LV_ERR_CONFIG,
                       "%s=%s: expected name[:n]=kill|error|full|stall, the name one of those in "
                       "data/base/fail_point.h",
                       VARIABLE, getenv(VARIABLE));
    }
    if (strcmp(name, request.name) != 0) {
        return LV_OK;
    }
    pthread_mutex_lock(&lock);
    bool is_due = ++request.n_passed == request.nth;
    pthread_mutex_unlock(&lock);
    if (!is_due) {
        return LV_OK;
    }
    if (request.what == KILL) {
        raise(SIGKILL);
    }
    while (request.what == STALL) {
        pause();
    }
    errno = request.what == FULL ? ENOSPC : EIO;
    return lv_fail_errno(LV_ERR_IO, "fail point %s", name);
}
