/* SPDX-License-Identifier: Apache-2.0
 *
 * Packing: 16 lines (rows of A, columns of B) by 32 of depth at a time, as 16 x 16 pairs of depth.
 * How a block lies, [line][pair] or [pair][line], and how it is wanted are the only questions.
 */
#include "autograd/kernels/bf16.h"
#include "autograd/kernels/vector/chunk.h"
#include "autograd/kernels/vector/level.h"

#ifdef __AVX512F__
#include <immintrin.h>
#endif

enum { LINES = LV_BF16_COLUMNS, DEPTH = LV_BF16_DEPTH, PAIRS = DEPTH / 2 };

/* A block as it lies: full, bf16, at any alignment. */
typedef struct {
    const char *at;
    int64_t bytes; /* between its rows */
} block;

#ifdef __AVX512F__

/* Four rows' 16 bytes, one in each lane. */
static inline __m512i gather_lanes(const char *at, int64_t bytes)
{
    const __m128i *row[4];
    for (int l = 0; l < 4; l++) {
        row[l] = (const __m128i *)(const void *)(at + 4 * l * bytes);
    }
    __m512i x = _mm512_castsi128_si512(_mm_loadu_si128(row[0]));
    x = _mm512_inserti32x4(x, _mm_loadu_si128(row[1]), 1);
    x = _mm512_inserti32x4(x, _mm_loadu_si128(row[2]), 2);
    return _mm512_inserti32x4(x, _mm_loadu_si128(row[3]), 3);
}

/* to[j][i] = from[i][j], 16 x 16 pairs; from memory in lanes, so that half of the shuffles are
 * loads. */
static void transpose(char *to, int64_t to_bytes, block from)
{
    for (int64_t c = 0; c < 4; c++) {
        __m512i r[4];
        for (int64_t q = 0; q < 4; q++) {
            r[q] = gather_lanes(from.at + q * from.bytes + 16 * c, from.bytes);
        }
        __m512i a = _mm512_unpacklo_epi32(r[0], r[1]);
        __m512i b = _mm512_unpackhi_epi32(r[0], r[1]);
        __m512i x = _mm512_unpacklo_epi32(r[2], r[3]);
        __m512i y = _mm512_unpackhi_epi32(r[2], r[3]);
        char *out = to + 4 * c * to_bytes;
        _mm512_storeu_si512(out, _mm512_unpacklo_epi64(a, x));
        _mm512_storeu_si512(out + to_bytes, _mm512_unpackhi_epi64(a, x));
        _mm512_storeu_si512(out + 2 * to_bytes, _mm512_unpacklo_epi64(b, y));
        _mm512_storeu_si512(out + 3 * to_bytes, _mm512_unpackhi_epi64(b, y));
    }
}

#else

typedef uint32_t quad __attribute__((vector_size(16)));

static inline quad load_quad(const char *at)
{
    quad x;
    memcpy(&x, at, sizeof x);
    return x;
}

static inline void store_quad(char *at, quad x)
{
    memcpy(at, &x, sizeof x);
}

/* to[j][i] = from[i][j], 16 x 16 pairs */
static void transpose(char *to, int64_t to_bytes, block from)
{
    for (int64_t i = 0; i < LINES; i += 4) {
        for (int64_t j = 0; j < LINES; j += 4) {
            const char *in = from.at + i * from.bytes + 4 * j;
            char *out = to + j * to_bytes + 4 * i;
            quad r0 = load_quad(in), r1 = load_quad(in + from.bytes);
            quad r2 = load_quad(in + 2 * from.bytes), r3 = load_quad(in + 3 * from.bytes);
            quad a = __builtin_shufflevector(r0, r1, 0, 4, 1, 5);
            quad b = __builtin_shufflevector(r0, r1, 2, 6, 3, 7);
            quad x = __builtin_shufflevector(r2, r3, 0, 4, 1, 5);
            quad y = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
            store_quad(out, __builtin_shufflevector(a, x, 0, 1, 4, 5));
            store_quad(out + to_bytes, __builtin_shufflevector(a, x, 2, 3, 6, 7));
            store_quad(out + 2 * to_bytes, __builtin_shufflevector(b, y, 0, 1, 4, 5));
            store_quad(out + 3 * to_bytes, __builtin_shufflevector(b, y, 2, 3, 6, 7));
        }
    }
}

#endif

/* to[j] = the pairs of from's rows 2j, 2j+1 */
#ifdef __AVX512F__

static void interleave(char *to, block from)
{
    enum { HALF = LINES * sizeof(uint16_t) };
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    for (int64_t j = 0; j < PAIRS; j++) {
        const char *row = from.at + 2 * j * from.bytes;
        __m256i even = _mm256_loadu_si256((const __m256i *)(const void *)row);
        __m256i odd = _mm256_loadu_si256((const __m256i *)(const void *)(row + from.bytes));
        __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(even), odd, 1);
        _mm512_storeu_si512(to + j * 2 * HALF, _mm512_permutexvar_epi16(order, both));
    }
}

#else

static void interleave(char *to, block from)
{
    for (int64_t j = 0; j < PAIRS; j++) {
        uint16_t even[LINES], odd[LINES];
        uint32_t pairs[LINES];
        memcpy(even, from.at + 2 * j * from.bytes, sizeof even);
        memcpy(odd, from.at + (2 * j + 1) * from.bytes, sizeof odd);
        for (int64_t i = 0; i < LINES; i++) {
            pairs[i] = even[i] | (uint32_t)odd[i] << 16;
        }
        memcpy(to + j * (int64_t)sizeof pairs, pairs, sizeof pairs);
    }
}

#endif

/* Rows of an edge, or of floats, into a full block of bf16. */
static block stage(uint16_t buf[LINES * DEPTH], int64_t width, const char *at, lv_dtype dtype,
                   int64_t ld, int64_t rows, int64_t columns)
{
    memset(buf, 0, LINES * DEPTH * sizeof *buf);
    for (int64_t r = 0; r < rows; r++) {
        uint16_t *to = buf + r * width;
        if (dtype == LV_BF16) {
            memcpy(to, at + r * ld * (int64_t)sizeof *to, (size_t)columns * sizeof *to);
            continue;
        }
        const lv_real *from = (const lv_real *)(const void *)at + r * ld;
        for (int64_t c = 0; c < columns; c++) {
            to[c] = chunk_narrow((float)from[c]);
        }
    }
    return (block){(const char *)buf, width * (int64_t)sizeof *buf};
}

static void copy_rows(char *to, int64_t to_bytes, block from, int64_t rows)
{
    for (int64_t r = 0; r < rows; r++) {
        memcpy(to + r * to_bytes, from.at + r * from.bytes, DEPTH * sizeof(uint16_t));
    }
}

/* A part of an operand: lines (rows of A, columns of B) by depth. along: a line's depth is
 * contiguous. */
typedef struct {
    const char *at;
    lv_dtype dtype;
    int64_t ld, row_bytes, lines, depth;
    bool along;
} source;

static const char *address(const source *x, int64_t line, int64_t k)
{
    return lv_element_const(x->at, x->dtype, x->along ? line * x->ld + k : k * x->ld + line);
}

static source source_of(const lv_matrix *x, bool along, int64_t lines, int64_t depth)
{
    return (source){x->data, x->dtype, x->ld, x->ld * (int64_t)lv_dtype_bytes(x->dtype),
                    lines,   depth,    along};
}

/* Rows of the block at (line, k), if there is one: they come from far away, and more of them at a
 * time than the hardware foresees. A line of the cache holds two blocks' part of a row across. */
static inline void prefetch(const source *x, int64_t line, int64_t k)
{
    if (line >= x->lines || k >= x->depth || (!x->along && line % (2 * LINES) != 0)) {
        return;
    }
    int64_t left = x->along ? x->lines - line : x->depth - k;
    int64_t rows = x->along ? LINES : DEPTH;
    const char *at = address(x, line, k);
    for (int64_t r = 0; r < (rows < left ? rows : left); r++) {
        __builtin_prefetch(at + r * x->row_bytes);
    }
}

/* The block at (line, k): in place if it can be read there. */
static block find(uint16_t buf[LINES * DEPTH], const source *x, int64_t line, int64_t k)
{
    int64_t lines = x->lines - line < LINES ? x->lines - line : LINES;
    int64_t depth = x->depth - k < DEPTH ? x->depth - k : DEPTH;
    const char *at = address(x, line, k);
    if (lines == LINES && depth == DEPTH && x->dtype == LV_BF16) {
        return (block){at, x->ld * (int64_t)sizeof *buf};
    }
    return x->along ? stage(buf, DEPTH, at, x->dtype, x->ld, lines, depth)
                    : stage(buf, LINES, at, x->dtype, x->ld, depth, lines);
}

/* 16 rows of A, or the last ones. */
static void pack_rows(char *to, int64_t to_bytes, const source *x, int64_t m, int64_t k)
{
    uint16_t buf[LINES * DEPTH], pairs[LINES * DEPTH];
    enum { ROW_BYTES = DEPTH * sizeof *buf };
    int64_t rows = x->lines - m < LINES ? x->lines - m : LINES;
    block from = find(buf, x, m, k);
    if (!x->along) {
        interleave((char *)pairs, from);
        from = (block){(const char *)pairs, ROW_BYTES};
        if (rows == LINES) {
            transpose(to, to_bytes, from);
            return;
        }
        transpose((char *)buf, ROW_BYTES, from);
        from = (block){(const char *)buf, ROW_BYTES};
    }
    copy_rows(to, to_bytes, from, rows);
}

/* Blocks are taken along the rows of memory: far strides are for the packed side, in the cache. */
void LV_LEVEL(bf16_pack_rows)(uint16_t *dst, const lv_matrix *A, int64_t M, int64_t K)
{
    const source x = source_of(A, !A->transposed, M, K);
    int64_t bytes = lv_bf16_depth(K) * (int64_t)sizeof *dst;
    if (x.along) {
        for (int64_t m = 0; m < M; m += LINES) {
            for (int64_t k = 0; k < K; k += DEPTH) {
                prefetch(&x, m + LINES, k);
                pack_rows((char *)(dst + k) + m * bytes, bytes, &x, m, k);
            }
        }
        return;
    }
    for (int64_t k = 0; k < K; k += DEPTH) {
        for (int64_t m = 0; m < M; m += LINES) {
            prefetch(&x, m, k + DEPTH);
            pack_rows((char *)(dst + k) + m * bytes, bytes, &x, m, k);
        }
    }
}

void LV_LEVEL(bf16_pack_panels)(uint16_t *dst, const lv_matrix *B, int64_t K, int64_t N)
{
    const source x = source_of(B, B->transposed, N, K);
    int64_t panel = LINES * lv_bf16_depth(K);
    uint16_t buf[LINES * DEPTH];
    if (x.along) {
        for (int64_t n = 0; n < N; n += LINES) {
            for (int64_t k = 0; k < K; k += DEPTH) {
                prefetch(&x, n + LINES, k);
                transpose((char *)(dst + n / LINES * panel + k * LINES),
                          LINES * (int64_t)sizeof(uint32_t), find(buf, &x, n, k));
            }
        }
        return;
    }
    for (int64_t k = 0; k < K; k += DEPTH) {
        for (int64_t n = 0; n < N; n += LINES) {
            prefetch(&x, n, k + DEPTH);
            interleave((char *)(dst + n / LINES * panel + k * LINES), find(buf, &x, n, k));
        }
    }
}
