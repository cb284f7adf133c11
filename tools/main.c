/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/cpu.h"
#include "autograd/error.h"
#include "tools/cli.h"
#include "tools/terminal.h"
#include "tools/tools.h"
#include "train/cluster/threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} tools[] = {
#define LV_TOOL(name, summary) {#name, summary, lv_tool_##name},
#include "tools/tools.def"
#undef LV_TOOL
};
enum { N_TOOLS = sizeof tools / sizeof tools[0] };

static void print_help(FILE *to)
{
    fprintf(to, "usage: llava COMMAND [arguments]\n\n");
    for (size_t i = 0; i < N_TOOLS; i++) {
        fprintf(to, "  %-10s %s\n", tools[i].name, tools[i].summary);
    }
    fprintf(
        to,
        "\nllava COMMAND --help lists its flags. pack and train also run under mpirun or srun.\n"
        "README.md in the folders of the source: data/ (records, packs), configs/ (keys),\n"
        "configs/slurm/ (clusters), train/ (runs, checkpoints, exit statuses).\n");
}

static void print_unknown(FILE *to, const char *given)
{
    const char *names[N_TOOLS];
    for (size_t i = 0; i < N_TOOLS; i++) {
        names[i] = tools[i].name;
    }
    const char *nearest = lv_cli_nearest(given, names, N_TOOLS);
    fprintf(to, "llava: unknown command \"");
    lv_print_shown(to, given, strlen(given));
    fprintf(to, "\"%s%s%s\n(llava --help lists what there is)\n", nearest ? " (did you mean " : "",
            nearest ? nearest : "", nearest ? "?)" : "");
}

/* Prints, in one write, that the command is unknown, or the help if none was given. */
static int wrong_usage(const char *given)
{
    char *text = NULL;
    size_t n = 0;
    FILE *to = open_memstream(&text, &n);
    if (to && given) {
        print_unknown(to, given);
    } else if (to) {
        print_help(to);
    }
    if (to && fclose(to) == 0) {
        lv_message_write(STDERR_FILENO, text, n);
    }
    free(text);
    return 2;
}

/* By default threads that wait spin for milliseconds, which takes the core from other ranks and the
 * reader. libgomp reads its environment before main, so that a second exec is needed.
 * Measured on two cores: as fast as the default alone, 1.7 times as fast beside two busy processes.
 */
static void exec_with_short_spins(char **argv)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0 && !getenv("OMP_WAIT_POLICY") && !getenv("GOMP_SPINCOUNT")) {
        self[n] = '\0';
        setenv("GOMP_SPINCOUNT", "1000", 1);
        lv_threads_release();
        execv(self, argv); /* if it fails, the default remains */
    }
}

int main(int argc, char **argv)
{
    exec_with_short_spins(argv);
    lv_cli_buffer_lines();
    if (argc < 2) {
        return wrong_usage(NULL);
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return ferror(stdout) != 0;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0) {
        printf("llava %s\n", LV_VERSION);
        return ferror(stdout) != 0;
    }
    if (lv_cpu_limit_from_env() < 0 || lv_threads_check_env() < 0) {
        lv_warn("%s", lv_error_message());
        return 2;
    }
    for (size_t i = 0; i < N_TOOLS; i++) {
        if (strcmp(argv[1], tools[i].name) == 0) {
            return tools[i].run(argc - 1, argv + 1);
        }
    }
    return wrong_usage(argv[1]);
}
