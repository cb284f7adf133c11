/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/convert.h"
#include "autograd/kernels/gemm.h"
#include "autograd/rng.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const lv_real POISON = 12345;

/* A matrix whose rows are ld apart; what lies between them is poison. */
static lv_real *matrix(int64_t rows, int64_t columns, int64_t ld, uint64_t seed)
{
    lv_real *x = malloc((size_t)(rows * ld + 1) * sizeof *x);
    assert_non_null(x);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < ld; c++) {
            x[r * ld + c] =
                c < columns ? (lv_real)lv_random_normal(seed, (uint64_t)r, (uint64_t)c) : POISON;
        }
    }
    return x;
}

typedef struct {
    bool trans_a, trans_b, bf16, serial;
    int64_t M, N, K;
    lv_real beta;
} product;

static void check_result(const product *p, const lv_real *A, int64_t lda, const lv_real *B,
                         int64_t ldb, const lv_real *before, const lv_real *C, int64_t ldc)
{
    for (int64_t m = 0; m < p->M; m++) {
        for (int64_t n = 0; n < ldc; n++) {
            if (n >= p->N) {
                assert_true(C[m * ldc + n] == POISON);
                continue;
            }
            double sum = p->beta != 0 ? (double)before[m * ldc + n] : 0;
            double size = fabs(sum);
            for (int64_t k = 0; k < p->K; k++) {
                double term = (double)(p->trans_a ? A[k * lda + m] : A[m * lda + k]) *
                              (double)(p->trans_b ? B[n * ldb + k] : B[k * ldb + n]);
                sum += term;
                size += fabs(term);
            }
            assert_true(fabs((double)C[m * ldc + n] - sum) <= 1e-6 * size);
        }
    }
}

static void check_product(const product *p)
{
    int64_t lda = (p->trans_a ? p->M : p->K) + 3;
    int64_t ldb = (p->trans_b ? p->K : p->N) + 5;
    int64_t ldc = p->N + 2;
    int64_t rows_b = p->trans_b ? p->N : p->K;
    lv_real *A = matrix(p->trans_a ? p->K : p->M, lda - 3, lda, 1);
    lv_real *B = matrix(rows_b, ldb - 5, ldb, 2);
    lv_real *C = matrix(p->M, p->N, ldc, 3);
    lv_real *before = matrix(p->M, p->N, ldc, 3);
    char *narrow = malloc((size_t)(rows_b * ldb) * 2 + 1);
    assert_non_null(narrow);
    lv_convert_from_real(narrow + 1, LV_BF16, B, rows_b * ldb);
    if (p->bf16) { /* the reference sees the same rounded values */
        lv_convert_to_real(B, narrow + 1, LV_BF16, rows_b * ldb);
    }
    if (p->beta == 0) { /* C is not read */
        for (int64_t m = 0; m < p->M; m++) {
            for (int64_t n = 0; n < p->N; n++) {
                C[m * ldc + n] = NAN;
            }
        }
    }
    if (p->serial) {
        lv_gemm_serial(p->trans_a, p->trans_b, p->M, p->N, p->K, 1, A, lda, B, ldb, p->beta, C,
                       ldc);
    } else {
        const void *b = p->bf16 ? (const void *)(narrow + 1) : B;
        lv_gemm(&(lv_gemm_args){.M = p->M,
                                .N = p->N,
                                .K = p->K,
                                .A = {A, LV_F32, lda, p->trans_a},
                                .B = {b, p->bf16 ? LV_BF16 : LV_F32, ldb, p->trans_b},
                                .C = C,
                                .ldc = ldc,
                                .add = p->beta != 0});
    }
    check_result(p, A, lda, B, ldb, before, C, ldc);
    free(A);
    free(B);
    free(C);
    free(before);
    free(narrow);
}

static void check_all_forms(bool bf16, bool serial)
{
    static const int64_t shapes[][3] = {{1, 1, 1},   {1, 77, 33},  {5, 1, 9},   {17, 33, 65},
                                        {64, 3, 80}, {3, 130, 70}, {97, 61, 1}, {0, 4, 4},
                                        {4, 0, 4},   {4, 4, 0},    {1, 4, 0}};
    for (int form = 0; form < 8; form++) {
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            product p = {form & 1,     form & 2,     bf16,         serial,
                         shapes[i][0], shapes[i][1], shapes[i][2], form & 4 ? 1 : 0};
            check_product(&p);
        }
    }
}

static void f32_products_agree_with_sums_in_double(void **state)
{
    (void)state;
    check_all_forms(false, false);
}

static void serial_products_agree_with_sums_in_double(void **state)
{
    (void)state;
    check_all_forms(false, true);
}

static void bf16_weights_at_odd_addresses_give_exact_products(void **state)
{
    (void)state;
    check_all_forms(true, false);
    check_product(&(product){false, true, true, false, 3, 523, 1031, 1}); /* several pieces */
    check_product(&(product){true, false, true, false, 3, 1031, 523, 0});
}

static void products_do_not_depend_on_the_number_of_threads(void **state)
{
    (void)state;
    int before = omp_get_max_threads();
    for (int threads = 1; threads <= 6; threads++) {
        omp_set_num_threads(threads);
        check_product(&(product){false, true, false, false, 130, 70, 40, 0});
        check_product(&(product){true, false, true, false, 33, 260, 50, 1});
        check_product(&(product){true, false, false, false, 260, 33, 50, 1});
    }
    omp_set_num_threads(before);
}

static void nan_and_infinity_pass_through(void **state)
{
    (void)state;
    for (int64_t M = 1; M < 40; M += 13) {
        lv_real *A = matrix(M, 8, 8, 1);
        lv_real B[8 * 5] = {0}; /* even against zeros */
        lv_real C[40 * 5];
        const lv_gemm_args args = {.M = M,
                                   .N = 5,
                                   .K = 8,
                                   .A = {A, LV_F32, 8, false},
                                   .B = {B, LV_F32, 5, false},
                                   .C = C,
                                   .ldc = 5};
        A[3] = NAN;
        lv_gemm(&args);
        assert_true(isnan(C[0]) && isnan(C[4]));
        A[3] = INFINITY;
        B[3 * 5] = 1;
        lv_gemm(&args);
        assert_true(isinf(C[0]) && isnan(C[1]));
        free(A);
    }
}

/* What lv_blas_start says in a new process whose OpenBLAS was loaded with SSE kernels. */
static void line_of_process(char *line, int bytes, const char *mode)
{
    char program[512], command[600];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    assert_true(n > 0);
    program[n] = '\0';
    snprintf(command, sizeof command, "OPENBLAS_CORETYPE=Prescott '%s' %s", program, mode);
    FILE *from = popen(command, "r");
    assert_non_null(from);
    assert_non_null(fgets(line, bytes, from));
    assert_int_equal(pclose(from), 0);
}

static void an_openblas_that_fell_back_to_sse_is_switched_unless_the_user_chose(void **state)
{
    (void)state;
    char line[200];
    line_of_process(line, sizeof line, "chosen");
    if (!strstr(line, "Prescott") || !__builtin_cpu_supports("avx2")) {
        skip(); /* an OpenBLAS for one CPU alone, or nothing better to switch to */
    }
    assert_null(strstr(line, "was"));
    line_of_process(line, sizeof line, "fallen-back");
    assert_non_null(strstr(line, "(was Prescott)"));
}

static void starting_blas_names_version_and_kernels(void **state)
{
    (void)state;
    char first[160];
    int threads = omp_get_max_threads();
    snprintf(first, sizeof first, "%s", lv_blas_start());
    char *was = strstr(first, " (was "); /* an OpenBLAS that does not know this CPU */
    if (was) {
        *was = '\0';
    }
    assert_non_null(strstr(first, "OpenBLAS"));
    assert_null(getenv("OPENBLAS_CORETYPE"));
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        assert_null(strstr(first, " Prescott"));
    }
    assert_int_equal(omp_get_max_threads(), threads);
    assert_string_equal(first, lv_blas_start()); /* a second start changes nothing */
}

static int start(void **state)
{
    (void)state;
    unsetenv("OPENBLAS_CORETYPE");
    omp_set_num_threads(2);
    return 0;
}

/* In the processes of line_of_process: the line, if products are still right. */
static int report_start(const char *mode)
{
    if (strcmp(mode, "fallen-back") == 0) {
        unsetenv("OPENBLAS_CORETYPE"); /* OpenBLAS has read it when it was loaded */
    }
    puts(lv_blas_start());
    check_product(&(product){false, true, false, false, 70, 90, 110, 0});
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        return report_start(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starting_blas_names_version_and_kernels),
        cmocka_unit_test(an_openblas_that_fell_back_to_sse_is_switched_unless_the_user_chose),
        cmocka_unit_test(f32_products_agree_with_sums_in_double),
        cmocka_unit_test(serial_products_agree_with_sums_in_double),
        cmocka_unit_test(bf16_weights_at_odd_addresses_give_exact_products),
        cmocka_unit_test(products_do_not_depend_on_the_number_of_threads),
        cmocka_unit_test(nan_and_infinity_pass_through),
    };
    return cmocka_run_group_tests_name("gemm", tests, start, NULL);
}
