/* SPDX-License-Identifier: Apache-2.0
 *
 * A row of the table: something that is limited by memory, and what it must move. Rows are listed
 * in tables that end with an empty row, one a file, and the tables in main.c.
 */
#ifndef LV_TESTS_BENCH_ELEMENTWISE_H
#define LV_TESTS_BENCH_ELEMENTWISE_H

#include "autograd/tape_internal.h"

enum { BENCH_MAX_RESULTS = 4 };

typedef struct {
    void *data;
    lv_dtype dtype;
    int64_t n;
} bench_array;

/* What a row works on. start fills in the second part, from the first. */
typedef struct {
    lv_dtype dtype; /* of activations and working weights */
    int64_t T, H;   /* size an array should have */
    lv_tape *tape;  /* for all memory; empty when start is called */

    double read_bytes, written_bytes, updated_bytes; /* updated: read and written */
    bench_array result[BENCH_MAX_RESULTS];           /* after run: what to compare */
    int n_results;
    lv_tensor *in[4], *out;
    size_t mark; /* lv_bench_forget goes back to it */
} bench;

typedef struct {
    const char *name;
    void (*start)(bench *b);  /* operands; not timed */
    void (*before)(bench *b); /* once before each run, not timed; may be NULL */
    void (*run)(bench *b);    /* timed; the same results each time after before */
} bench_row;

extern const bench_row bench_norms[], bench_rotary[], bench_activations[], bench_optimizer[];

/* bench_random: an activation (T,H) of b->dtype, normal values times scale. */
lv_tensor *bench_random(bench *b, uint64_t seed, double scale);

/* bench_weight: (H) f32, near 1. */
lv_tensor *bench_weight(bench *b, uint64_t seed);

/* bench_grad: give x a gradient of the same values each time; begun: it is to be added to. */
void bench_grad(bench *b, lv_tensor *x, bool begun);

/* bench_refill: the same small values again. */
void bench_refill(void *data, lv_dtype dtype, int64_t n);

/* bench_result: x is to be compared. */
void bench_result(bench *b, void *data, lv_dtype dtype, int64_t n);

/* bench_moves: how many arrays of (T,H) of b->dtype must be read, written, and both. */
void bench_moves(bench *b, int read, int written, int updated);

#endif
