/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/cli.h"

#include "autograd/error.h"
#include "data/base/text.h"
#include "tools/terminal.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_STOPPED = 75 };
enum { COMMAND_BYTES = 64 };

const char *lv_cli_nearest(const char *text, const char *const *names, size_t n)
{
    const char *best = NULL;
    size_t best_distance = strlen(text) / 2 + 1;
    for (size_t i = 0; i < n; i++) {
        size_t distance = lv_text_edit_distance(text, names[i]);
        if (distance < best_distance) {
            best_distance = distance;
            best = names[i];
        }
    }
    return best;
}

static const lv_flag *find_flag(const lv_cli *cli, const char *name, size_t n)
{
    for (size_t i = 0; i < cli->n_flags; i++) {
        if (strlen(cli->flags[i].name) == n && strncmp(cli->flags[i].name, name, n) == 0) {
            return &cli->flags[i];
        }
    }
    return NULL;
}

static int unknown_flag(const lv_cli *cli, const char *name, size_t n)
{
    const char *names[64] = {"--help"};
    size_t n_names = 1;
    char given[128];
    snprintf(given, sizeof given, "%.*s", (int)n, name);
    for (size_t i = 0; i < cli->n_flags && n_names < 64; i++) {
        names[n_names++] = cli->flags[i].name;
    }
    const char *nearest = lv_cli_nearest(given, names, n_names);
    return nearest ? lv_fail(LV_ERR_CONFIG, "unknown flag %s (did you mean %s?)", given, nearest)
                   : lv_fail(LV_ERR_CONFIG, "unknown flag %s", given);
}

static int set_choice(const lv_flag *flag, const char *text)
{
    char words[128];
    size_t n = strlen(text), used = 0;
    for (const char *word = flag->placeholder; *word; word += strspn(word, "|")) {
        size_t length = strcspn(word, "|");
        if (length == n && strncmp(word, text, n) == 0) {
            *(const char **)flag->value = text;
            return LV_OK;
        }
        used += (size_t)snprintf(words + used, sizeof words - used, "%s%.*s", used ? " or " : "",
                                 (int)length, word);
        LV_CHECK(used < sizeof words, "%s: too many words to choose from", flag->name);
        word += length;
    }
    return lv_fail(LV_ERR_CONFIG, "%s: expected %s, found \"%s\"", flag->name, words, text);
}

static int set_number_flag(const lv_flag *flag, const char *text)
{
    char *end = NULL;
    errno = 0;
    double number = strtod(text, &end);
    bool whole = flag->kind == LV_FLAG_INT;
    if (*text == '\0' || *end != '\0' || errno || !isfinite(number) ||
        (whole && (number != floor(number) || fabs(number) > 9007199254740992.0))) {
        return lv_fail(LV_ERR_CONFIG, "%s: expected %s, found \"%s\"", flag->name,
                       whole ? "a whole number" : "a number", text);
    }
    if ((flag->min != 0 || flag->max != 0) && (number < flag->min || number > flag->max)) {
        return lv_fail(LV_ERR_CONFIG, "%s: %s is not between %g and %g", flag->name, text,
                       flag->min, flag->max);
    }
    if (whole) {
        *(int64_t *)flag->value = (int64_t)number;
    } else {
        *(double *)flag->value = number;
    }
    return LV_OK;
}

static int set_flag(const lv_flag *flag, const char *text)
{
    if (flag->kind != LV_FLAG_SWITCH && !*text) {
        return lv_fail(LV_ERR_CONFIG, "%s: its value is empty: %s", flag->name, flag->placeholder);
    }
    switch (flag->kind) {
    case LV_FLAG_TEXT:
        *(const char **)flag->value = text;
        return LV_OK;
    case LV_FLAG_CHOICE:
        return set_choice(flag, text);
    case LV_FLAG_TEXTS: {
        lv_texts *texts = flag->value;
        if (texts->n == LV_MAX_TEXTS) {
            return lv_fail(LV_ERR_CONFIG, "%s: given more than %d times", flag->name, LV_MAX_TEXTS);
        }
        texts->items[texts->n++] = text;
        return LV_OK;
    }
    case LV_FLAG_SWITCH:
        *(bool *)flag->value = true;
        return LV_OK;
    case LV_FLAG_INT:
    case LV_FLAG_REAL:
        break;
    }
    return set_number_flag(flag, text);
}

static int parse_one(const lv_cli *cli, int argc, char **argv, int *at, bool *seen)
{
    const char *word = argv[*at];
    if (strncmp(word, "--", 2) != 0) {
        if (!cli->positional || *cli->positional_value) {
            return lv_fail(LV_ERR_CONFIG, "unexpected argument \"%s\"", word);
        }
        *cli->positional_value = word;
        return LV_OK;
    }
    const char *equals = strchr(word, '=');
    size_t n = equals ? (size_t)(equals - word) : strlen(word);
    const lv_flag *flag = find_flag(cli, word, n);
    if (!flag) {
        return unknown_flag(cli, word, n);
    }
    if (seen[flag - cli->flags] && flag->kind != LV_FLAG_TEXTS) {
        return lv_fail(LV_ERR_CONFIG, "%s is given twice", flag->name);
    }
    seen[flag - cli->flags] = true;
    if (flag->kind == LV_FLAG_SWITCH) {
        return equals ? lv_fail(LV_ERR_CONFIG, "%s takes no value", flag->name)
                      : set_flag(flag, NULL);
    }
    if (equals) {
        return set_flag(flag, equals + 1);
    }
    if (*at + 1 >= argc) {
        return lv_fail(LV_ERR_CONFIG, "%s needs a value: %s", flag->name, flag->placeholder);
    }
    *at += 1;
    return set_flag(flag, argv[*at]);
}

static int parse_flags(const lv_cli *cli, int argc, char **argv)
{
    bool seen[64] = {false};
    LV_CHECK(cli->n_flags <= 64, "too many flags in %s", cli->name);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return LV_CLI_HELP;
        }
    }
    for (int i = 1; i < argc; i++) {
        int rc = parse_one(cli, argc, argv, &i, seen);
        if (rc < 0) {
            return rc;
        }
    }
    if (cli->positional && !*cli->positional_value) {
        return lv_fail(LV_ERR_CONFIG, "%s is missing", cli->positional);
    }
    for (size_t i = 0; i < cli->n_flags; i++) {
        if (cli->flags[i].required && !seen[i]) {
            return lv_fail(LV_ERR_CONFIG, "%s %s is missing", cli->flags[i].name,
                           cli->flags[i].placeholder);
        }
    }
    return LV_OK;
}

static void print_help(const lv_cli *cli)
{
    printf("usage: llava %s%s%s [flags]\n\n%s\n", cli->name, cli->positional ? " " : "",
           cli->positional ? cli->positional : "", cli->summary);
    if (cli->n_flags > 0) {
        printf("\n");
    }
    for (size_t i = 0; i < cli->n_flags; i++) {
        const lv_flag *flag = &cli->flags[i];
        char left[64];
        snprintf(left, sizeof left, "%s %s", flag->name,
                 flag->placeholder ? flag->placeholder : "");
        printf("  %-28s %s%s\n", left, flag->help, flag->required ? " (required)" : "");
    }
    if (cli->details) {
        printf("\n%s\n", cli->details);
    }
}

/* "train --dry-run": the command and its switches. */
static void name_command(char text[COMMAND_BYTES], const lv_cli *cli, bool help)
{
    size_t at = (size_t)snprintf(text, COMMAND_BYTES, "%s%s", cli->name, help ? " --help" : "");
    for (size_t i = 0; i < cli->n_flags && at < COMMAND_BYTES; i++) {
        const lv_flag *flag = &cli->flags[i];
        if (flag->kind == LV_FLAG_SWITCH && *(const bool *)flag->value) {
            at += (size_t)snprintf(text + at, COMMAND_BYTES - at, " %s", flag->name);
        }
    }
}

/* Ranks with different commands would wait for each other for ever. */
static int compare_commands(const lv_cli *cli, const lv_comm *comm, bool help)
{
    char own[COMMAND_BYTES] = "";
    char *all = calloc((size_t)comm->n_ranks, COMMAND_BYTES);
    LV_CHECK(all, "out of memory for the commands of %d ranks", comm->n_ranks);
    name_command(own, cli, help);
    int rc = lv_comm_gather_all(comm, all, own, COMMAND_BYTES);
    for (int r = 1; rc == LV_OK && r < comm->n_ranks; r++) {
        const char *other = all + (size_t)r * COMMAND_BYTES;
        if (strcmp(other, all) != 0) {
            rc = lv_fail(LV_ERR_CONFIG,
                         "\"llava %s\" on rank 0, \"llava %s\" on rank %d: all ranks must be given "
                         "one command",
                         all, other, r);
        }
    }
    free(all);
    return rc;
}

void lv_cli_buffer_lines(void)
{
    static char lines[1 << 16];
    setvbuf(stdout, lines, _IOLBF, sizeof lines);
}

int lv_cli_start(const lv_cli *cli, lv_comm *comm, int argc, char **argv)
{
    if (comm) {
        int rc = lv_comm_start(comm);
        if (rc < 0) {
            return rc;
        }
    }
    int rc = parse_flags(cli, argc, argv);
    if (rc < 0) {
        lv_fail(rc, "%s (llava %s --help lists what there is)", lv_error_message(), cli->name);
    }
    if (comm) {
        int all_rc = lv_comm_agree(comm, rc < 0 ? rc : LV_OK);
        if (all_rc == LV_OK) all_rc = compare_commands(cli, comm, rc == LV_CLI_HELP);
        rc = all_rc < 0 ? all_rc : rc;
    }
    return rc;
}

/* "llava train: <label>: <message>", in one write. */
static void print_error(const lv_cli *cli, const char *label, const char *message)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    if (out) {
        fprintf(out, "llava %s: %s%s", cli->name, label, *label ? ": " : "");
        lv_print_shown(out, message, strlen(message));
        fputc('\n', out);
    }
    if (out && fclose(out) == 0) {
        lv_message_write(STDERR_FILENO, text, n);
    } else {
        lv_warn("no memory for a message");
    }
    free(text);
}

int lv_cli_finish(const lv_cli *cli, lv_comm *comm, int rc)
{
    if (rc == LV_ERR_COMM && comm && comm->started) {
        print_error(cli, lv_rank_label(), lv_error_message());
        lv_comm_abort();
    }
    const bool prints = !comm || comm->rank == 0;
    if (rc == LV_CLI_HELP && prints) {
        print_help(cli);
    }
    const bool lost = fflush(stdout) != 0 || ferror(stdout);
    if (lost) {
        print_error(cli, "", "writing to standard output failed");
    }
    if (rc < 0 && prints) { /* the reason is the last line */
        print_error(cli, "", lv_error_message());
    }
    if (lost && rc >= 0) rc = LV_ERR_IO;
    if (comm) {
        lv_comm_stop(comm);
    }
    return rc >= 0                ? EXIT_DONE
           : rc == LV_ERR_CONFIG  ? EXIT_USAGE
           : rc == LV_ERR_STOPPED ? EXIT_STOPPED
                                  : EXIT_FAILED;
}
