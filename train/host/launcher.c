/* SPDX-License-Identifier: Apache-2.0 */
#include "train/host/launcher.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PATIENCE_S = 10, AGAIN_S = 2, LOOKS_PER_S = 5, MAX_FD = 1024 };

/* In a process that was cloned from one of several threads: no more than system calls. */
static bool is_there(const char *comm_path)
{
    static const char *const daemons[] = {"mpirun\n",  "mpiexec\n", "orterun\n",
                                          "prterun\n", "orted\n",   "prted\n"};
    char name[32] = "";
    int fd = open(comm_path, O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, name, sizeof name - 1);
    if (fd >= 0) {
        close(fd);
    }
    for (size_t i = 0; n > 0 && i < sizeof daemons / sizeof *daemons; i++) {
        if (strcmp(name, daemons[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_there_after(const char *comm_path, int seconds)
{
    for (int i = 0; i < seconds * LOOKS_PER_S && is_there(comm_path); i++) {
        poll(NULL, 0, 1000 / LOOKS_PER_S);
    }
    return is_there(comm_path);
}

/* An ordinary request first, though OpenMPI's mpirun, already waiting for its peers, heeds none. */
static _Noreturn void outlive(pid_t daemon, const char *comm_path)
{
    static const int signals[] = {SIGTERM, SIGKILL};
    setsid(); /* not to be killed with the rank's group */
    for (int fd = 0; fd < MAX_FD; fd++) {
        close(fd); /* what the launcher reads from is to end with the rank */
    }
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        if (!is_there_after(comm_path, i == 0 ? PATIENCE_S : AGAIN_S)) {
            break;
        }
        kill(daemon, signals[i]);
    }
    _exit(0);
}

void lv_launcher_outlive(void)
{
    char comm_path[48];
    pid_t daemon = getppid();
    snprintf(comm_path, sizeof comm_path, "/proc/%ld/comm", (long)daemon);
    /* Not fork(): it waits for locks that a stalled thread may hold. */
    if (is_there(comm_path) && syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) == 0) {
        outlive(daemon, comm_path);
    }
}
