/* SPDX-License-Identifier: Apache-2.0
 *
 * Packing: 16 lines (rows of A, columns of B) by 32 of depth at a time, as 16 x 16 pairs of depth.
 * How a block lies, [line][pair] or [pair][line], and how it is wanted are the only questions.
 */
#include "autograd/kernels/bf16.h"
#include "autograd/kernels/vector/chunk.h"
#include "autograd/kernels/vector/level.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

enum { LINES = LV_BF16_COLUMNS, DEPTH = LV_BF16_DEPTH, PAIRS = DEPTH / 2 };

/* A block as it lies: full, bf16, at any alignment. */
typedef struct {
    const char *at;
    int64_t bytes; /* between its rows */
} block;

/* A register holds four pairs in each of its lanes of 16 bytes; shuffles stay within lanes. */
#if defined(__AVX512F__)

typedef __m512i vec;

#define LOW_32(a, b) _mm512_unpacklo_epi32(a, b)
#define HIGH_32(a, b) _mm512_unpackhi_epi32(a, b)
#define LOW_64(a, b) _mm512_unpacklo_epi64(a, b)
#define HIGH_64(a, b) _mm512_unpackhi_epi64(a, b)

/* 16 bytes of each fourth row, one in each lane: half of the shuffles are loads. */
static inline vec gather_lanes(const char *at, int64_t bytes)
{
    const __m128i *row[4];
    for (int l = 0; l < 4; l++) {
        row[l] = (const __m128i *)(const void *)(at + 4 * l * bytes);
    }
    vec x = _mm512_castsi128_si512(_mm_loadu_si128(row[0]));
    x = _mm512_inserti32x4(x, _mm_loadu_si128(row[1]), 1);
    x = _mm512_inserti32x4(x, _mm_loadu_si128(row[2]), 2);
    return _mm512_inserti32x4(x, _mm_loadu_si128(row[3]), 3);
}

#elif defined(__AVX2__)

typedef __m256i vec;

#define LOW_32(a, b) _mm256_unpacklo_epi32(a, b)
#define HIGH_32(a, b) _mm256_unpackhi_epi32(a, b)
#define LOW_64(a, b) _mm256_unpacklo_epi64(a, b)
#define HIGH_64(a, b) _mm256_unpackhi_epi64(a, b)

static inline vec gather_lanes(const char *at, int64_t bytes)
{
    const __m128i *low = (const __m128i *)(const void *)at;
    const __m128i *high = (const __m128i *)(const void *)(at + 4 * bytes);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(low)),
                                   _mm_loadu_si128(high), 1);
}

#else

typedef uint32_t vec __attribute__((vector_size(16)));

#define LOW_32(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HIGH_32(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define LOW_64(a, b) __builtin_shufflevector(a, b, 0, 1, 4, 5)
#define HIGH_64(a, b) __builtin_shufflevector(a, b, 2, 3, 6, 7)

static inline vec gather_lanes(const char *at, int64_t bytes)
{
    (void)bytes;
    vec x;
    memcpy(&x, at, sizeof x);
    return x;
}

#endif

static inline void store(char *at, vec x)
{
    memcpy(at, &x, sizeof x);
}

/* to[j][i] = from[i][j], 16 x 16 pairs */
static void transpose(char *to, int64_t to_bytes, block from)
{
    enum { ROWS = sizeof(vec) / sizeof(uint32_t) };
    for (int64_t i = 0; i < LINES; i += ROWS) {
        for (int64_t j = 0; j < LINES; j += 4) {
            vec r[4];
            for (int64_t q = 0; q < 4; q++) {
                r[q] = gather_lanes(from.at + (i + q) * from.bytes + 4 * j, from.bytes);
            }
            vec a = LOW_32(r[0], r[1]), b = HIGH_32(r[0], r[1]);
            vec x = LOW_32(r[2], r[3]), y = HIGH_32(r[2], r[3]);
            char *out = to + j * to_bytes + 4 * i;
            store(out, LOW_64(a, x));
            store(out + to_bytes, HIGH_64(a, x));
            store(out + 2 * to_bytes, LOW_64(b, y));
            store(out + 3 * to_bytes, HIGH_64(b, y));
        }
    }
}

/* One line of a panel, 16 pairs, of two rows. */
#ifdef __AVX512F__

static inline void interleave_rows(char *to, const char *even, const char *odd)
{
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)even);
    __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)odd);
    __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    _mm512_storeu_si512(to, _mm512_permutexvar_epi16(order, both));
}

#else

static inline void interleave_rows(char *to, const char *even, const char *odd)
{
    uint16_t low[LINES], high[LINES];
    uint32_t pairs[LINES];
    memcpy(low, even, sizeof low);
    memcpy(high, odd, sizeof high);
    for (int64_t i = 0; i < LINES; i++) {
        pairs[i] = low[i] | (uint32_t)high[i] << 16;
    }
    memcpy(to, pairs, sizeof pairs);
}

#endif

/* to[j] = the pairs of from's rows 2j, 2j+1 */
static void interleave(char *to, block from)
{
    for (int64_t j = 0; j < PAIRS; j++) {
        const char *row = from.at + 2 * j * from.bytes;
        interleave_rows(to + j * LINE_BYTES, row, row + from.bytes);
    }
}

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

/* Rows that lie as they are wanted. */
static void copy_lines(char *to, int64_t to_bytes, const source *x)
{
    int64_t bytes = x->depth * (int64_t)sizeof(uint16_t);
    int64_t padded = lv_bf16_depth(x->depth) * (int64_t)sizeof(uint16_t);
    enum { AHEAD_ROWS = 4 };
    for (int64_t m = 0; m < x->lines; m++) {
        for (int64_t i = 0; m + AHEAD_ROWS < x->lines && i < bytes; i += LINE_BYTES) {
            __builtin_prefetch(x->at + (m + AHEAD_ROWS) * x->row_bytes + i);
        }
        memcpy(to + m * to_bytes, x->at + m * x->row_bytes, (size_t)bytes);
        memset(to + m * to_bytes + bytes, 0, (size_t)(padded - bytes));
    }
}

/* Blocks are taken along the rows of memory: far strides are for the packed side, in the cache. */
void LV_LEVEL(bf16_pack_rows)(uint16_t *dst, int64_t lda, const lv_matrix *A, int64_t M, int64_t K)
{
    const source x = source_of(A, !A->transposed, M, K);
    int64_t bytes = lda * (int64_t)sizeof *dst;
    if (x.along && x.dtype == LV_BF16) {
        copy_lines((char *)dst, bytes, &x);
        return;
    }
    for (int64_t k = 0; k < K; k += DEPTH) {
        for (int64_t m = 0; m < M; m += LINES) {
            prefetch(&x, m, k + DEPTH);
            pack_rows((char *)(dst + k) + m * bytes, bytes, &x, m, k);
        }
    }
}

/* DEPTH rows from k on of N columns: whole rows of memory, for a line of the cache has two panels'
 * part of one. */
static void interleave_panels(uint16_t *to, int64_t panel, const source *x, int64_t k, int64_t N)
{
    for (int64_t j = 0; j < PAIRS; j++) {
        const char *row = address(x, 0, k + 2 * j);
        for (int64_t n = 0; n < N; n += LINES) {
            const char *at = row + n * (int64_t)sizeof *to;
            interleave_rows((char *)(to + n / LINES * panel + j * 2 * LINES), at,
                            at + x->row_bytes);
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
    int64_t whole =
        x.dtype == LV_BF16 ? N / LINES * LINES : 0; /* columns that are interleaved in place */
    for (int64_t k = 0; k < K; k += DEPTH) {
        int64_t n = 0;
        if (K - k >= DEPTH) {
            interleave_panels(dst + k * LINES, panel, &x, k, whole);
            n = whole;
        }
        for (; n < N; n += LINES) {
            interleave((char *)(dst + n / LINES * panel + k * LINES), find(buf, &x, n, k));
        }
    }
}
