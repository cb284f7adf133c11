/* SPDX-License-Identifier: Apache-2.0
 *
 * The last words of a process that a fatal signal ends, and what another thread is at.
 */
#ifndef LV_TRAIN_HOST_CRASH_H
#define LV_TRAIN_HOST_CRASH_H

#include <pthread.h>
#include <stddef.h>

/* lv_crash_catch: from now on SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT first print rank, host,
 * signal, of SIGBUS the file that is mapped there, activity and a backtrace, to stderr and
 * async-signal-safe; then whatever handled the signal before has it (a sanitizer, or UCX, which
 * does so from the moment that it is loaded), or the process dies of it as without, by which the
 * launcher knows to end the others. The main thread's stack may have overflowed; called by it,
 * before MPI starts, whose own handlers then stay away, and after, for those that did not. */
void lv_crash_catch(void);

/* lv_crash_abort: abort() without such words, for one who has told already. */
_Noreturn void lv_crash_abort(void);

/* lv_backtrace_catch: let lv_backtrace_of interrupt threads. */
void lv_backtrace_catch(void);

/* lv_backtrace_of: where a thread is, a line "llava:   <function>" a call, innermost first; of one
 * that cannot be interrupted, being inside the system, a line that says so. For one caller at a
 * time, not from a signal handler.
 * out    text, cut at n bytes; ends with a newline, or is empty
 * in     tid: the system's number of the thread */
void lv_backtrace_of(char *text, size_t n, pthread_t thread, long tid);

#endif
