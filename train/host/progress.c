/* SPDX-License-Identifier: Apache-2.0 */
#include "train/host/progress.h"

#include "data/base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const double QUIET_S = 10;

static int terminal = -1; /* whether stdout is one; -1: not determined yet */
static bool line_open;
static double last_line_s = -1e9;

enum { LINK_BYTES = 256, TEXT_BYTES = 512 };

/* What a process's stdout is: "/dev/pts/3", "pipe:[...]", a file; "" if unknown. */
static void stdout_of(long pid, char target[LINK_BYTES])
{
    char link[64];
    snprintf(link, sizeof link, "/proc/%ld/fd/1", pid);
    ssize_t n = readlink(link, target, LINK_BYTES - 1);
    target[n > 0 ? n : 0] = '\0';
}

static long parent_of(long pid)
{
    char path[64];
    long parent = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "%*d (%*[^)]) %*c %ld", &parent) != 1) {
        parent = 0;
    }
    if (file) {
        fclose(file);
    }
    return parent;
}

/* mpirun gives each rank a terminal, wherever its own output goes. Decides by the first ancestor that
 * writes to something else than this terminal; there may be wrappers before it. */
static bool launcher_has_terminal(void)
{
    char own[LINK_BYTES], target[LINK_BYTES];
    stdout_of(getpid(), own);
    for (long pid = getppid(); pid > 1; pid = parent_of(pid)) {
        stdout_of(pid, target);
        if (strcmp(own, target) != 0) {
            return strncmp(target, "/dev/pts/", 9) == 0 || strncmp(target, "/dev/tty", 8) == 0;
        }
    }
    return false;
}

static bool stdout_is_terminal(void)
{
    bool launched = getenv("OMPI_COMM_WORLD_RANK") || getenv("PMI_RANK") || getenv("PMIX_RANK");
    return isatty(STDOUT_FILENO) && (!launched || launcher_has_terminal());
}

/* The width of a line; a longer live line could not be erased. */
static int terminal_columns(void)
{
    struct winsize size;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1 : 79;
}

void lv_progress_show(bool always, const char *fmt, ...)
{
    char text[TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (terminal < 0) {
        terminal = stdout_is_terminal();
    }
    if (terminal) {
        printf("\r\033[K%.*s", terminal_columns(), text);
        line_open = true;
    } else if (always || lv_clock_s() - last_line_s >= QUIET_S) {
        printf("%s\n", text);
        last_line_s = lv_clock_s();
    }
    fflush(stdout);
}

void lv_progress_end(void)
{
    if (line_open) {
        printf("\n");
        fflush(stdout);
        line_open = false;
    }
}
