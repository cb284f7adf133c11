/* SPDX-License-Identifier: Apache-2.0 */
#include "data/base/thread.h"

#include "autograd/error.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    void (*hook)(const void *context);
    const void *context;
} thread_hook;

typedef struct {
    thread_hook hook;
    void *(*work)(void *);
    void *context;
} thread_begin;

static thread_hook process_hook;

void lv_thread_hook_set(void (*hook)(const void *context), const void *context)
{
    process_hook = (thread_hook){hook, context};
}

static void *begin_thread(void *argument)
{
    const thread_begin begin = *(thread_begin *)argument;
    free(argument);
    if (begin.hook.hook) {
        begin.hook.hook(begin.hook.context);
    }
    return begin.work(begin.context);
}

int lv_thread_start(pthread_t *out, void *(*work)(void *), void *context)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    sigset_t blocked, before;
    thread_begin *begin = malloc(sizeof *begin);
    if (!begin) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for a thread");
    }
    *begin = (thread_begin){process_hook, work, context};
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        sigdelset(&blocked, own[i]);
    }
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int error = pthread_create(out, NULL, begin_thread, begin);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        free(begin);
        return lv_fail(LV_ERR_MEMORY, "the system gives no thread: %s", strerror(error));
    }
    return LV_OK;
}
