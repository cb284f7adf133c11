/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix products at the shapes of LLaMA models: each checked, then timed in turn with torch's
 * linear, with oneDNN and with f32 by OpenBLAS, beside the kernel's own rate and the memory's.
 * Prints a Markdown table.
 *
 * T rows, W is (N, K): forward y (T,N) = x W^T, input dx (T,K) = dy W, weight dW (N,K) += dy^T x.
 */
#include "autograd/error.h"
#include "autograd/kernels/convert.h"
#include "autograd/kernels/gemm.h"
#include "tests/bench/matmul/peer.h"
#include "tests/bench/matmul/torch_peer.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_REPEATS = 101, MAX_COPIES = 64 };

static const double CACHE_BYTES = 64e6; /* operands that are rotated: more than the L3 */
static const double SLICE_S = 0.03;

static const struct {
    const char *model, *weight;
    int64_t N, K;
} weights[] = {
    {"110M", "q, k, v, o", 768, 768}, {"110M", "gate, up", 2048, 768},
    {"110M", "down", 768, 2048},      {"110M", "lm_head", 32000, 768},
    {"1.1B", "q, o", 2048, 2048},     {"1.1B", "k, v", 256, 2048},
    {"1.1B", "gate, up", 5632, 2048}, {"1.1B", "down", 2048, 5632},
    {"7B", "q, k, v, o", 4096, 4096}, {"7B", "gate, up", 11008, 4096},
    {"7B", "down", 4096, 11008},
};
static const int64_t all_rows[] = {64, 512, 2048};
typedef enum { FORWARD, INPUT, WEIGHT, N_DIRECTIONS } direction;
static const char *const direction_names[N_DIRECTIONS] = {"forward", "input", "weight"};

typedef enum { OURS, TORCH, PEER, PEER_OWN_WEIGHTS, F32, N_CONTENDERS } contender;

/* Operands of one product, copies of B and C enough that none is found in a cache. */
typedef struct {
    lv_gemm_args bf16, f32;
    int n_copies, next;
    void *B[MAX_COPIES], *B_own[MAX_COPIES], *B_f32[MAX_COPIES], *C[MAX_COPIES];
    peer *peers[N_CONTENDERS];
    bool torch;
} product;

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, compare);
    return (x[(n - 1) / 2] + x[n / 2]) / 2;
}

static void *memory(double bytes)
{
    void *x = aligned_alloc(64, ((size_t)bytes + 63) / 64 * 64);
    LV_CHECK(x, "no memory for %.0f bytes", bytes);
    memset(x, 0, (size_t)bytes);
    return x;
}

/* Values in [-1, 1) without a pattern that a sum would cancel. */
static void fill(uint16_t *x, int64_t n, uint64_t seed)
{
    for (int64_t i = 0; i < n; i++) {
        uint64_t mixed = ((uint64_t)i + (seed << 40)) * 0x9E3779B97F4A7C15U;
        mixed = (mixed ^ mixed >> 29) * 0xBF58476D1CE4E5B9U;
        lv_real value = (lv_real)((double)(mixed >> 40) / (double)(1 << 23) - 1);
        lv_convert_from_real(x + i, LV_BF16, &value, 1);
    }
}

static double bandwidth(void)
{
    enum { COUNT = 1 << 24, REPEATS = 7 };
    double *x = memory((double)COUNT * sizeof *x);
    double rates[REPEATS];
    for (int i = 0; i < REPEATS; i++) {
        double start = omp_get_wtime();
#pragma omp parallel
        {
            double sums[8] = {0};
#pragma omp for schedule(static)
            for (int64_t k = 0; k < COUNT; k += 8) {
                for (int l = 0; l < 8; l++) {
                    sums[l] += x[k + l];
                }
            }
            x[omp_get_thread_num()] =
                sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
        }
        rates[i] = COUNT * sizeof *x / (omp_get_wtime() - start);
    }
    free(x);
    return median(rates, REPEATS);
}

static double bytes_of(const lv_gemm_args *x)
{
    double c = (double)x->M * (double)x->N * (double)lv_dtype_bytes(x->C_dtype);
    return 2.0 * (double)x->M * (double)x->K + 2.0 * (double)x->K * (double)x->N +
           (x->add ? 2 * c : c);
}

static double flop_of(const lv_gemm_args *x)
{
    return 2.0 * (double)x->M * (double)x->N * (double)x->K;
}

static lv_gemm_args args_of(direction d, int64_t T, int64_t N, int64_t K)
{
    switch (d) {
    case FORWARD:
        return (lv_gemm_args){.M = T,
                              .N = N,
                              .K = K,
                              .A = {NULL, LV_BF16, K, false},
                              .B = {NULL, LV_BF16, K, true},
                              .C_dtype = LV_BF16,
                              .ldc = N};
    case INPUT:
        return (lv_gemm_args){.M = T,
                              .N = K,
                              .K = N,
                              .A = {NULL, LV_BF16, N, false},
                              .B = {NULL, LV_BF16, K, false},
                              .C_dtype = LV_BF16,
                              .ldc = K};
    default:
        return (lv_gemm_args){.M = N,
                              .N = K,
                              .K = T,
                              .A = {NULL, LV_BF16, N, true},
                              .B = {NULL, LV_BF16, K, false},
                              .C_dtype = LV_F32,
                              .ldc = K,
                              .add = true};
    }
}

static void create(product *p, direction d, int64_t T, int64_t N, int64_t K)
{
    memset(p, 0, sizeof *p);
    p->bf16 = args_of(d, T, N, K);
    int64_t a = p->bf16.M * p->bf16.K, b = p->bf16.K * p->bf16.N, c = p->bf16.M * p->bf16.N;
    double copies = ceil(CACHE_BYTES / bytes_of(&p->bf16));
    p->n_copies = copies < MAX_COPIES ? (int)copies : MAX_COPIES;
    uint16_t *A = memory(2.0 * (double)a);
    fill(A, a, 1);
    p->bf16.A.data = A;
    p->f32 = p->bf16;
    float *A_f32 = memory(4.0 * (double)a);
    lv_convert_to_real(A_f32, A, LV_BF16, a);
    p->f32.A.data = A_f32;
    p->f32.A.dtype = p->f32.B.dtype = LV_F32;
    p->f32.C_dtype = LV_F32;
    p->peers[PEER] = peer_create(&p->bf16, false);
    p->peers[PEER_OWN_WEIGHTS] = d == WEIGHT ? NULL : peer_create(&p->bf16, true);
    for (int i = 0; i < p->n_copies; i++) {
        p->B[i] = memory(2.0 * (double)b);
        fill(p->B[i], b, 7 + (uint64_t)i);
        p->B_f32[i] = memory(4.0 * (double)b);
        lv_convert_to_real(p->B_f32[i], p->B[i], LV_BF16, b);
        p->C[i] = memory(4.0 * (double)c);
        if (p->peers[PEER_OWN_WEIGHTS]) {
            p->B_own[i] = peer_prepare(p->peers[PEER_OWN_WEIGHTS], p->B[i]);
        }
    }
}

static void destroy(product *p)
{
    for (int i = 0; i < p->n_copies; i++) {
        free(p->B[i]);
        free(p->B_own[i]);
        free(p->B_f32[i]);
        free(p->C[i]);
    }
    free((void *)p->bf16.A.data);
    free((void *)p->f32.A.data);
    peer_destroy(&p->peers[PEER]);
    peer_destroy(&p->peers[PEER_OWN_WEIGHTS]);
}

static bool takes_part(const product *p, contender who)
{
    return who == OURS || who == F32 || (who == TORCH ? p->torch : p->peers[who] != NULL);
}

/* Product i of a contender. */
static void multiply(product *p, contender who, int i)
{
    if (who == PEER || who == PEER_OWN_WEIGHTS) {
        peer_multiply(p->peers[who], p->C[i], p->bf16.A.data, who == PEER ? p->B[i] : p->B_own[i]);
        return;
    }
    lv_gemm_args x = who == F32 ? p->f32 : p->bf16;
    x.B.data = who == F32 ? p->B_f32[i] : p->B[i];
    x.C = p->C[i];
    lv_gemm(&x);
}

static double operand(const lv_matrix *x, const uint16_t *data, int64_t row, int64_t column)
{
    return (double)lv_bf16_to_float(x->transposed ? data[column * x->ld + row]
                                                  : data[row * x->ld + column]);
}

/* Some elements of the first product against sums in double. */
static void check(product *p, contender who)
{
    const lv_gemm_args *x = &p->bf16;
    lv_dtype dtype = who == F32 ? LV_F32 : x->C_dtype;
    memset(p->C[0], 0, (size_t)(x->M * x->N) * 4);
    multiply(p, who, 0);
    for (int64_t i = 0; i < 300; i++) {
        int64_t m = i * 7919 % x->M, n = i * 104729 % x->N;
        double sum = 0, size = 0;
        for (int64_t k = 0; k < x->K; k++) {
            double term = operand(&x->A, x->A.data, m, k) * operand(&x->B, p->B[0], k, n);
            sum += term;
            size += fabs(term);
        }
        lv_real got;
        lv_convert_to_real(&got, lv_element(p->C[0], dtype, m * x->N + n), dtype, 1);
        double allowed = 1e-6 * size + (dtype == LV_BF16 ? 0x1p-8 * fabs(sum) : 0);
        LV_CHECK(fabs((double)got - sum) <= allowed, "contender %d: C[%lld,%lld] is %g, not %g",
                 (int)who, (long long)m, (long long)n, (double)got, sum);
    }
}

/* FLOP/s over at least a slice of time. */
static double time_slice(product *p, contender who)
{
    if (who == TORCH) {
        return torch_rate(SLICE_S);
    }
    int n = 0;
    double start = omp_get_wtime(), took;
    do {
        multiply(p, who, p->next++ % p->n_copies);
        n++;
        took = omp_get_wtime() - start;
    } while (took < SLICE_S);
    return flop_of(&p->bf16) * n / took;
}

typedef struct {
    double rate[N_CONTENDERS], share, to_torch, to_peer;
} result;

static result measure(product *p, int n_repeats, double bytes_per_s)
{
    static double rates[N_CONTENDERS][MAX_REPEATS], shares[MAX_REPEATS];
    static double to_torch[MAX_REPEATS], to_peer[MAX_REPEATS];
    result r = {0};
    for (int who = 0; who < N_CONTENDERS; who++) {
        if (who != TORCH && takes_part(p, (contender)who)) {
            check(p, (contender)who);
        }
    }
    for (int i = 0; i < n_repeats; i++) {
        for (int who = 0; who < N_CONTENDERS; who++) {
            if (takes_part(p, (contender)who)) {
                rates[who][i] = time_slice(p, (contender)who);
            }
        }
        double limit = fmin(lv_gemm_rate(), flop_of(&p->bf16) / bytes_of(&p->bf16) * bytes_per_s);
        shares[i] = rates[OURS][i] / limit;
        to_torch[i] = p->torch ? rates[OURS][i] / rates[TORCH][i] : NAN;
        to_peer[i] = p->peers[PEER] ? rates[OURS][i] / rates[PEER][i] : NAN;
    }
    for (int who = 0; who < N_CONTENDERS; who++) {
        r.rate[who] = takes_part(p, (contender)who) ? median(rates[who], n_repeats) : NAN;
    }
    r.share = median(shares, n_repeats);
    r.to_torch = median(to_torch, n_repeats);
    r.to_peer = median(to_peer, n_repeats);
    return r;
}

typedef struct {
    int n_repeats, n_words;
    char **words;
    const char *torch; /* its version, or NULL */
} options;

/* Words name what is wanted of each kind; a kind without a word is wanted whole. */
static bool is_wanted(const options *o, const char *name, const char *const *kind, int n_kind)
{
    bool restricted = false;
    for (int w = 0; w < o->n_words; w++) {
        for (int i = 0; i < n_kind; i++) {
            restricted = restricted || strcmp(o->words[w], kind[i]) == 0;
        }
        if (strcmp(o->words[w], name) == 0) {
            return true;
        }
    }
    return !restricted;
}

static void bench(const options *o, size_t w, int64_t T, direction d, double bytes_per_s)
{
    static const char *const models[] = {"110M", "1.1B", "7B"};
    static const char *const rows[] = {"64", "512", "2048"};
    char T_text[16];
    snprintf(T_text, sizeof T_text, "%lld", (long long)T);
    if (!is_wanted(o, weights[w].model, models, 3) || !is_wanted(o, T_text, rows, 3) ||
        !is_wanted(o, direction_names[d], direction_names, N_DIRECTIONS)) {
        return;
    }
    product p;
    create(&p, d, T, weights[w].N, weights[w].K);
    p.torch = o->torch != NULL;
    if (p.torch) {
        torch_take(direction_names[d], T, weights[w].N, weights[w].K);
    }
    result r = measure(&p, o->n_repeats, bytes_per_s);
    printf("| %s | %s | %lld | %s | %.0f | %.0f | %.0f | %.0f | %.0f | %.2f | %.2f | %.0f%% |\n",
           weights[w].model, weights[w].weight, (long long)T, direction_names[d],
           r.rate[OURS] / 1e9, r.rate[TORCH] / 1e9, r.rate[PEER] / 1e9,
           r.rate[PEER_OWN_WEIGHTS] / 1e9, r.rate[F32] / 1e9, r.to_torch, r.to_peer, 100 * r.share);
    fflush(stdout);
    destroy(&p);
}

int main(int argc, char **argv)
{
    options o = {.n_repeats = 5, .n_words = argc - 1, .words = argv + 1};
    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        puts("matmul [--repeats N] [--torch PYTHON] [110M|1.1B|7B]... [64|512|2048]... "
             "[forward|input|weight]...");
        return 0;
    }
    for (; o.n_words >= 2 && strncmp(o.words[0], "--", 2) == 0; o.n_words -= 2, o.words += 2) {
        if (strcmp(o.words[0], "--torch") == 0) {
            o.torch = torch_start(o.words[1], omp_get_max_threads());
            continue;
        }
        o.n_repeats = strcmp(o.words[0], "--repeats") == 0 ? atoi(o.words[1]) : 0;
        LV_CHECK(o.n_repeats >= 1 && o.n_repeats <= MAX_REPEATS, "%s %s", o.words[0], o.words[1]);
    }
    const char *line = lv_gemm_start();
    double bytes_per_s = bandwidth();
    const char *version = peer_version();
    printf("%d threads; %s; %s; %s; memory %.1f GB/s; kernel %.0f GFLOP/s\n\n",
           omp_get_max_threads(), line, o.torch ? o.torch : "no torch",
           version ? version : "no oneDNN", bytes_per_s / 1e9, lv_gemm_rate() / 1e9);
    printf("GFLOP/s, medians of %d in turn; limit: the kernel's rate in turn, or the memory's.\n\n",
           o.n_repeats);
    puts("| model | weight | rows | product | llava | torch | oneDNN | oneDNN, own layout | "
         "OpenBLAS f32 | llava / torch | llava / oneDNN | of the limit |\n"
         "|---|---|---|---|---|---|---|---|---|---|---|---|");
    for (size_t w = 0; w < sizeof weights / sizeof *weights; w++) {
        for (size_t t = 0; t < sizeof all_rows / sizeof *all_rows; t++) {
            for (int d = 0; d < N_DIRECTIONS; d++) {
                bench(&o, w, all_rows[t], (direction)d, bytes_per_s);
            }
        }
    }
    return 0;
}
