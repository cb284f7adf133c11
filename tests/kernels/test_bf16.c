/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/cpu.h"
#include "autograd/kernels/bf16_kernels.h"
#include "autograd/kernels/convert.h"
#include "autograd/rng.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { GUARD = 64 };
static const lv_real POISON = 12345;

/* n elements of at least 64 bytes' alignment between two poisoned zones. */
static void *guarded(int64_t n, size_t size)
{
    size_t bytes = ((size_t)n * size + 63) / 64 * 64;
    char *x = aligned_alloc(64, bytes + (size_t)2 * GUARD);
    assert_non_null(x);
    memset(x, 0xA5, bytes + (size_t)2 * GUARD);
    return x + GUARD;
}

static void release(void *x, int64_t n, size_t size)
{
    char *from = (char *)x - GUARD;
    for (int64_t i = 0; i < GUARD; i++) {
        assert_int_equal((unsigned char)from[i], 0xA5);
        assert_int_equal((unsigned char)((char *)x)[n * (int64_t)size + i], 0xA5);
    }
    free(from);
}

typedef struct {
    int64_t rows, columns; /* as it is stored */
    lv_matrix as;
    char *memory;
} stored;

/* Random elements, rows ld apart and off bytes from an aligned address; NaN between the rows. */
static stored store(int64_t rows, int64_t columns, lv_dtype dtype, bool transposed, int64_t off)
{
    int64_t ld = columns + 3;
    int64_t bytes = dtype == LV_BF16 ? 2 : (int64_t)sizeof(lv_real);
    stored x = {rows, columns, {NULL, dtype, ld, transposed}, NULL};
    x.memory = malloc((size_t)((rows * ld + 1) * bytes + off));
    assert_non_null(x.memory);
    x.as.data = x.memory + off;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < ld; c++) {
            lv_real value =
                c < columns ? (lv_real)lv_random_normal(7, (uint64_t)r, (uint64_t)c) : NAN;
            char *at = x.memory + off + (r * ld + c) * bytes;
            if (dtype == LV_BF16) {
                lv_convert_from_real(at, LV_BF16, &value, 1);
            } else {
                memcpy(at, &value, sizeof value);
            }
        }
    }
    return x;
}

/* The bits of what stands for element (row, column) of a product's operand. */
static uint16_t element(const stored *x, int64_t row, int64_t column)
{
    int64_t at = x->as.transposed ? column * x->as.ld + row : row * x->as.ld + column;
    uint16_t h;
    if (x->as.dtype == LV_BF16) {
        memcpy(&h, (const char *)x->as.data + 2 * at, sizeof h);
    } else {
        lv_convert_from_real(&h, LV_BF16, (const lv_real *)x->as.data + at, 1);
    }
    return h;
}

static void check_packing(int64_t R, int64_t K, int form)
{
    bool transposed = form & 1;
    lv_dtype dtype = form & 2 ? LV_F32 : LV_BF16;
    int64_t off = dtype == LV_BF16 && form & 4 ? 1 : 0;
    int64_t depth = lv_bf16_depth(K);
    int64_t r0 = 2, k0 = 5;
    stored a = transposed ? store(k0 + K, r0 + R, dtype, true, off)
                          : store(r0 + R, k0 + K, dtype, false, off);
    uint16_t *to = guarded(R * depth, sizeof *to);
    lv_bf16_pack_a(to, &a.as, r0, R, k0, K);
    for (int64_t i = 0; i < R * depth; i++) {
        int64_t r = i / depth, k = i % depth;
        assert_int_equal(to[i], k < K ? element(&a, r0 + r, k0 + k) : 0);
    }
    release(to, R * depth, sizeof *to);
    free(a.memory);

    stored b = transposed ? store(r0 + R, k0 + K, dtype, true, off)
                          : store(k0 + K, r0 + R, dtype, false, off);
    int64_t count = lv_bf16_b_count(K, R);
    to = guarded(count, sizeof *to);
    lv_bf16_pack_b(to, &b.as, k0, K, r0, R);
    for (int64_t i = 0; i < count; i++) {
        int64_t panel = i / (depth * LV_BF16_COLUMNS);
        int64_t in = i % (depth * LV_BF16_COLUMNS);
        int64_t k = in / (2 * LV_BF16_COLUMNS) * 2 + in % 2;
        int64_t r = panel * LV_BF16_COLUMNS + in / 2 % LV_BF16_COLUMNS;
        assert_int_equal(to[i], k < K && r < R ? element(&b, k0 + k, r0 + r) : 0);
    }
    release(to, count, sizeof *to);
    free(b.memory);
}

static void packed_forms_hold_the_rounded_elements_and_zeros(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{1, 1},   {16, 32}, {15, 31}, {17, 33},
                                        {48, 96}, {3, 70},  {65, 2},  {40, 64}};
    for (int level = 0; level <= (int)lv_cpu_found(); level++) {
        lv_cpu_limit((lv_cpu_level)level);
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            for (int form = 0; form < 8; form++) {
                check_packing(shapes[i][0], shapes[i][1], form);
            }
        }
    }
    lv_cpu_limit(LV_CPU_AMX);
}

typedef void multiply(lv_real *C, int64_t ldc, bool add, const uint16_t *A, int64_t lda,
                      const uint16_t *B, int64_t M, int64_t N, int64_t K);

#ifdef LV_TEST_AMX_EMULATED
lv_bf16_kernel lv_bf16_multiply_amx_emulated; /* bf16_amx.c, compiled for amx_emulated.h */

static void multiply_emulated(lv_real *C, int64_t ldc, bool add, const uint16_t *A, int64_t lda,
                              const uint16_t *B, int64_t M, int64_t N, int64_t K)
{
    lv_bf16_multiply_amx_emulated(C, ldc, 32, add, A, lda, B, M, N, K, &(lv_bf16_beside){0});
}
#endif

/* C = A B against sums in double; lda is wider than the depth, C at any address of floats. */
static void check_product(multiply *kernel, int64_t M, int64_t N, int64_t K, bool add)
{
    int64_t depth = lv_bf16_depth(K), lda = depth + LV_BF16_DEPTH, ldc = N + 3;
    stored a = store(M, K, LV_BF16, false, 0);
    stored b = store(K, N, LV_BF16, false, 0);
    uint16_t *packed_a = guarded(M * lda, sizeof *packed_a);
    uint16_t *packed_b = guarded(lv_bf16_b_count(K, N), sizeof *packed_b);
    lv_real *C = guarded(M * ldc + 1, sizeof *C);
    lv_real *c = C + 1;
    for (int64_t m = 0; m < M; m++) {
        lv_bf16_pack_a(packed_a + m * lda, &a.as, m, 1, 0, K);
    }
    lv_bf16_pack_b(packed_b, &b.as, 0, K, 0, N);
    for (int64_t i = 0; i < M * ldc; i++) {
        c[i] = i % ldc < N && add ? (lv_real)(i % 5) : i % ldc < N ? NAN : POISON;
    }
    kernel(c, ldc, add, packed_a, lda, packed_b, M, N, K);
    for (int64_t i = 0; i < M * ldc; i++) {
        int64_t m = i / ldc, n = i % ldc;
        if (n >= N) {
            assert_true(c[i] == POISON);
            continue;
        }
        double sum = add ? (double)(i % 5) : 0, size = sum;
        for (int64_t k = 0; k < K; k++) {
            double term = (double)lv_bf16_to_float(element(&a, m, k)) *
                          (double)lv_bf16_to_float(element(&b, k, n));
            sum += term;
            size += fabs(term);
        }
        assert_true(fabs((double)c[i] - sum) <= 1e-6 * size);
    }
    release(C, M * ldc + 1, sizeof *C);
    release(packed_a, M * lda, sizeof *packed_a);
    release(packed_b, lv_bf16_b_count(K, N), sizeof *packed_b);
    free(a.memory);
    free(b.memory);
}

static void check_products(multiply *kernel)
{
    for (int64_t M = 1; M <= 34; M += M < 18 ? 1 : 5) {
        for (int64_t N = 1; N <= 82; N += N < 17 ? 5 : 13) {
            check_product(kernel, M, N, 1 + (M * 7 + N * 3) % 66, (M + N) % 2);
        }
    }
    check_product(kernel, 70, 128, 512, false);
    check_product(kernel, 7, 19, 1061, true);
    check_product(kernel, 64, 64, 64, true);
    check_product(kernel, 3, 5, 0, false);
    check_product(kernel, 3, 5, 0, true);
    check_product(kernel, 0, 5, 7, false);
    check_product(kernel, 5, 0, 7, false);
}

static void products_of_packed_blocks_agree_with_sums_in_double(void **state)
{
    (void)state;
    for (int level = 0; level <= (int)lv_cpu_found(); level++) {
        lv_cpu_limit((lv_cpu_level)level);
        assert_string_equal(lv_bf16_kernel_name(), lv_cpu_name((lv_cpu_level)level));
        check_products(lv_bf16_multiply);
    }
    lv_cpu_limit(LV_CPU_AMX);
}

static void the_kernel_of_tiles_is_right_on_emulated_tiles(void **state)
{
    (void)state;
#ifdef LV_TEST_AMX_EMULATED
    check_products(multiply_emulated);
#else
    skip();
#endif
}

/* One odd element of A, times columns of ones, of zeros and of infinities. */
static void check_special(multiply *kernel, float special, float by_one, float by_zero)
{
    enum { M = 5, N = 40, K = 33 };
    float a[M][K] = {{0}}, b[K][N];
    for (int k = 0; k < K; k++) {
        for (int n = 0; n < N; n++) {
            b[k][n] = (float)(n % 2);
        }
    }
    a[3][17] = special;
    uint16_t *A = guarded(M * 64, sizeof *A), *B = guarded(lv_bf16_b_count(K, N), sizeof *B);
    lv_real *C = guarded(M * N, sizeof *C);
    lv_bf16_pack_a(A, &(lv_matrix){a, LV_F32, K, false}, 0, M, 0, K);
    lv_bf16_pack_b(B, &(lv_matrix){b, LV_F32, N, false}, 0, K, 0, N);
    kernel(C, N, false, A, 64, B, M, N, K);
    for (int i = 0; i < M * N; i++) {
        float want = i / N != 3 ? 0 : i % 2 ? by_one : by_zero;
        assert_true(isnan(want) ? isnan(C[i]) : C[i] == want);
    }
    release(A, M * 64, sizeof *A);
    release(B, lv_bf16_b_count(K, N), sizeof *B);
    release(C, M * N, sizeof *C);
}

static void check_specials(multiply *kernel)
{
    check_special(kernel, NAN, NAN, NAN);
    check_special(kernel, INFINITY, INFINITY, NAN);
    check_special(kernel, -INFINITY, -INFINITY, NAN);
    check_special(kernel, -2.5F, -2.5F, 0);
    check_special(kernel, FLT_MAX, INFINITY, NAN); /* rounds to infinity */
}

static void nan_and_infinity_pass_through(void **state)
{
    (void)state;
    for (int level = 0; level <= (int)lv_cpu_found(); level++) {
        lv_cpu_limit((lv_cpu_level)level);
        check_specials(lv_bf16_multiply);
    }
    lv_cpu_limit(LV_CPU_AMX);
#ifdef LV_TEST_AMX_EMULATED
    check_specials(multiply_emulated);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_forms_hold_the_rounded_elements_and_zeros),
        cmocka_unit_test(products_of_packed_blocks_agree_with_sums_in_double),
        cmocka_unit_test(the_kernel_of_tiles_is_right_on_emulated_tiles),
        cmocka_unit_test(nan_and_infinity_pass_through),
    };
    return cmocka_run_group_tests_name("bf16", tests, NULL, NULL);
}
