/* SPDX-License-Identifier: Apache-2.0
 *
 * What a process reports before a fatal signal ends it, and the backtrace of another thread.
 */
#ifndef LV_TRAIN_HOST_CRASH_H
#define LV_TRAIN_HOST_CRASH_H

#include <pthread.h>
#include <stddef.h>

/* lv_crash_catch: from here on SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT first print rank, host,
 * signal, of SIGBUS the file that is mapped there, activity and a backtrace, to stderr in one write
 * and async-signal-safe. Then the previous handler runs (a sanitizer's, or that of UCX, which
 * installs its own when it is loaded), or the process dies of the signal, by which the launcher
 * ends the other ranks. For the main thread, whose stack may overflow; before MPI starts, which
 * then leaves these signals alone, and after, for libraries that do not. */
void lv_crash_catch(void);

/* lv_crash_abort: abort() without that report, after another message. */
_Noreturn void lv_crash_abort(void);

/* lv_backtrace_catch: install the signal handler of lv_backtrace_of. */
void lv_backtrace_catch(void);

/* lv_backtrace_of: a thread's stack, a line "llava:   <function>" a call, innermost first; of one
 * that cannot be interrupted in a system call, a line that says so. For one caller at a time, not
 * from a signal handler.
 * out    text, cut at n bytes; ends with a newline, or is empty
 * in     tid: as gettid() gives it */
void lv_backtrace_of(char *text, size_t n, pthread_t thread, long tid);

#endif
