/* SPDX-License-Identifier: Apache-2.0
 *
 * Errors of two kinds.
 *
 * The world's (a file, a format, memory, the configuration): the function returns 0 or a negative
 * LV_ERR_*, and leaves one message for the calling thread. lv_fail sets message and code in one
 * statement: `return lv_fail(LV_ERR_FORMAT, "%s: ...", path);`. A caller that knows more puts its
 * part in front: `return lv_fail_within("sample %s", id);`.
 *
 * A programmer's: LV_CHECK, always compiled in, prints place and message and ends the whole job.
 */
#ifndef LV_AUTOGRAD_ERROR_H
#define LV_AUTOGRAD_ERROR_H

#include <stddef.h>

enum lv_error {
    LV_OK = 0,
    LV_ERR_IO = -1,     /* the system refused: open, read, write, sync, rename */
    LV_ERR_FORMAT = -2, /* a file is not what it should be, or is damaged */
    LV_ERR_CONFIG = -3, /* what the user asked for cannot be: exit status 2 */
    LV_ERR_MEMORY = -4,
    LV_ERR_SHAPE = -5,       /* weights that do not fit the model */
    LV_ERR_UNSUPPORTED = -6, /* well-formed, but not implemented here */
    LV_ERR_COMM = -7,        /* MPI */
    LV_ERR_STOPPED = -8,     /* stopped on request, after a checkpoint: exit status 75 */
    LV_ERR_DIVERGED = -9,    /* loss or gradient not finite, several steps in a row */
};

/* lv_fail: replace the calling thread's message. returns code (negative). */
int lv_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* lv_fail_errno: the same, with ": " and strerror(errno) behind it. returns code. */
int lv_fail_errno(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* lv_fail_within: put "<text>: " before the calling thread's message. returns the code set last. */
int lv_fail_within(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* lv_error_message: the calling thread's last message, "" if none; valid until its next failure. */
const char *lv_error_message(void);

/* lv_failure: a result that outlives its thread and the thread's next failure.
 * take   code = rc; if rc is negative, with the calling thread's message
 * raise  the same failure, as the calling thread's. returns code; LV_OK changes nothing */
enum { LV_MESSAGE_BYTES = 2048 };
typedef struct {
    int code; /* LV_OK or LV_ERR_* */
    char message[LV_MESSAGE_BYTES];
} lv_failure;
void lv_failure_take(lv_failure *out, int rc);
int lv_failure_raise(const lv_failure *failure);

/* lv_abort_hook_set: what LV_CHECK calls after printing (MPI_Abort in a job); default abort(). */
void lv_abort_hook_set(void (*hook)(void));
/* lv_rank_label_set: shown before a message of LV_CHECK, "rank 3 on node07"; copied.
 * lv_rank_label: what was set, "" if nothing was; safe in a signal handler. */
void lv_rank_label_set(const char *label);
const char *lv_rank_label(void);

/* Messages on stderr, one write(2) each, so that no output of another rank comes between.
 * lv_tell: "llava: rank 3 on node07: <text>", without the rank's label if none is set. From any
 *          thread, also while another holds stdio's locks.
 * lv_warn: "llava: <text>": for what is the same on all ranks, from one of them
 * A newline is added where the text does not end in one. */
void lv_tell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void lv_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* lv_message_write: a whole message of n bytes to a file descriptor; errors are ignored, as there is
 * nowhere to report them. Async-signal-safe. */
void lv_message_write(int fd, const char *text, size_t n);

/* lv_message_pause: the time that a launcher needs to pass on a message, so that its own about the
 * end of this process comes after it. Async-signal-safe. */
void lv_message_pause(void);

_Noreturn void lv_check_failed(const char *file, int line, const char *cond, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#define LV_CHECK(cond, ...)                                                                        \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            lv_check_failed(__FILE__, __LINE__, #cond, __VA_ARGS__);                               \
        }                                                                                          \
    } while (0)

#endif
