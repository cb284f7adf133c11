/* SPDX-License-Identifier: Apache-2.0 */
#include "train/host/crash.h"

#include "autograd/error.h"
#include "train/host/activity.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_FRAMES = 64, STACK_BYTES = 1 << 16, MESSAGE_S = 5, NAMES_BYTES = 8192 };

static const struct {
    int number;
    const char *name, *cause; /* cause: if the hardware raised it */
} fatal[] = {
    {SIGSEGV, "SIGSEGV", " (memory that is not there)"},
    {SIGBUS, "SIGBUS", " (a mapped file is shorter than it was, or its disk failed or is full)"},
    {SIGFPE, "SIGFPE", " (an impossible division)"},
    {SIGILL, "SIGILL", " (an instruction that this CPU does not have)"},
    {SIGABRT, "SIGABRT", ""},
};
enum { N_FATAL = sizeof fatal / sizeof *fatal };

static struct sigaction handled_before[N_FATAL]; /* by a sanitizer, or a library of the MPI */

/* ---- the message of a signal handler: only async-signal-safe calls ---- */

typedef struct {
    char text[6144 + NAMES_BYTES]; /* the longest path fits, and a backtrace */
    size_t n;
} crash_text;

static void add(crash_text *w, const char *text)
{
    for (; *text && w->n < sizeof w->text; text++) {
        w->text[w->n++] = *text;
    }
}

static void add_number(crash_text *w, uint64_t number, unsigned base)
{
    char digits[24];
    size_t at = sizeof digits - 1;
    digits[at] = '\0';
    do {
        digits[--at] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number > 0);
    add(w, digits + at);
}

typedef struct {
    int fd;
    ssize_t at, n;
    char text[1024];
} reader;

/* returns the next byte, or EOF */
static int next(reader *r)
{
    if (r->at == r->n) {
        r->n = read(r->fd, r->text, sizeof r->text);
        r->at = 0;
    }
    return r->n > 0 ? (unsigned char)r->text[r->at++] : EOF;
}

/* A number in base 16, and the byte after it. */
static uint64_t next_number(reader *r)
{
    uint64_t number = 0;
    for (int c; ((c = next(r)) >= '0' && c <= '9') || (c >= 'a' && c <= 'f');) {
        number = 16 * number + (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return number;
}

/* The file that is mapped there, from a line "7f00-7f80 r--p 0000 08:01 42   /path". */
static void add_mapped_file(crash_text *w, uint64_t address)
{
    reader maps = {.fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC)};
    bool found = false;
    for (int c = 0; maps.fd >= 0 && !found && c != EOF;) {
        const uint64_t begin = next_number(&maps), end = next_number(&maps);
        bool in_path = false;
        found = begin <= address && address < end;
        while ((c = next(&maps)) != EOF && c != '\n') {
            add(w, found && !in_path && c == '/' ? " of " : "");
            in_path = in_path || c == '/';
            add(w, found && in_path ? (const char[]){(char)c, '\0'} : "");
        }
    }
    if (maps.fd >= 0) {
        close(maps.fd);
    }
}

/* Names of frames, a line each, through a file in memory. */
static void read_names(char names[NAMES_BYTES], void *const *frames, int n_frames)
{
    int fd = memfd_create("backtrace", MFD_CLOEXEC);
    ssize_t n = 0;
    if (fd >= 0) {
        backtrace_symbols_fd(frames, n_frames, fd);
        n = pread(fd, names, NAMES_BYTES - 1, 0);
        close(fd);
    }
    names[n > 0 ? n : 0] = '\0';
}

static void add_cause(crash_text *w, int number, const siginfo_t *info)
{
    const lv_activity_state now = lv_activity_now();
    const bool raised_by_hardware = info->si_code > 0;
    add(w, "llava: ");
    add(w, lv_rank_label());
    add(w, *lv_rank_label() ? ": " : "");
    for (size_t i = 0; i < N_FATAL; i++) {
        if (fatal[i].number == number) {
            add(w, fatal[i].name);
            add(w, raised_by_hardware ? fatal[i].cause : "");
        }
    }
    if (raised_by_hardware) {
        add(w, " at address 0x");
        add_number(w, (uint64_t)(uintptr_t)info->si_addr, 16);
        if (number == SIGBUS) {
            add_mapped_file(w, (uint64_t)(uintptr_t)info->si_addr);
        }
    } else if (info->si_pid != getpid()) {
        add(w, " from process ");
        add_number(w, (uint64_t)info->si_pid, 10);
    }
    if (now.step > 0) {
        add(w, " in step ");
        add_number(w, (uint64_t)now.step, 10);
    }
    add(w, ", ");
    add(w, lv_activity_name(&now));
    add(w, "; called from\n");
}

static void set_default(int number)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t only;
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
    sigemptyset(&only);
    sigaddset(&only, number);
    pthread_sigmask(SIG_UNBLOCK, &only, NULL);
}

/* To the previous handler; the instruction that raised the signal will raise it again.
 * returns false if there was none */
static bool hand_on(int number, const siginfo_t *info)
{
    for (size_t i = 0; i < N_FATAL; i++) {
        if (fatal[i].number == number && handled_before[i].sa_handler != SIG_DFL) {
            alarm(0);
            sigaction(number, &handled_before[i], NULL);
            if (info->si_code <= 0) {
                raise(number);
            }
            return true;
        }
    }
    return false;
}

static void report_crash(int number, siginfo_t *info, void *context)
{
    static atomic_int reporting;
    static _Thread_local volatile sig_atomic_t here; /* static TLS of a program: no allocation */
    static crash_text text;
    static char names[NAMES_BYTES];
    void *frames[MAX_FRAMES];
    (void)context;
    if (!here && atomic_exchange(&reporting, 1)) {
        for (;;) {
            pause(); /* another thread reports, and ends the process */
        }
    }
    if (!here) {
        here = 1;
        set_default(SIGALRM); /* the way out if what is broken is needed here */
        alarm(MESSAGE_S);
        add_cause(&text, number, info);
        read_names(names, frames, backtrace(frames, MAX_FRAMES));
        add(&text, names);
        lv_message_write(STDERR_FILENO, text.text, text.n);
        lv_message_pause();
        if (hand_on(number, info)) {
            return;
        }
    }
    set_default(number);
    raise(number);
}

/* ---- catching ---- */

static void preload(void)
{
    void *frame[1];
    backtrace(frame, 1); /* loads a library, which a handler must not */
}

void lv_crash_catch(void)
{
    static char stack[STACK_BYTES];
    const stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = report_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    struct sigaction before;
    stack_t stack_before;
    sigemptyset(&action.sa_mask);
    preload();
    if (sigaltstack(NULL, &stack_before) == 0 && stack_before.ss_flags & SS_DISABLE) {
        sigaltstack(&alternate, NULL);
    }
    for (size_t i = 0; i < N_FATAL; i++) {
        if (sigaction(fatal[i].number, NULL, &before) == 0 && before.sa_sigaction != report_crash &&
            before.sa_handler != SIG_IGN) {
            handled_before[i] = before;
            sigaction(fatal[i].number, &action, NULL);
        }
    }
}

_Noreturn void lv_crash_abort(void)
{
    set_default(SIGABRT);
    abort();
}

/* ---- the backtrace of another thread ---- */

static void *caught[MAX_FRAMES];
static atomic_int n_caught;

static int interrupt_signal(void)
{
    return SIGRTMIN + 4; /* the first few are taken by tools and libraries now and then */
}

static void catch_frames(int number)
{
    int saved_errno = errno;
    (void)number;
    atomic_store(&n_caught, backtrace(caught, MAX_FRAMES));
    errno = saved_errno;
}

void lv_backtrace_catch(void)
{
    struct sigaction action = {.sa_handler = catch_frames, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    preload();
    sigaction(interrupt_signal(), &action, NULL);
}

static void write_names(char *text, size_t n, int n_frames)
{
    enum { OWN_FRAMES = 2 }; /* the handler's */
    char names[NAMES_BYTES] = "";
    size_t used = 0;
    if (n_frames > OWN_FRAMES) {
        read_names(names, caught + OWN_FRAMES, n_frames - OWN_FRAMES);
    }
    for (char *line = names, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        int length = (int)(end - line) + 1;
        size_t needed = (size_t)length + sizeof "llava:   ";
        if (used + needed > n) {
            return;
        }
        used += (size_t)snprintf(text + used, n - used, "llava:   %.*s", length, line);
    }
}

/* The kernel's name for what a thread sleeps in: "nfs_wait_bit_killable". */
static void write_kernel_function(char *text, size_t n, long tid)
{
    char path[64], function[128] = "";
    snprintf(path, sizeof path, "/proc/self/task/%ld/wchan", tid);
    FILE *file = fopen(path, "r");
    if (file) {
        if (!fgets(function, sizeof function, file)) {
            *function = '\0';
        }
        fclose(file);
    }
    snprintf(text, n, "llava:   it cannot be interrupted: inside the system (%s)\n",
             *function && strcmp(function, "0") != 0 ? function : "a file system or a device");
}

void lv_backtrace_of(char *text, size_t n, pthread_t thread, long tid)
{
    enum { TRIES = 100, TRY_MS = 20 };
    *text = '\0';
    atomic_store(&n_caught, -1);
    if (pthread_kill(thread, interrupt_signal()) != 0) {
        return;
    }
    for (int i = 0; i < TRIES && atomic_load(&n_caught) < 0; i++) {
        poll(NULL, 0, TRY_MS);
    }
    int n_frames = atomic_load(&n_caught);
    if (n_frames < 0) {
        write_kernel_function(text, n, tid);
    } else {
        write_names(text, n, n_frames);
    }
}
