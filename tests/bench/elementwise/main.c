/* SPDX-License-Identifier: Apache-2.0
 *
 * elementwise [--mb N] [--runs N] [NAME...]: ops that memory limits, in f32 and in bf16, on arrays
 * of N MB (64; beyond the L3 cache), all OpenMP threads. Each is compared with the portable
 * kernels first, then timed in turns with plain loops that read, write and update as much memory
 * (stream.c): GB/s is what must move (a line that is written counts once, although the cache reads
 * it first), share is the time of those loops over the op's, the median of the ratios of
 * neighbouring runs, with their quartiles. NAME: only rows whose name contains one of these.
 * Exit status 0; 1 if a comparison failed, 2 for wrong usage.
 */
#include "autograd/cpu.h"
#include "autograd/kernels/convert.h"
#include "tests/bench/elementwise/bench.h"
#include "tests/bench/elementwise/stream.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROW_SIZE = 2048, MAX_RUNS = 1000 };

static const bench_row *const tables[] = {bench_norms, bench_rotary, bench_activations,
                                          bench_optimizer};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void start(bench *b, const bench_row *row, lv_tape *tape, lv_dtype dtype, int64_t T,
                  int64_t H)
{
    lv_tape_reset(tape);
    *b = (bench){.dtype = dtype, .T = T, .H = H, .tape = tape};
    row->start(b);
}

static void run_once(bench *b, const bench_row *row)
{
    if (row->before) {
        row->before(b);
    }
    row->run(b);
}

/* All results one after another, widened; the caller's to free. */
static lv_real *results(const bench *b, int64_t *n)
{
    *n = 0;
    for (int i = 0; i < b->n_results; i++) {
        *n += b->result[i].n;
    }
    lv_real *all = malloc(((size_t)*n + 1) * sizeof *all);
    int64_t at = 0;
    for (int i = 0; all && i < b->n_results; i++) {
        lv_convert_to_real(all + at, b->result[i].data, b->result[i].dtype, b->result[i].n);
        at += b->result[i].n;
    }
    return all;
}

static lv_real *results_at(lv_cpu_level level, const bench_row *row, lv_tape *tape, lv_dtype dtype,
                           int64_t *n)
{
    bench b;
    lv_cpu_level before = lv_cpu();
    lv_cpu_limit(level);
    start(&b, row, tape, dtype, 37, 192);
    run_once(&b, row);
    lv_cpu_limit(before);
    return results(&b, n);
}

/* The kernels in use give what the portable ones give, up to rounding. */
static bool agrees(const bench_row *row, lv_tape *tape, lv_dtype dtype)
{
    int64_t n, expected_n;
    lv_real *expected = results_at(LV_CPU_PORTABLE, row, tape, dtype, &expected_n);
    lv_real *found = results_at(lv_cpu(), row, tape, dtype, &n);
    double tolerance = dtype == LV_BF16 ? 0x1p-7 : 1e-5;
    bool same = expected && found && n == expected_n && n > 0;
    for (int64_t i = 0; same && i < n; i++) {
        double e = (double)expected[i];
        same = fabs((double)found[i] - e) <= tolerance * fmax(fabs(e), 0.1);
    }
    free(expected);
    free(found);
    if (!same) {
        fprintf(stderr, "%s, %s: the kernels of level %s and the portable ones disagree\n",
                row->name, lv_dtype_name(dtype), lv_cpu_name(lv_cpu()));
    }
    return same;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(double *x, int n, double q)
{
    qsort(x, (size_t)n, sizeof *x, by_value);
    return x[(int)(q * (n - 1) + 0.5)];
}

static void measure(const bench_row *row, lv_tape *tape, lv_dtype dtype, int64_t bytes, int n_runs)
{
    bench b;
    int64_t T = bytes / (ROW_SIZE * (int64_t)lv_dtype_bytes(dtype));
    start(&b, row, tape, dtype, T, ROW_SIZE);
    run_once(&b, row);
    double seconds[MAX_RUNS], shares[MAX_RUNS];
    double stream_before_s = 0;
    for (int i = 0; i <= n_runs; i++) {
        double op_s = 0;
        if (i > 0) {
            if (row->before) {
                row->before(&b);
            }
            op_s = now_s();
            row->run(&b);
            op_s = now_s() - op_s;
        }
        double stream_s = now_s();
        bench_stream(b.read_bytes, b.written_bytes, b.updated_bytes);
        stream_s = now_s() - stream_s;
        if (i > 0) { /* the streams on both sides of the run */
            seconds[i - 1] = op_s;
            shares[i - 1] = (stream_before_s + stream_s) / 2 / op_s;
        }
        stream_before_s = stream_s;
    }
    double moved = b.read_bytes + b.written_bytes + 2 * b.updated_bytes;
    double low = quantile(shares, n_runs, 0.25), high = quantile(shares, n_runs, 0.75);
    printf("| %s | %s | %.1f | %.0f%% | %.0f-%.0f%% |\n", row->name, lv_dtype_name(dtype),
           moved / quantile(seconds, n_runs, 0.5) * 1e-9, 100 * quantile(shares, n_runs, 0.5),
           100 * low, 100 * high);
    fflush(stdout);
}

static bool wanted(const char *name, int n, char **parts)
{
    bool found = n == 0;
    for (int i = 0; i < n; i++) {
        found = found || strstr(name, parts[i]);
    }
    return found;
}

static long number(const char *text, long most)
{
    char *end;
    long value = text ? strtol(text, &end, 10) : 0;
    return text && *text && !*end && value >= 1 && value <= most ? value : -1;
}

int main(int argc, char **argv)
{
    long mb = 64, runs = 15;
    int at = 1;
    for (; at < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        long *value = strcmp(argv[at], "--mb") == 0     ? &mb
                      : strcmp(argv[at], "--runs") == 0 ? &runs
                                                        : NULL;
        if (!value || (*value = number(argv[at + 1], MAX_RUNS)) < 0) {
            fprintf(stderr, "usage: elementwise [--mb N] [--runs N] [NAME...]\n");
            return 2;
        }
    }
    lv_tape *tape;
    if (lv_tape_create(&tape, 0) < 0 || !bench_stream_start((size_t)mb << 20)) {
        fprintf(stderr, "no memory for arrays of %ld MB\n", mb);
        return 1;
    }
    printf("kernels: %s; %d threads; arrays of %ld MB; %ld runs\n\n", lv_cpu_name(lv_cpu()),
           omp_get_max_threads(), mb, runs);
    printf(
        "| op | dtype | GB/s | share of memory bandwidth | quartiles |\n|---|---|---|---|---|\n");
    int status = 0;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        for (const bench_row *row = tables[i]; row->name; row++) {
            for (lv_dtype dtype = LV_F32; dtype <= LV_BF16; dtype++) {
                if (!wanted(row->name, argc - at, argv + at)) {
                    continue;
                }
                if (agrees(row, tape, dtype)) {
                    measure(row, tape, dtype, (int64_t)mb << 20, (int)runs);
                } else {
                    status = 1;
                }
            }
        }
    }
    bench_stream_stop();
    lv_tape_destroy(&tape);
    return status;
}
