/* SPDX-License-Identifier: Apache-2.0
 *
 * Sums are taken modulo 2^32, as the vector instructions do: they can leave the range of int32_t
 * only where weights are so small (a canvas of millions of pixels) that rounding doubles them.
 */
#include "data/image/kernels.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static uint8_t clip8(uint32_t sum)
{
    int32_t level = (int32_t)sum >> LV_IMAGE_WEIGHT_BITS;
    return (uint8_t)(level < 0 ? 0 : level > 255 ? 255 : level);
}

static void narrow_row_portable(uint8_t *out, const uint8_t *row, const lv_image_columns *columns)
{
    for (size_t i = 0; i < columns->n; i++) {
        const int32_t *w = columns->weights + i * columns->max_taps;
        const int32_t *start = columns->start + 4 * i;
        const uint8_t *pixel = row + 3 * (size_t)columns->first[i];
        uint32_t red = (uint32_t)start[0], green = (uint32_t)start[1], blue = (uint32_t)start[2];
        for (int32_t t = 0; t < columns->n_taps[i]; t++, pixel += 3) {
            red += (uint32_t)w[t] * pixel[0];
            green += (uint32_t)w[t] * pixel[1];
            blue += (uint32_t)w[t] * pixel[2];
        }
        out[3 * i] = clip8(red);
        out[3 * i + 1] = clip8(green);
        out[3 * i + 2] = clip8(blue);
    }
}

static const uint32_t HALF = 1U << (LV_IMAGE_WEIGHT_BITS - 1);

/* Columns from..n; what the vector versions leave over too. */
static void blend_rest(size_t from, uint8_t *out, const uint8_t *rows, const int32_t *weights,
                       size_t n_taps, const uint8_t *pad, int32_t pad_weight, size_t n)
{
    enum { STRIP = 64 };
    for (size_t x = from; x < n; x += STRIP) {
        uint32_t sums[STRIP];
        size_t n_strip = n - x < STRIP ? n - x : STRIP;
        for (size_t k = 0; k < n_strip; k++) {
            sums[k] = HALF + (uint32_t)pad_weight * pad[x + k];
        }
        for (size_t t = 0; t < n_taps; t++) {
            for (size_t k = 0; k < n_strip; k++) {
                sums[k] += (uint32_t)weights[t] * rows[t * n + x + k];
            }
        }
        for (size_t k = 0; k < n_strip; k++) {
            out[x + k] = clip8(sums[k]);
        }
    }
}

static void blend_rows_portable(uint8_t *out, const uint8_t *rows, const int32_t *weights,
                                size_t n_taps, const uint8_t *pad, int32_t pad_weight, size_t n)
{
    blend_rest(0, out, rows, weights, n_taps, pad, pad_weight, n);
}

#if defined(__x86_64__)

#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))

/* Three sums to three bytes; the fourth is spoilt. */
AVX2 static void store_pixel(uint8_t *out, __m128i sums)
{
    __m128i level = _mm_srai_epi32(sums, LV_IMAGE_WEIGHT_BITS);
    level = _mm_packus_epi16(_mm_packs_epi32(level, level), level);
    int32_t bytes = _mm_cvtsi128_si32(level);
    memcpy(out, &bytes, 4);
}

/* Two pixels of three bytes at a time, each in four lanes of 32 bits, the fourth 0. */
AVX2 static void narrow_row_avx2(uint8_t *out, const uint8_t *row, const lv_image_columns *columns)
{
    const __m128i spread = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m256i twice = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
    for (size_t i = 0; i < columns->n; i++) {
        const int32_t *w = columns->weights + i * columns->max_taps;
        const uint8_t *pixel = row + 3 * (size_t)columns->first[i];
        __m256i sums = _mm256_zextsi128_si256(
            _mm_loadu_si128((const __m128i *)(const void *)(columns->start + 4 * i)));
        for (int32_t t = 0; t < columns->n_taps[i]; t += 2, pixel += 6) {
            __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)pixel);
            __m256i pixels = _mm256_cvtepu8_epi32(_mm_shuffle_epi8(bytes, spread));
            __m128i two = _mm_loadl_epi64((const __m128i *)(const void *)(w + t));
            __m256i weights = _mm256_permutevar8x32_epi32(_mm256_castsi128_si256(two), twice);
            sums = _mm256_add_epi32(sums, _mm256_mullo_epi32(pixels, weights));
        }
        store_pixel(out + 3 * i,
                    _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1)));
    }
}

AVX2 static __m256i widen8(const uint8_t *bytes)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)bytes));
}

/* 16 bytes of a row at a time. */
AVX2 static void blend_rows_avx2(uint8_t *out, const uint8_t *rows, const int32_t *weights,
                                 size_t n_taps, const uint8_t *pad, int32_t pad_weight, size_t n)
{
    const __m256i half = _mm256_set1_epi32((int32_t)HALF);
    const __m256i outside = _mm256_set1_epi32(pad_weight);
    size_t x = 0;
    for (; x + 16 <= n; x += 16) {
        const uint8_t *row = rows + x;
        __m256i a = _mm256_add_epi32(half, _mm256_mullo_epi32(outside, widen8(pad + x)));
        __m256i b = _mm256_add_epi32(half, _mm256_mullo_epi32(outside, widen8(pad + x + 8)));
        for (size_t t = 0; t < n_taps; t++, row += n) {
            __m256i w = _mm256_set1_epi32(weights[t]);
            a = _mm256_add_epi32(a, _mm256_mullo_epi32(w, widen8(row)));
            b = _mm256_add_epi32(b, _mm256_mullo_epi32(w, widen8(row + 8)));
        }
        a = _mm256_srai_epi32(a, LV_IMAGE_WEIGHT_BITS);
        b = _mm256_srai_epi32(b, LV_IMAGE_WEIGHT_BITS);
        /* packs works within halves: a0 b0 | a1 b1, to a0 a1 | b0 b1 */
        __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8);
        __m128i bytes =
            _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        _mm_storeu_si128((__m128i *)(void *)(out + x), bytes);
    }
    blend_rest(x, out, rows, weights, n_taps, pad, pad_weight, n);
}

/* Four pixels at a time. */
AVX512 static void narrow_row_avx512(uint8_t *out, const uint8_t *row,
                                     const lv_image_columns *columns)
{
    const __m128i spread = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1);
    const __m512i four_times = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    for (size_t i = 0; i < columns->n; i++) {
        const int32_t *w = columns->weights + i * columns->max_taps;
        const uint8_t *pixel = row + 3 * (size_t)columns->first[i];
        __m512i sums = _mm512_zextsi128_si512(
            _mm_loadu_si128((const __m128i *)(const void *)(columns->start + 4 * i)));
        for (int32_t t = 0; t < columns->n_taps[i]; t += 4, pixel += 12) {
            __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)pixel);
            __m512i pixels = _mm512_cvtepu8_epi32(_mm_shuffle_epi8(bytes, spread));
            __m128i four = _mm_loadu_si128((const __m128i *)(const void *)(w + t));
            __m512i weights = _mm512_permutexvar_epi32(four_times, _mm512_castsi128_si512(four));
            sums = _mm512_add_epi32(sums, _mm512_mullo_epi32(pixels, weights));
        }
        __m256i two =
            _mm256_add_epi32(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64(sums, 1));
        store_pixel(out + 3 * i,
                    _mm_add_epi32(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1)));
    }
}

AVX512 static __m512i widen16(const uint8_t *bytes)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)bytes));
}

AVX512 static void store16(uint8_t *out, __m512i sums)
{
    __m512i level =
        _mm512_srai_epi32(_mm512_max_epi32(sums, _mm512_setzero_si512()), LV_IMAGE_WEIGHT_BITS);
    _mm_storeu_si128((__m128i *)(void *)out, _mm512_cvtusepi32_epi8(level));
}

/* 32 bytes of a row at a time. */
AVX512 static void blend_rows_avx512(uint8_t *out, const uint8_t *rows, const int32_t *weights,
                                     size_t n_taps, const uint8_t *pad, int32_t pad_weight,
                                     size_t n)
{
    const __m512i half = _mm512_set1_epi32((int32_t)HALF);
    const __m512i outside = _mm512_set1_epi32(pad_weight);
    size_t x = 0;
    for (; x + 32 <= n; x += 32) {
        const uint8_t *row = rows + x;
        __m512i a = _mm512_add_epi32(half, _mm512_mullo_epi32(outside, widen16(pad + x)));
        __m512i b = _mm512_add_epi32(half, _mm512_mullo_epi32(outside, widen16(pad + x + 16)));
        for (size_t t = 0; t < n_taps; t++, row += n) {
            __m512i w = _mm512_set1_epi32(weights[t]);
            a = _mm512_add_epi32(a, _mm512_mullo_epi32(w, widen16(row)));
            b = _mm512_add_epi32(b, _mm512_mullo_epi32(w, widen16(row + 16)));
        }
        store16(out + x, a);
        store16(out + x + 16, b);
    }
    blend_rest(x, out, rows, weights, n_taps, pad, pad_weight, n);
}

#endif

const lv_image_kernels *lv_image_kernels_at(lv_cpu_level level)
{
    static const lv_image_kernels portable = {
        .narrow_row = narrow_row_portable,
        .blend_rows = blend_rows_portable,
    };
#if defined(__x86_64__)
    static const lv_image_kernels avx2 = {
        .narrow_row = narrow_row_avx2,
        .blend_rows = blend_rows_avx2,
    };
    static const lv_image_kernels avx512 = {
        .narrow_row = narrow_row_avx512,
        .blend_rows = blend_rows_avx512,
    };
    if (level >= LV_CPU_AVX512) {
        return &avx512;
    }
    if (level >= LV_CPU_AVX2) {
        return &avx2;
    }
#endif
    (void)level;
    return &portable;
}
