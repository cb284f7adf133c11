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
    LV_FLAG_CHOICE, /* one of the words in the placeholder */
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

/* lv_cli_nearest: of n names the one with the smallest edit distance to text, NULL if none is
 * near. */
const char *lv_cli_nearest(const char *text, const char *const *names, size_t n);

/* lv_cli_buffer_lines: from here on stdout is written a line at a time, as long as a line has less
 * than 64 KiB: ranks may share it. Before anything is printed. */
void lv_cli_buffer_lines(void);

/* lv_cli_start: lv_comm_start, if comm is not NULL, then fill the flags' values from argv[1..]:
 * "--flag value" or "--flag=value". With comm a failure on one rank is one on all.
 * returns LV_OK, or LV_CLI_HELP for --help, which lv_cli_finish prints
 * fails  LV_ERR_CONFIG naming what is wrong, also a flag given twice or ranks with different
 *        commands, and the nearest right flag; LV_ERR_COMM */
int lv_cli_start(const lv_cli *cli, lv_comm *comm, int argc, char **argv);

/* lv_cli_finish: print the error, once, if there is one, or the help; end MPI. returns the exit status: 0 done, 1 failed, 2 usage or configuration, 75
 * stopped on request. */
int lv_cli_finish(const lv_cli *cli, lv_comm *comm, int rc);

#endif
