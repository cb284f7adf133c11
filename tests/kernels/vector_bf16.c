/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/bf16.h"
#include "tests/kernels/vector_check.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* ---- packing ---- */

/* Eight significant bits, to nearest even. */
static double rounded(double x)
{
    int exponent = 0;
    double m = frexp(x, &exponent);
    return ldexp(nearbyint(ldexp(m, 8)), exponent - 8);
}

static void same(const vector_array *x, int64_t i, double expected)
{
    double found = vector_get(x, i);
    bool equal =
        isnan(expected) ? isnan(found) : found == expected && !signbit(found) == !signbit(expected);
    if (!equal) {
        fail_msg("element %d of %d is %.9g, not %.9g", (int)i, (int)x->n, found, expected);
    }
}

/* Halfway to either side, what has no rounding, and zeros of both signs, among others. */
static void set_corners(const vector_array *x, int64_t n, int64_t ld)
{
    static const double corners[] = {1 + 0x1p-8, 1 + 0x3p-8, -1 - 0x1p-8,     NAN, INFINITY,
                                     -INFINITY,  -0.0,       0x1.fffffep+100, 0};
    enum { N_CORNERS = sizeof corners / sizeof *corners };
    for (int64_t i = 0; i < x->n; i += 5) {
        if (i % ld < n) {
            vector_set(x, i, corners[i / 5 % N_CORNERS]);
        }
    }
}

/* A matrix of which element (row, column) is at row * by_row + column * by_column. */
typedef struct {
    vector_array memory;
    lv_matrix as;
    int64_t by_row, by_column;
} matrix;

enum { N_FORMS = 4 * VECTOR_N_OFFSETS };

/* form: transposed or not, f32 or bf16, and how it is aligned; bf16 also at odd addresses. */
static matrix new_matrix(int64_t rows, int64_t columns, int form)
{
    bool transposed = form & 1;
    lv_dtype dtype = form & 2 ? LV_F32 : LV_BF16;
    int offset = vector_offsets[form / 4];
    int64_t lines = transposed ? columns : rows, n = transposed ? rows : columns, ld = n + 3;
    vector_array x = vector_rows(dtype, lines, n, ld, offset, 70);
    set_corners(&x, n, ld);
    if (dtype == LV_BF16 && offset == 3) {
        x = vector_byte(&x);
    }
    return (matrix){.memory = x,
                    .as = {x.data, dtype, ld, transposed},
                    .by_row = transposed ? 1 : ld,
                    .by_column = transposed ? ld : 1};
}

static double element(const matrix *x, int64_t row, int64_t column)
{
    return vector_get(&x->memory, row * x->by_row + column * x->by_column);
}

static const int64_t lines[] = {0, 1, 15, 16, 17, 33, 48};
static const int64_t depths[] = {0, 1, 2, 31, 32, 33, 63, 64, 100};
enum { N_LINES = sizeof lines / sizeof *lines, N_DEPTHS = sizeof depths / sizeof *depths };

void vector_case_bf16_pack_rows(const lv_vector_kernels *k)
{
    for (int i = 0; i < N_LINES * N_DEPTHS * N_FORMS; i++) {
        int64_t M = lines[i / N_FORMS / N_DEPTHS], K = depths[i / N_FORMS % N_DEPTHS];
        int64_t depth = lv_bf16_depth(K);
        matrix A = new_matrix(M, K, i % N_FORMS);
        vector_array packed = vector_new(LV_BF16, M * depth, 0, 71);
        k->bf16_pack_rows(packed.data, depth, &A.as, M, K);
        for (int64_t m = 0; m < M; m++) {
            for (int64_t at = 0; at < depth; at++) {
                same(&packed, m * depth + at, at < K ? rounded(element(&A, m, at)) : 0);
            }
        }
        vector_free_all();
    }
}

void vector_case_bf16_pack_panels(const lv_vector_kernels *k)
{
    for (int i = 0; i < N_LINES * N_DEPTHS * N_FORMS; i++) {
        int64_t N = lines[i / N_FORMS / N_DEPTHS], K = depths[i / N_FORMS % N_DEPTHS];
        int64_t depth = lv_bf16_depth(K), count = lv_bf16_b_count(K, N);
        matrix B = new_matrix(K, N, i % N_FORMS);
        vector_array packed = vector_new(LV_BF16, count, 0, 72);
        k->bf16_pack_panels(packed.data, &B.as, K, N);
        for (int64_t n = 0; depth > 0 && n < count / depth; n++) {
            for (int64_t at = 0; at < depth; at++) {
                bool there = at < K && n < N;
                same(&packed, vector_b_at(at, n, K), there ? rounded(element(&B, at, n)) : 0);
            }
        }
        vector_free_all();
    }
}

/* ---- products ---- */

/* Packed operands and what they hold; A's rows are further apart than they need be. */
typedef struct {
    int64_t M, N, K, lda;
    vector_array A, B;
    double a[13 * 1030], b[1030 * 100];
} operands;

static void pack_operands(operands *x)
{
    int64_t depth = lv_bf16_depth(x->K);
    vector_array a = vector_new(LV_BF16, x->M * x->K, 0, 73);
    vector_array b = vector_new(LV_BF16, x->K * x->N, 0, 74);
    if (x->M > 2 && x->N > 2 && x->K > 2) { /* each in a row or a column of its own */
        vector_set(&a, x->K + x->K / 2, NAN);
        vector_set(&b, x->K / 2 * x->N + 1, -INFINITY);
    }
    x->lda = depth + LV_BF16_DEPTH;
    x->A = vector_rows(LV_BF16, x->M, depth, x->lda, 0, 75);
    x->B = vector_new(LV_BF16, lv_bf16_b_count(x->K, x->N), 0, 76);
    vector_fill(&x->B, 0);
    for (int64_t m = 0; m < x->M; m++) {
        for (int64_t k = 0; k < depth; k++) {
            vector_set(&x->A, m * x->lda + k, k < x->K ? vector_get(&a, m * x->K + k) : 0);
        }
    }
    for (int64_t k = 0; k < x->K; k++) {
        for (int64_t n = 0; n < x->N; n++) {
            x->b[k * x->N + n] = vector_get(&b, k * x->N + n);
            vector_set(&x->B, vector_b_at(k, n, x->K), x->b[k * x->N + n]);
        }
    }
    for (int64_t i = 0; i < x->M * x->K; i++) {
        x->a[i] = vector_get(&a, i);
    }
}

static void check_multiply(const lv_vector_kernels *k, const operands *x, bool add, int offset)
{
    int64_t ldc = x->N + 3;
    vector_array C = vector_rows(LV_F32, x->M, x->N, ldc, offset, 77);
    vector_array before = vector_copy(&C, 0);
    if (!add) {
        vector_fill(&C, NAN);
    }
    k->bf16_multiply(C.data, ldc, add, x->A.data, x->lda, x->B.data, x->M, x->N, x->K);
    for (int64_t m = 0; m < x->M; m++) {
        for (int64_t n = 0; n < x->N; n++) {
            double sum = add ? vector_get(&before, m * ldc + n) : 0, size = fabs(sum);
            for (int64_t i = 0; i < x->K; i++) {
                double product = x->a[m * x->K + i] * x->b[i * x->N + n];
                sum += product;
                size += fabs(product);
            }
            vector_near(&C, m * ldc + n, sum, size, 8);
        }
    }
    vector_gaps(&C, x->N, ldc);
}

void vector_case_bf16_multiply(const lv_vector_kernels *k)
{
    static const int64_t Ms[] = {1, 2, 5, 6, 13}, Ns[] = {1, 15, 17, 64, 65, 100};
    static const int64_t Ks[] = {0, 1, 2, 33, 64, 100, 511, 512, 513, 1030};
    enum { N_M = sizeof Ms / sizeof *Ms, N_N = sizeof Ns / sizeof *Ns };
    enum { N_K = sizeof Ks / sizeof *Ks };
    static operands x;
    for (int i = 0; i < N_M * N_N * N_K; i++) {
        x.M = Ms[i % N_M];
        x.N = Ns[i / N_M % N_N];
        x.K = Ks[i / N_M / N_N];
        pack_operands(&x);
        check_multiply(k, &x, false, vector_offsets[i % VECTOR_N_OFFSETS]);
        check_multiply(k, &x, true, vector_offsets[(i + 1) % VECTOR_N_OFFSETS]);
        vector_free_all();
    }
}

/* ---- gemm_finish ---- */

typedef enum { NO_RESIDUAL, OTHER_RESIDUAL, C_ITSELF } residual_kind;

static void check_finish(const lv_vector_kernels *k, lv_dtype dtype, int64_t n, int offset,
                         bool add, bool with_bias, residual_kind residual)
{
    vector_array C = vector_new(dtype, n, offset, 81), sum = vector_new(LV_F32, n, 1, 82);
    vector_array bias = vector_new(LV_F32, n, offset, 83), more = vector_new(dtype, n, 0, 84);
    if (n > 2) {
        vector_set(&sum, n / 2, NAN);
        vector_set(&bias, n - 1, -INFINITY);
        vector_set(&more, 0, INFINITY);
    }
    vector_array before = vector_copy(&C, 0);
    if (!add && residual != C_ITSELF) {
        vector_fill(&C, NAN); /* is not read */
    }
    const void *residuals[] = {NULL, more.data, C.data};
    k->gemm_finish(C.data, dtype, n, add, sum.data, n, with_bias ? bias.data : NULL,
                   residuals[residual], 1, n);
    for (int64_t i = 0; i < n; i++) {
        double parts[] = {vector_get(&sum, i), with_bias ? vector_get(&bias, i) : 0,
                          residual == OTHER_RESIDUAL ? vector_get(&more, i) : 0,
                          ((residual == C_ITSELF) + add) * vector_get(&before, i)};
        double total = 0, size = 0;
        for (int p = 0; p < 4; p++) {
            total += parts[p];
            size += fabs(parts[p]);
        }
        vector_near(&C, i, total, size, 2);
    }
}

static void check_gemm_finish(const lv_vector_kernels *k, lv_dtype dtype, int64_t n, int offset)
{
    for (int how = 0; how < 12; how++) {
        check_finish(k, dtype, n, offset, how & 1, how & 2, (residual_kind)(how / 4));
        vector_free_all();
    }
}

void vector_case_gemm_finish(const lv_vector_kernels *k)
{
    vector_each(k, check_gemm_finish);
}
