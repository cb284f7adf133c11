/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/cpu.h"
#include "autograd/kernels/bf16.h"
#include "autograd/kernels/convert.h"
#include "autograd/kernels/gemm.h"
#include "autograd/rng.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { POISON = 0x5A, N_THREADS = 2 };

/* A matrix as it is stored: rows ld apart and off bytes from an aligned address; poison around and
 * between the rows. */
typedef struct {
    int64_t rows, columns, ld, bytes;
    lv_dtype dtype;
    char *memory, *data;
} stored;

static stored store(int64_t rows, int64_t columns, lv_dtype dtype, int64_t off, uint64_t seed)
{
    stored x = {.rows = rows, .columns = columns, .ld = columns + 3, .dtype = dtype};
    int64_t size = (int64_t)lv_dtype_bytes(dtype);
    x.bytes = (rows * x.ld + 16) * size + off;
    x.memory = malloc((size_t)x.bytes);
    assert_non_null(x.memory);
    memset(x.memory, POISON, (size_t)x.bytes);
    x.data = x.memory + 8 * size + off;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < columns; c++) {
            lv_real value = (lv_real)lv_random_normal(seed, (uint64_t)r, (uint64_t)c);
            lv_convert_from_real(x.data + (r * x.ld + c) * size, dtype, &value, 1);
        }
    }
    return x;
}

static double value_at(const stored *x, int64_t row, int64_t column)
{
    lv_real value;
    const char *at = x->data + (row * x->ld + column) * (int64_t)lv_dtype_bytes(x->dtype);
    lv_convert_to_real(&value, at, x->dtype, 1);
    return (double)value;
}

/* As the product sees it: floats are rounded. */
static double operand_at(const stored *x, bool transposed, int64_t row, int64_t column)
{
    lv_real value = (lv_real)(transposed ? value_at(x, column, row) : value_at(x, row, column));
    uint16_t h;
    lv_convert_from_real(&h, LV_BF16, &value, 1);
    return (double)lv_bf16_to_float(h);
}

static void expect_poison_outside(const stored *x)
{
    int64_t size = (int64_t)lv_dtype_bytes(x->dtype);
    for (const char *at = x->memory; at < x->memory + x->bytes; at++) {
        int64_t i = at - x->data;
        bool inside =
            i >= 0 && i / (x->ld * size) < x->rows && i % (x->ld * size) / size < x->columns;
        assert_true(inside || *at == POISON);
    }
}

typedef enum { NO_RESIDUAL, OTHER_RESIDUAL, C_IS_RESIDUAL, N_RESIDUALS } residual_kind;

typedef struct {
    int64_t M, N, K;
    bool trans_a, trans_b, b_is_f32, add, bias;
    lv_dtype C_dtype;
    residual_kind residual;
} product;

static void check_result(const product *p, const stored *A, const stored *B, const stored *before,
                         const stored *C, const lv_real *bias, const stored *residual)
{
    for (int64_t m = 0; m < p->M; m++) {
        for (int64_t n = 0; n < p->N; n++) {
            double old = value_at(before, m, n);
            double other = p->residual == OTHER_RESIDUAL ? value_at(residual, m, n) : old;
            double sum = (p->add ? old : 0) + (p->bias ? (double)bias[n] : 0) +
                         (p->residual == NO_RESIDUAL ? 0 : other);
            double size = fabs(sum) + fabs(old);
            for (int64_t k = 0; k < p->K; k++) {
                double term = operand_at(A, p->trans_a, m, k) * operand_at(B, p->trans_b, k, n);
                sum += term;
                size += fabs(term);
            }
            double rounding = p->C_dtype == LV_BF16 ? 0x1p-8 * fabs(sum) : 0;
            assert_true(fabs(value_at(C, m, n) - sum) <= rounding + 1e-6 * size);
        }
    }
}

static void check_product(const product *p)
{
    stored A = store(p->trans_a ? p->K : p->M, p->trans_a ? p->M : p->K, LV_BF16, 1, 1);
    stored B = store(p->trans_b ? p->N : p->K, p->trans_b ? p->K : p->N,
                     p->b_is_f32 ? LV_F32 : LV_BF16, p->b_is_f32 ? 0 : 1, 2);
    stored C = store(p->M, p->N, p->C_dtype, 0, 3);
    stored before = store(p->M, p->N, p->C_dtype, 0, 3);
    stored residual = store(p->M, p->N, p->C_dtype, 0, 4);
    stored bias = store(1, p->N, LV_F32, 0, 5);
    const void *residuals[N_RESIDUALS] = {NULL, residual.data, C.data};
    lv_gemm(&(lv_gemm_args){.M = p->M,
                            .N = p->N,
                            .K = p->K,
                            .A = {A.data, LV_BF16, A.ld, p->trans_a},
                            .B = {B.data, B.dtype, B.ld, p->trans_b},
                            .C = C.data,
                            .C_dtype = p->C_dtype,
                            .ldc = C.ld,
                            .add = p->add,
                            .bias = p->bias ? (const lv_real *)(void *)bias.data : NULL,
                            .residual = residuals[p->residual]});
    check_result(p, &A, &B, &before, &C, (const lv_real *)(void *)bias.data, &residual);
    expect_poison_outside(&C);
    stored *all[] = {&A, &B, &C, &before, &residual, &bias};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]->memory);
    }
}

static void each_level(void (*check)(void))
{
    for (int level = 0; level <= (int)lv_cpu_found(); level++) {
        lv_cpu_limit((lv_cpu_level)level);
        check();
    }
    lv_cpu_limit(LV_CPU_AMX);
}

static void check_forms(void)
{
    static const int64_t shapes[][3] = {{1, 1, 1},  {1, 35, 33}, {5, 17, 9}, {17, 18, 33},
                                        {3, 34, 4}, {2, 3, 0},   {7, 18, 64}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        for (int form = 0; form < 64 * N_RESIDUALS; form++) {
            check_product(&(product){
                .M = shapes[i][0],
                .N = shapes[i][1],
                .K = shapes[i][2],
                .trans_a = form & 1,
                .trans_b = form & 2,
                .b_is_f32 = form & 4,
                .add = form & 8,
                .bias = form & 16,
                .C_dtype = form & 32 ? LV_F32 : LV_BF16,
                .residual = (residual_kind)(form / 64),
            });
        }
    }
}

static void every_form_agrees_with_sums_in_double(void **state)
{
    (void)state;
    each_level(check_forms);
}

static void check_blocks(void)
{
    check_product(&(product){.M = 261, .N = 21, .K = 33, .trans_b = true});
    check_product(&(product){.M = 3, .N = 563, .K = 70, .bias = true, .residual = C_IS_RESIDUAL});
    check_product(
        &(product){.M = 4, .N = 35, .K = 1093, .trans_a = true, .C_dtype = LV_F32, .add = true});
    check_product(&(product){.M = 4,
                             .N = 35,
                             .K = 2093,
                             .trans_b = true,
                             .C_dtype = LV_BF16,
                             .residual = OTHER_RESIDUAL});
    check_product(&(product){.M = 1, .N = 300, .K = 1500, .trans_b = true, .bias = true});
    check_product(&(product){.M = 135, .N = 270, .K = 1088, .trans_b = true});
    check_product(&(product){.M = 2070, .N = 5, .K = 32, .C_dtype = LV_F32, .add = true});
    check_product(&(product){.M = 2070, .N = 5, .K = 33, .trans_a = true});
    check_product(&(product){.M = 33, .N = 3, .K = 20011, .C_dtype = LV_F32});
    check_product(&(product){.M = 33, .N = 390, .K = 1500, .bias = true});
}

static void products_of_several_blocks_agree_with_sums_in_double(void **state)
{
    (void)state;
    each_level(check_blocks);
    check_product(&(product){.M = 1, .N = 3, .K = 70001, .trans_b = true, .C_dtype = LV_F32});
}

static void nothing_to_multiply_leaves_what_is_added(void **state)
{
    (void)state;
    for (int add = 0; add < 2; add++) {
        check_product(&(product){.M = 0, .N = 4, .K = 4, .add = add});
        check_product(&(product){.M = 4, .N = 0, .K = 4, .add = add});
        check_product(&(product){.M = 40, .N = 40, .K = 0, .add = add, .C_dtype = LV_F32});
    }
}

static void products_do_not_depend_on_the_number_of_threads(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 6; threads++) {
        omp_set_num_threads(threads);
        check_product(&(product){.M = 130, .N = 70, .K = 40, .trans_b = true});
        check_product(&(product){.M = 33, .N = 260, .K = 50, .C_dtype = LV_F32, .add = true});
        check_product(&(product){.M = 260, .N = 33, .K = 50, .trans_a = true});
        check_product(&(product){.M = 1, .N = 533, .K = 50, .trans_b = true, .bias = true});
    }
    omp_set_num_threads(N_THREADS);
}

static void the_same_product_has_the_same_bits(void **state)
{
    (void)state;
    enum { M = 70, N = 90, K = 1100 };
    stored A = store(M, K, LV_BF16, 0, 1), B = store(N, K, LV_BF16, 1, 2);
    for (int threads = 1; threads <= 4; threads++) {
        stored C[2];
        omp_set_num_threads(threads);
        for (int i = 0; i < 2; i++) {
            C[i] = store(M, N, LV_F32, 0, 3);
            lv_gemm(&(lv_gemm_args){.M = M,
                                    .N = N,
                                    .K = K,
                                    .A = {A.data, LV_BF16, A.ld, false},
                                    .B = {B.data, LV_BF16, B.ld, true},
                                    .C = C[i].data,
                                    .ldc = C[i].ld,
                                    .add = true});
        }
        assert_memory_equal(C[0].memory, C[1].memory, (size_t)C[0].bytes);
        free(C[0].memory);
        free(C[1].memory);
    }
    omp_set_num_threads(N_THREADS);
    free(A.memory);
    free(B.memory);
}

/* The first rows of one A, in products of different heights and on different numbers of threads:
 * the bits of C are those of the highest one. */
static void check_company(void)
{
    enum { M = 300, N = 70 };
    static const int64_t heights[] = {1, 2, 15, 16, 17, 64, M};
    static const int64_t depths[] = {33, 64, 1120};
    for (int form = 0; form < 3 * 4; form++) {
        int64_t K = depths[form / 4];
        bool trans_b = form & 1;
        lv_dtype dtype = form & 2 ? LV_F32 : LV_BF16;
        stored A = store(M, K, LV_BF16, 0, 1);
        stored B = store(trans_b ? N : K, trans_b ? K : N, LV_BF16, 1, 2);
        stored all = store(M, N, dtype, 0, 3);
        lv_gemm_args args = {.N = N,
                             .K = K,
                             .A = {A.data, LV_BF16, A.ld, false},
                             .B = {B.data, LV_BF16, B.ld, trans_b},
                             .C_dtype = dtype,
                             .ldc = all.ld};
        for (int i = (int)(sizeof heights / sizeof *heights) - 1; i >= 0; i--) {
            stored C = store(M, N, dtype, 0, 3);
            args.M = heights[i];
            args.C = heights[i] == M ? all.data : C.data;
            omp_set_num_threads(1 + i % 4);
            lv_gemm(&args);
            for (int64_t m = 0; m < args.M; m++) {
                int64_t at = m * all.ld * (int64_t)lv_dtype_bytes(dtype);
                assert_memory_equal((char *)args.C + at, all.data + at, N * lv_dtype_bytes(dtype));
            }
            free(C.memory);
        }
        free(A.memory);
        free(B.memory);
        free(all.memory);
    }
    omp_set_num_threads(N_THREADS);
}

static void a_row_does_not_depend_on_its_company(void **state)
{
    (void)state;
    each_level(check_company);
}

static void check_specials(void)
{
    for (int64_t M = 1; M < 40; M += 13) {
        stored A = store(M, 8, LV_BF16, 1, 1), B = store(5, 8, LV_BF16, 1, 2);
        stored C = store(M, 5, LV_BF16, 0, 3);
        memset(B.data, 0, (size_t)(5 * B.ld) * 2); /* even against zeros */
        const lv_gemm_args args = {.M = M,
                                   .N = 5,
                                   .K = 8,
                                   .A = {A.data, LV_BF16, A.ld, false},
                                   .B = {B.data, LV_BF16, B.ld, true},
                                   .C = C.data,
                                   .C_dtype = LV_BF16,
                                   .ldc = C.ld};
        lv_real nan = NAN, infinity = INFINITY, one = 1;
        lv_convert_from_real(A.data + 3 * 2, LV_BF16, &nan, 1);
        lv_gemm(&args);
        assert_true(isnan(value_at(&C, 0, 0)) && isnan(value_at(&C, 0, 4)));
        lv_convert_from_real(A.data + 3 * 2, LV_BF16, &infinity, 1);
        lv_convert_from_real(B.data + 3 * 2, LV_BF16, &one, 1);
        lv_gemm(&args);
        assert_true(isinf(value_at(&C, 0, 0)) && isnan(value_at(&C, 0, 1)));
        assert_true(M == 1 || value_at(&C, 1, 1) == 0);
        free(A.memory);
        free(B.memory);
        free(C.memory);
    }
}

static void nan_and_infinity_pass_through(void **state)
{
    (void)state;
    each_level(check_specials);
}

static void the_rate_is_that_of_a_working_kernel(void **state)
{
    (void)state;
    double rate = lv_gemm_rate();
    assert_true(rate > 1e7 && rate < 1e15);
    assert_string_equal(lv_bf16_kernel_name(), lv_cpu_name(lv_cpu()));
}

static int start(void **state)
{
    (void)state;
    lv_blas_start();
    omp_set_num_threads(N_THREADS);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_agrees_with_sums_in_double),
        cmocka_unit_test(products_of_several_blocks_agree_with_sums_in_double),
        cmocka_unit_test(nothing_to_multiply_leaves_what_is_added),
        cmocka_unit_test(products_do_not_depend_on_the_number_of_threads),
        cmocka_unit_test(the_same_product_has_the_same_bits),
        cmocka_unit_test(a_row_does_not_depend_on_its_company),
        cmocka_unit_test(nan_and_infinity_pass_through),
        cmocka_unit_test(the_rate_is_that_of_a_working_kernel),
    };
    return cmocka_run_group_tests_name("gemm_bf16", tests, start, NULL);
}
