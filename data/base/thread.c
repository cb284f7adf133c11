/* SPDX-License-Identifier: Apache-2.0 */
#include "data/base/thread.h"

#include "autograd/error.h"

#include <signal.h>
#include <string.h>

int lv_thread_start(pthread_t *out, void *(*work)(void *), void *context)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        sigdelset(&blocked, own[i]);
    }
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int error = pthread_create(out, NULL, work, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0 ? LV_OK
                      : lv_fail(LV_ERR_MEMORY, "the system gives no thread: %s", strerror(error));
}
