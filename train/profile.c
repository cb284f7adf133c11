/* SPDX-License-Identifier: Apache-2.0 */
#include "train/profile.h"

#include "autograd/error.h"
#include "data/base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { N_OP_ROWS = LV_N_OPS * LV_N_PASSES, N_ROWS = N_OP_ROWS + LV_STEP_N_PARTS, NAME_BYTES = 32 };

static const char *const PART_NAMES[LV_STEP_N_PARTS] = {
    "data wait", "exchange", "gradient norm", "optimiser", "output", "other",
};

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + 1e-6 * (double)t.tv_usec;
}

/* Adds what the process has used until now, times sign. */
static void add_usage(lv_step_profile *profile, int sign)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    profile->user_s += sign * seconds_of(usage.ru_utime);
    profile->system_s += sign * seconds_of(usage.ru_stime);
    profile->n_faults += sign * usage.ru_minflt;
}

void lv_step_profile_begin(lv_step_profile *profile, lv_tape *tape, int64_t step)
{
    if (profile) {
        profile->first_step = profile->n_steps == 0 ? step : profile->first_step;
        add_usage(profile, -1);
        profile->begin_s = lv_clock_s();
        lv_profile_enter(&profile->time, &profile->parts[LV_STEP_OTHER]);
        lv_tape_profile_set(tape, &profile->time);
    }
}

void lv_step_profile_end(lv_step_profile *profile, lv_tape *tape)
{
    if (profile) {
        lv_tape_profile_set(tape, NULL);
        lv_profile_leave(&profile->time, NULL);
        profile->whole_s += lv_clock_s() - profile->begin_s;
        add_usage(profile, 1);
        profile->n_steps++;
    }
}

lv_profile_part *lv_step_profile_enter(lv_step_profile *profile, int part, double bytes)
{
    if (!profile) {
        return NULL;
    }
    profile->parts[part].bytes += bytes;
    return lv_profile_enter(&profile->time, &profile->parts[part]);
}

void lv_step_profile_leave(lv_step_profile *profile, lv_profile_part *before)
{
    lv_profile_leave(profile ? &profile->time : NULL, before);
}

typedef struct {
    char name[NAME_BYTES];
    lv_profile_part part;
    double most_s; /* of any rank */
} row;

static void list_rows(const lv_step_profile *profile, row rows[N_ROWS])
{
    static const char *const passes[LV_N_PASSES] = {"forward", "backward"};
    for (int i = 0; i < N_OP_ROWS; i++) {
        const int op = i / LV_N_PASSES, pass = i % LV_N_PASSES;
        snprintf(rows[i].name, NAME_BYTES, "%s %s", lv_profile_op_name(op), passes[pass]);
        rows[i].part = profile->time.ops[op][pass];
    }
    for (int i = 0; i < LV_STEP_N_PARTS; i++) {
        row *r = &rows[N_OP_ROWS + i];
        snprintf(r->name, NAME_BYTES, "%s", PART_NAMES[i]);
        r->part = profile->parts[i];
        if (i == LV_STEP_EXCHANGE) {
            r->part.seconds += profile->time.owner.seconds;
        }
    }
}

static int by_seconds(const void *a, const void *b)
{
    const row *x = a, *y = b;
    return (x->part.seconds < y->part.seconds) - (x->part.seconds > y->part.seconds);
}

/* A rate in units of 1e9 a second; "-" where nothing was counted. */
static const char *rate_text(char text[16], double amount, double seconds)
{
    snprintf(text, 16, amount > 0 && seconds > 0 ? "%.1f" : "-", amount / seconds * 1e-9);
    return text;
}

static void print_row(FILE *out, const row *r, double steps, double whole_s, bool most)
{
    char flop[16], bytes[16];
    const lv_profile_part *p = &r->part;
    fprintf(out, "  %-24s %7.0f %10.4f %6.1f%% %9s %8s", r->name, (double)p->n_calls / steps,
            p->seconds / steps, 100 * p->seconds / whole_s, rate_text(flop, p->flop, p->seconds),
            rate_text(bytes, p->bytes, p->seconds));
    if (most) {
        fprintf(out, " %10.4f", r->most_s / steps);
    }
    fputc('\n', out);
}

static void print_table(const lv_step_profile *profile, row rows[N_ROWS], bool most)
{
    char *text = NULL;
    size_t n = 0;
    const double steps = (double)profile->n_steps, whole_s = profile->whole_s;
    FILE *out = open_memstream(&text, &n);
    LV_CHECK(out, "out of memory for a profile");
    fprintf(out, "profile: the mean of steps %" PRId64 " to %" PRId64 " on rank 0\n",
            profile->first_step, profile->first_step + profile->n_steps - 1);
    fprintf(out, "  %-24s %7s %10s %7s %9s %8s%s\n", "", "calls", "seconds", "share", "GFLOP/s",
            "GB/s", most ? "   any rank" : "");
    row sum = {.name = "step", .part.n_calls = profile->n_steps, .part.seconds = whole_s};
    qsort(rows, N_ROWS, sizeof *rows, by_seconds);
    for (int i = 0; i < N_ROWS; i++) {
        sum.part.flop += rows[i].part.flop;
        if (rows[i].part.n_calls > 0) {
            print_row(out, &rows[i], steps, whole_s, most);
        }
    }
    print_row(out, &sum, steps, whole_s, false);
    fprintf(out,
            "  processor time of a step: %.4f s, and %.4f s of the system's, which gave %.0f pages "
            "of %ld bytes\n",
            profile->user_s / steps, profile->system_s / steps, (double)profile->n_faults / steps,
            sysconf(_SC_PAGESIZE));
    fclose(out);
    fputs(text, stdout);
    fflush(stdout);
    free(text);
}

int lv_step_profile_print(const lv_step_profile *profile, const lv_comm *comm)
{
    row rows[N_ROWS] = {0};
    double most_s[N_ROWS];
    list_rows(profile, rows);
    for (int i = 0; i < N_ROWS; i++) {
        most_s[i] = rows[i].part.seconds;
    }
    int rc = lv_comm_max_double(comm, most_s, N_ROWS);
    if (rc < 0 || comm->rank != 0) {
        return rc;
    }
    for (int i = 0; i < N_ROWS; i++) {
        rows[i].most_s = most_s[i];
    }
    print_table(profile, rows, comm->n_ranks > 1);
    return rc;
}
