/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/matmul/torch_peer.h"

#include "autograd/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static FILE *to, *from;

static const char *answer(void)
{
    static char line[256];
    LV_CHECK(fgets(line, sizeof line, from), "torch_linear.py has ended");
    line[strcspn(line, "\n")] = '\0';
    return line;
}

const char *torch_start(const char *python, int n_threads)
{
    static char version[256];
    char threads[16];
    int in[2], out[2];
    snprintf(threads, sizeof threads, "%d", n_threads);
    LV_CHECK(pipe(in) == 0 && pipe(out) == 0, "no pipes");
    pid_t pid = fork();
    LV_CHECK(pid >= 0, "no process");
    if (pid == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        close(in[1]);
        close(out[0]);
        execlp(python, python, TORCH_LINEAR, threads, (char *)NULL);
        perror(python);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    to = fdopen(in[1], "w");
    from = fdopen(out[0], "r");
    LV_CHECK(to && from, "no pipes");
    snprintf(version, sizeof version, "%s", answer());
    return version;
}

static const char *ask(void)
{
    LV_CHECK(fflush(to) == 0, "torch_linear.py has ended");
    return answer();
}

void torch_take(const char *direction, int64_t T, int64_t N, int64_t K)
{
    fprintf(to, "%s %lld %lld %lld\n", direction, (long long)T, (long long)N, (long long)K);
    const char *said = ask();
    LV_CHECK(strcmp(said, "ready") == 0, "torch_linear.py: %s", said);
}

double torch_rate(double seconds)
{
    fprintf(to, "go %g\n", seconds);
    return atof(ask());
}
