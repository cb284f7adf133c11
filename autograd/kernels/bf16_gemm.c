/* SPDX-License-Identifier: Apache-2.0
 *
 * A thread's part of a bf16 product:
 *   for each block of columns, part of the depth: pack B, which then stays in the L2 cache;
 *     for each block of rows, chunk of the part: rows of A, which stay in the L1 cache, times B
 * A part is all of the depth if that much of B fits into the cache, else one chunk; sums are kept
 * from part to part. While a chunk is multiplied, A's next rows are fetched and the block of rows
 * before is finished.
 *
 * K and the kernel alone decide in which order an element's sums are added.
 */
#include "autograd/kernels/bf16_kernels.h"
#include "autograd/kernels/gemm_scratch.h"
#include "autograd/kernels/vector.h"

enum {
    CHUNK = 17 * LV_BF16_DEPTH, /* 32 rows of it are three quarters of an L1 cache of 48 KB */
    GRAIN = 32,                 /* rows and columns of a product of 2 x 2 tiles */
    ROWS = 96,                  /* of a block, without tiles */
    MOST_ROWS = 2048,           /* whose sums are kept from part to part */
    MOST_COLUMNS = 768,         /* a chunk of B is then less than half of an L2 cache of 2 MB */
    B_COUNT = 1024 * CHUNK,     /* elements of a part that is all of the depth */
    A_COUNT = 1 << 22,          /* elements of A that are packed at a time */
    FEW_ROWS = 128,             /* for which tiles read B in place */
    FEW_COLUMNS = 64, /* packed at a time for one block of rows: they stay in the L1 cache */
    NARROW = 512,     /* columns for which A is not worth packing */
    FAR = 2048 / sizeof(uint16_t),
    FINISH_ROWS = 8,
    FETCH_LINES = 5,
    LINE_BYTES = 64,
};

/* Rows [m, m + rows of a block) and a chunk of the depth from k on. */
typedef struct {
    int64_t m, k;
} place;

/* Lines of memory that are wanted next. */
typedef struct {
    const char *at;
    int64_t rows, bytes, row_bytes, byte;
} lines;

typedef struct {
    const lv_gemm_args *x;
    lv_gemm_finish *finish;
    lv_matrix A;      /* its rows from m.begin on */
    uint16_t *a;      /* packed: block of rows after block of rows, chunk after chunk; or NULL */
    lv_range m, n, k; /* a block of columns, a part of the depth */
    int64_t rows, chunk, strip; /* strip: columns whose sums lie together */
    uint16_t *b;                /* chunk after chunk */
    lv_real *sums;              /* block of rows after block of rows, in each strip after strip */
    place at, next, before;
    bool has_next, is_unfinished; /* the block before */
    lines ahead;
    int64_t units, finish_units, finished, due; /* beside a chunk */
} work;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t parts(int64_t count, int64_t most)
{
    return (count + most - 1) / most;
}

static int64_t round_up(int64_t count, int64_t multiple)
{
    return parts(count, multiple) * multiple;
}

/* Even chunks, but of an odd number of lines: rows of A that far apart fall into different sets of
 * a cache. */
static int64_t chunk_of(int64_t K)
{
    int64_t n = parts(K, CHUNK);
    return n == 0 ? LV_BF16_DEPTH : (parts(parts(K, n), LV_BF16_DEPTH) | 1) * LV_BF16_DEPTH;
}

static int64_t rows_at(const work *w, place p)
{
    return least(w->m.end - p.m, w->rows);
}

static int64_t depth_at(const work *w, place p)
{
    return least(w->k.end - p.k, w->chunk);
}

static int64_t padded_columns(const work *w)
{
    return round_up(w->n.end - w->n.begin, GRAIN);
}

/* Those of the one part that there is are wanted only till they are finished. */
static lv_real *sums_at(const work *w, place p)
{
    int64_t block = (p.m - w->m.begin) / w->rows;
    bool one_part = w->k.end - w->k.begin == w->x->K;
    return w->sums + (one_part ? block % 2 : block) * w->rows * padded_columns(w);
}

static bool advance(const work *w, place *p)
{
    p->k += w->chunk;
    if (p->k >= w->k.end) {
        p->k = w->k.begin;
        p->m += w->rows;
    }
    return p->m < w->m.end;
}

typedef struct {
    const uint16_t *at;
    int64_t ld;
} rows_of_a;

static rows_of_a find_a(const work *w, place p)
{
    int64_t row = p.m - w->m.begin, K = lv_bf16_depth(depth_at(w, p));
    if (!w->a) {
        return (rows_of_a){lv_matrix_part(&w->A, row, p.k).data, w->A.ld};
    }
    return (rows_of_a){w->a + row * lv_bf16_depth(w->x->K) + rows_at(w, p) * p.k, K};
}

static void pack_a(const work *w)
{
    for (place p = {w->m.begin, 0}; p.m < w->m.end; p.m += w->rows) {
        for (p.k = 0; p.k < w->x->K; p.k += w->chunk) {
            int64_t K = least(w->x->K - p.k, w->chunk), M = rows_at(w, p);
            lv_matrix from = lv_matrix_part(&w->A, p.m - w->m.begin, p.k);
            lv_vector()->bf16_pack_rows(w->a + (p.m - w->m.begin) * lv_bf16_depth(w->x->K) +
                                            M * p.k,
                                        lv_bf16_depth(K), &from, M, K);
        }
    }
}

/* Some rows of a strip. */
static void finish_unit(const work *w, place p, int64_t unit)
{
    const lv_gemm_args *x = w->x;
    int64_t strips = parts(w->n.end - w->n.begin, w->strip);
    int64_t row = unit / strips * FINISH_ROWS, n = w->n.begin + unit % strips * w->strip;
    int64_t at = (p.m + row) * x->ldc + n;
    w->finish(lv_element(x->C, x->C_dtype, at), x->C_dtype, x->ldc, x->add,
              sums_at(w, p) + (n - w->n.begin) * w->rows + row * w->strip, w->strip,
              x->bias ? x->bias + n : NULL,
              x->residual ? lv_element_const(x->residual, x->C_dtype, at) : NULL,
              least(rows_at(w, p) - row, FINISH_ROWS), least(w->n.end - n, w->strip));
}

static int64_t finish_units(const work *w)
{
    return w->is_unfinished
               ? parts(rows_at(w, w->before), FINISH_ROWS) * parts(w->n.end - w->n.begin, w->strip)
               : 0;
}

/* Lines of the next chunk of A come into the L2 cache; now and then some rows are finished. */
static void run_unit(void *of, int64_t unit)
{
    work *w = of;
    lines *x = &w->ahead;
    for (int64_t i = 0; i < FETCH_LINES && x->rows > 0; i++) {
        __builtin_prefetch(x->at + x->byte, 0, 2);
        x->byte += LINE_BYTES;
        if (x->byte >= x->bytes) {
            x->byte = 0;
            x->at += x->row_bytes;
            x->rows--;
        }
    }
    w->due += w->finish_units;
    while (w->due >= w->units) {
        w->due -= w->units;
        finish_unit(w, w->before, w->finished++);
    }
    (void)unit;
}

/* Work beside the chunk at w->at. */
static lv_bf16_beside plan(work *w)
{
    enum { SIZE = sizeof(uint16_t) };
    w->ahead.rows = 0;
    w->finish_units = finish_units(w);
    w->due = w->finished = 0;
    w->units = w->finish_units;
    if (w->has_next) {
        rows_of_a a = find_a(w, w->next);
        int64_t rows = rows_at(w, w->next), bytes = depth_at(w, w->next) * SIZE;
        w->ahead = (lines){(const char *)a.at, rows, bytes, a.ld * SIZE, 0};
        int64_t units = parts(rows * parts(bytes, LINE_BYTES), FETCH_LINES);
        w->units = units > w->units ? units : w->units;
    }
    return (lv_bf16_beside){.run = run_unit, .of = w, .units = w->units};
}

static void multiply_chunk(work *w)
{
    int64_t K = depth_at(w, w->at);
    rows_of_a a = find_a(w, w->at);
    lv_bf16_beside beside = plan(w);
    lv_bf16_multiply_beside(sums_at(w, w->at), w->strip,
                            w->strip == GRAIN ? w->rows * GRAIN : GRAIN, w->at.k > 0, a.at, a.ld,
                            w->b + (w->at.k - w->k.begin) * padded_columns(w), rows_at(w, w->at),
                            round_up(w->n.end - w->n.begin, LV_BF16_COLUMNS), K, &beside);
    w->is_unfinished = w->at.k + w->chunk >= w->x->K;
    w->before = w->at;
}

/* All rows of a block of columns, a part of the depth. */
static void multiply_part(work *w)
{
    int64_t k = w->k.begin;
    do {
        int64_t K = least(w->k.end - k, w->chunk);
        lv_bf16_pack_b(w->b + (k - w->k.begin) * padded_columns(w), &w->x->B, k, K, w->n.begin,
                       w->n.end - w->n.begin);
        k += K;
    } while (k < w->k.end);
    w->at = (place){w->m.begin, w->k.begin};
    w->is_unfinished = false;
    do {
        w->next = w->at;
        w->has_next = advance(w, &w->next);
        multiply_chunk(w);
        w->at = w->next;
    } while (w->has_next);
    for (int64_t i = 0; i < finish_units(w); i++) {
        finish_unit(w, w->before, i);
    }
}

/* A's rows are read where they lie. Those a multiple of 2 KB apart share few sets of a cache, which
 * matters if they are read often. */
static bool in_place(const lv_matrix *A, int64_t K, int64_t N)
{
    return !A->transposed && K % LV_BF16_DEPTH == 0 && (N < NARROW || A->ld % FAR != 0);
}

/* Few rows times weights that lie row by row, for tiles: C^T = B^T A^T reads the weights in place,
 * as decoding has to. Its sums have the same terms in the same order. */
static bool is_few(const lv_gemm_args *x, lv_range m)
{
    return lv_bf16_has_tiles() && m.end - m.begin <= FEW_ROWS && x->B.transposed &&
           x->B.dtype == LV_BF16 && x->K % LV_BF16_DEPTH == 0 && x->K > 0;
}

/* Columns [n, n + N) of C, from their sums as N rows of M. */
static void finish_transposed(const lv_gemm_args *x, lv_range m, int64_t n, int64_t N,
                              const lv_real *sums, int64_t ld, lv_real *buf)
{
    for (int64_t j = 0; j < N; j += LV_BF16_COLUMNS) { /* floats are moved as pairs of bf16 are */
        int64_t columns = least(N - j, LV_BF16_COLUMNS), at = m.begin * x->ldc + n + j;
        const lv_matrix pairs = {sums + j * ld, LV_BF16, 2 * ld, true};
        lv_bf16_pack_b((uint16_t *)(void *)buf, &pairs, 0, 2 * ld, 0, columns);
        lv_bf16_finish()(lv_element(x->C, x->C_dtype, at), x->C_dtype, x->ldc, x->add, buf,
                         LV_BF16_COLUMNS, x->bias ? x->bias + n + j : NULL,
                         x->residual ? lv_element_const(x->residual, x->C_dtype, at) : NULL,
                         m.end - m.begin, columns);
    }
}

static void multiply_few(const lv_gemm_args *x, lv_range m, lv_range n)
{
    int64_t M = m.end - m.begin, columns = round_up(M, LV_BF16_COLUMNS);
    lv_real *sums = lv_gemm_scratch((size_t)(2 * GRAIN * columns) * sizeof *sums +
                                    (size_t)(columns * x->K) * sizeof(uint16_t));
    lv_real *buf = sums + GRAIN * columns;
    uint16_t *a = (uint16_t *)(void *)(buf + GRAIN * columns);
    const lv_matrix At = {x->A.data, x->A.dtype, x->A.ld, !x->A.transposed};
    lv_bf16_pack_b(a, &At, 0, x->K, m.begin, M);
    for (int64_t j = n.begin; j < n.end; j += GRAIN) {
        int64_t N = least(n.end - j, GRAIN);
        lv_matrix rows = lv_matrix_part(&x->B, 0, j);
        lv_bf16_multiply(sums, columns, false, rows.data, rows.ld, a, N, columns, x->K);
        finish_transposed(x, m, j, N, sums, columns, buf);
    }
}

void lv_bf16_gemm(const lv_gemm_args *x, lv_range m, lv_range n)
{
    if (is_few(x, m)) {
        multiply_few(x, m, n);
        return;
    }
    work w = {.x = x, .finish = lv_bf16_finish(), .chunk = chunk_of(x->K)};
    w.rows = lv_bf16_has_tiles() ? GRAIN : ROWS;
    int64_t M = m.end - m.begin, N = n.end - n.begin;
    int64_t part = x->K > 0 ? round_up(x->K, w.chunk) : w.chunk, most = B_COUNT / part;
    if (most < round_up(least(N, MOST_COLUMNS / 2), GRAIN)) {
        part = w.chunk;
        most = MOST_COLUMNS;
        M = least(M, MOST_ROWS);
    }
    if (M <= w.rows && x->B.transposed) {
        part = w.chunk;
        most = FEW_COLUMNS;
    }
    int64_t columns = round_up(parts(N, parts(N, most / GRAIN * GRAIN)), GRAIN);
    bool packs = !in_place(&x->A, x->K, N);
    if (packs) {
        M = least(M, round_up(parts(A_COUNT, lv_bf16_depth(x->K) + 1), w.rows));
    }
    w.strip = lv_bf16_has_tiles() ? GRAIN : columns;
    int64_t sums = (part >= x->K ? 2 : parts(M, w.rows)) * w.rows * columns;
    int64_t b_count = part * columns, a_count = packs ? M * lv_bf16_depth(x->K) : 0;
    w.sums = lv_gemm_scratch(sizeof(lv_real) * (size_t)sums +
                             sizeof(uint16_t) * (size_t)(b_count + a_count));
    w.b = (uint16_t *)(void *)(w.sums + sums);
    for (int64_t i = m.begin; i < m.end; i += M) {
        w.A = lv_matrix_part(&x->A, i, 0);
        w.m = (lv_range){i, least(m.end, i + M)};
        if (packs) {
            w.a = w.b + b_count;
            pack_a(&w);
        }
        for (int64_t j = n.begin; j < n.end; j += columns) {
            w.n = (lv_range){j, least(n.end, j + columns)};
            int64_t k = 0;
            do {
                w.k = (lv_range){k, least(x->K, k + part)};
                multiply_part(&w);
                k += part;
            } while (k < x->K);
        }
    }
}
