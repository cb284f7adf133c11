/* SPDX-License-Identifier: Apache-2.0
 *
 * Command lines from a table of flags.
 */
#ifndef LV_TOOLS_CLI_H
#define LV_TOOLS_CLI_H

#include "train/cluster/comm.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    LV_FLAG_TEXT,
    LV_FLAG_CHOICE, /* one of the placeholder's words */
    LV_FLAG_INT,
    LV_FLAG_REAL,
    LV_FLAG_SWITCH,
    LV_FLAG_TEXTS /* the only one that may be given more than once */
} lv_flag_kind;

enum { LV_MAX_TEXTS = 64 };
typedef struct {
    size_t n;
    const char *items[LV_MAX_TEXTS];
} lv_texts;

typedef struct {
    const char *name; /* "--data" */
    lv_flag_kind kind;
    void *value; /* const char **, int64_t *, double *, bool *, lv_texts *: holds the default */
    const char *placeholder; /* "FILE", "bf16|f32"; NULL for a switch */
    const char *help;        /* with unit and default */
    bool required;
    double min, max; /* of numbers; no bounds if both are 0 */
} lv_flag;

typedef struct {
    const char *name;       /* of the subcommand */
    const char *positional; /* "CONFIG.json", or NULL if there is none */
    const char **positional_value;
    const char *summary;
    const char *details; /* printed after the flags; may be NULL */
    const lv_flag *flags;
    size_t n_flags;
} lv_cli;

enum { LV_CLI_HELP = 1 };

/* lv_cli_parse: fill the flags' values from argv[1..]; "--flag value" and "--flag=value".
 * returns 0; LV_CLI_HELP if --help was asked for: print it with lv_cli_print_help and end
 * fails  LV_ERR_CONFIG naming what is wrong, be it a flag given twice, and the nearest right flag
 */
int lv_cli_parse(const lv_cli *cli, int argc, char **argv);
void lv_cli_print_help(const lv_cli *cli);

/* lv_cli_nearest: of n names the one with the smallest edit distance to text, NULL if none is
 * near. */
const char *lv_cli_nearest(const char *text, const char *const *names, size_t n);

/* lv_cli_buffer_lines: from here on stdout is written a line at a time, as long as a line has less
 * than 64 KiB: ranks may share it. Before anything is printed. */
void lv_cli_buffer_lines(void);

/* lv_cli_start: lv_comm_start, for subcommands that run under mpirun too, then lv_cli_parse. comm
 * may be NULL; otherwise what fails on one rank does so on all, and one command is given to all.
 * returns as lv_cli_parse */
int lv_cli_start(const lv_cli *cli, lv_comm *comm, int argc, char **argv);

/* lv_cli_finish: print the error once if there is one (with the way to --help if the usage was
 * wrong), end MPI. returns the exit status: 0 done, 1 failed, 2 usage or configuration, 75
 * stopped on request. */
int lv_cli_finish(const lv_cli *cli, lv_comm *comm, int rc);

#endif
