/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of exponentials: the tiles of attention and the logits of cross-entropy. Work goes in blocks
 * of LANES, which is one or two registers and the width of a panel of a packed operand. */
#include "autograd/kernels/exp.h"
#include "autograd/kernels/vector/block.h"
#include "autograd/kernels/vector/level.h"

#include <tgmath.h>

enum { ROW_KEYS = 256, AT_ONCE = 4 };

/* e^x for what a softmax needs, x <= 88: within 2 units in the last place, 0 below -87, NaN stays
 * NaN. */
#ifdef LV_REAL_F64
static inline lv_real exp_below(lv_real x)
{
    return exp(x);
}
#else
static inline float exp_below(float x)
{
    float e = x < -87.0f ? 0.0f : lv_exp_within(x);
    return x != x ? x : e;
}
#endif

/* The larger; a if b is NaN. */
static inline lv_real larger(lv_real a, lv_real b)
{
    return b > a ? b : a;
}

static inline lv_real lanes_max(const lv_real x[LANES])
{
    lv_real of_8[8], of_4[4];
    for (int l = 0; l < 8; l++) {
        of_8[l] = larger(x[l], x[l + 8]);
    }
    for (int l = 0; l < 4; l++) {
        of_4[l] = larger(of_8[l], of_8[l + 4]);
    }
    return larger(larger(of_4[0], of_4[2]), larger(of_4[1], of_4[3]));
}

/* scale x of the n < LANES values that there are, -infinity in the other lanes. */
static inline void tail_fill(lv_real tail[LANES], const lv_real *x, lv_real scale, int64_t n)
{
#pragma omp simd
    for (int64_t l = 0; l < LANES; l++) {
        tail[l] = l < n ? x[l] * scale : -INFINITY;
    }
}

/* scale x in lanes [from, to), which may go beyond the block; -infinity in the others. */
static inline void head_fill(lv_real head[LANES], const lv_real *x, lv_real scale, int64_t from,
                             int64_t to)
{
#pragma omp simd
    for (int64_t l = 0; l < LANES; l++) {
        head[l] = l >= from && l < to ? x[l] * scale : -INFINITY;
    }
}

/* The first of the block that i is in. */
static inline int64_t block_of(int64_t i)
{
    return i / LANES * LANES;
}

static inline void raise_lanes(lv_real lanes[LANES], const lv_real *x, lv_real scale)
{
#pragma omp simd
    for (int l = 0; l < LANES; l++) {
        lanes[l] = larger(lanes[l], x[l] * scale);
    }
}

/* The largest of scale x in range, at least -infinity; NaN are passed over. */
static lv_real row_max(const lv_real *x, lv_real scale, lv_range range)
{
    lv_real lanes[LANES], edge[LANES];
#pragma omp simd
    for (int l = 0; l < LANES; l++) {
        lanes[l] = -INFINITY;
    }
    int64_t i = block_of(range.begin);
    if (i < range.begin) {
        head_fill(edge, x + i, scale, range.begin - i, range.end - i);
        raise_lanes(lanes, edge, 1);
        i += LANES;
    }
    for (; i + LANES <= range.end; i += LANES) {
        raise_lanes(lanes, x + i, scale);
    }
    if (i < range.end) {
        tail_fill(edge, x + i, scale, range.end - i);
        raise_lanes(lanes, edge, 1);
    }
    return lanes_max(lanes);
}

/* What is subtracted before exp: a row of -infinity gives zeros. */
static inline lv_real shift_of(lv_real max)
{
    return max == -INFINITY ? 0 : max;
}

/* Take in the largest of some more values. returns the factor of what was summed before. */
static inline lv_real raise_max(lv_real *max, lv_real candidate)
{
    lv_real before = *max;
    *max = larger(before, candidate);
    return before == -INFINITY ? 0 : exp_below(before - *max);
}

/* e = exp(scale x - shift), added to sum. */
static inline void exp_block(lv_real e[LANES], lv_real sum[LANES], const lv_real *x, lv_real scale,
                             lv_real shift)
{
#pragma omp simd
    for (int l = 0; l < LANES; l++) {
        e[l] = exp_below(x[l] * scale - shift);
        sum[l] += e[l];
    }
}

/* p = exp(scale s - shift) in range, rounded; 0 in the rest of its first and last block. returns
 * the sum */
static lv_real probabilities(uint16_t *p, const lv_real *s, lv_real scale, lv_real shift,
                             lv_range range)
{
    lv_real sum[LANES] = {0}, e[LANES], edge[LANES];
    int64_t i = block_of(range.begin);
    if (i < range.begin) {
        head_fill(edge, s + i, scale, range.begin - i, range.end - i);
        exp_block(e, sum, edge, 1, shift);
        narrow_block(p + i, e);
        i += LANES;
    }
    for (; i + LANES <= range.end; i += LANES) {
        exp_block(e, sum, s + i, scale, shift);
        narrow_block(p + i, e);
    }
    if (i < range.end) {
        tail_fill(edge, s + i, scale, range.end - i);
        exp_block(e, sum, edge, 1, shift);
        narrow_block(p + i, e);
    }
    return lanes_sum(sum);
}

/* x = exp(scale x - shift) in range, 0 before it in its first block. returns the sum */
static lv_real exponentials(lv_real *x, lv_real scale, lv_real shift, lv_range range)
{
    lv_real sum[LANES] = {0}, e[LANES], edge[LANES];
    int64_t i = block_of(range.begin);
    if (i < range.begin) {
        head_fill(edge, x + i, scale, range.begin - i, range.end - i);
        exp_block(e, sum, edge, 1, shift);
        memcpy(x + i, e, (size_t)lv_min_i64(LANES, range.end - i) * sizeof *e);
        i += LANES;
    }
    for (; i + LANES <= range.end; i += LANES) {
        exp_block(e, sum, x + i, scale, shift);
        memcpy(x + i, e, sizeof e);
    }
    if (i < range.end) {
        tail_fill(edge, x + i, scale, range.end - i);
        exp_block(e, sum, edge, 1, shift);
        memcpy(x + i, e, (size_t)(range.end - i) * sizeof *e);
    }
    return lanes_sum(sum);
}

static void scale_row(lv_real *x, lv_real factor, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        x[i] *= factor;
    }
}

/* Keys of a tile that row i sees; {0, 0} if none. */
static inline lv_range seen_by(const lv_range *visible, int64_t first, int64_t i, int64_t n_keys)
{
    if (!visible) {
        return (lv_range){0, n_keys};
    }
    int64_t begin = visible[i].begin - first, end = lv_min_i64(n_keys, visible[i].end - first);
    begin = begin < 0 ? 0 : begin;
    return begin < end ? (lv_range){begin, end} : (lv_range){0, 0};
}

static inline const lv_range *rows_from(const lv_range *visible, int64_t i)
{
    return visible ? visible + i : NULL;
}

/* Rows [first, first + LANES) of a tile take in its scores' maxima; keep: the factors of what they
 * have summed before. */
static void raise_rows(lv_real keep[LANES], lv_real max[LANES], const lv_real *s, int64_t ld,
                       lv_real scale, int64_t n_rows, int64_t n_keys, const lv_range *visible,
                       int64_t first)
{
    lv_real before[LANES] = {0}, after[LANES] = {0};
    for (int64_t i = 0; i < n_rows; i++) {
        before[i] = max[i];
        max[i] = larger(max[i], row_max(s + i * ld, scale, seen_by(visible, first, i, n_keys)));
        after[i] = shift_of(max[i]);
    }
#pragma omp simd
    for (int l = 0; l < LANES; l++) {
        keep[l] = exp_below(before[l] - after[l]); /* 0 before the first finite score */
    }
}

void LV_LEVEL(softmax_tile)(lv_real *s, lv_real *o, lv_real *max, lv_real *sum, int64_t ld,
                            int64_t o_ld, lv_real scale, int64_t n_rows, int64_t n_keys,
                            const lv_range *visible, int64_t first, int64_t D)
{
    lv_real keep[LANES];
    for (int64_t i = 0; i < n_rows; i++) {
        lv_real *row = s + i * ld;
        lv_range seen = seen_by(visible, first, i, n_keys);
        int64_t l = i % LANES;
        if (l == 0) {
            raise_rows(keep, max + i, row, ld, scale, lv_min_i64(LANES, n_rows - i), n_keys,
                       rows_from(visible, i), first);
        }
        sum[i] = sum[i] * keep[l] + exponentials(row, scale, shift_of(max[i]), seen);
        memset(row, 0, (size_t)block_of(seen.begin) * sizeof *row);
        memset(row + seen.end, 0, (size_t)(n_keys - seen.end) * sizeof *row);
        if (keep[l] != 1) {
            scale_row(o + i * o_ld, keep[l], D);
        }
    }
}

void LV_LEVEL(softmax_tile_packed)(uint16_t *p, lv_real *o, lv_real *max, lv_real *sum,
                                   const lv_real *s, int64_t ld, int64_t o_ld, lv_real scale,
                                   int64_t n_rows, int64_t n_keys, int64_t depth,
                                   const lv_range *visible, int64_t first, int64_t D)
{
    lv_real keep[LANES];
    for (int64_t i = 0; i < n_rows; i++) {
        const lv_real *row = s + i * ld;
        uint16_t *p_row = p + i * ld;
        lv_range seen = seen_by(visible, first, i, n_keys);
        int64_t l = i % LANES, written = block_of(seen.end + LANES - 1);
        if (l == 0) {
            raise_rows(keep, max + i, row, ld, scale, lv_min_i64(LANES, n_rows - i), n_keys,
                       rows_from(visible, i), first);
        }
        sum[i] = sum[i] * keep[l] + probabilities(p_row, row, scale, shift_of(max[i]), seen);
        memset(p_row, 0, (size_t)block_of(seen.begin) * sizeof *p);
        if (written < depth) {
            memset(p_row + written, 0, (size_t)(depth - written) * sizeof *p);
        }
        if (keep[l] != 1) {
            scale_row(o + i * o_ld, keep[l], D);
        }
    }
}

void LV_LEVEL(softcap_tile)(lv_real *s, lv_real *dp, int64_t ld, const lv_real *delta,
                            lv_real scale, lv_real softcap, int64_t n_rows, int64_t n_keys)
{
    lv_real inward = scale / softcap;
    for (int64_t i = 0; i < n_rows; i++) {
        lv_real *row = s + i * ld, *dp_row = dp ? dp + i * ld : NULL;
        lv_real D_i = dp ? delta[i] : 0;
        for (int64_t j = 0; j < n_keys; j++) {
            row[j] = lv_tanh(row[j] * inward);
        }
        for (int64_t j = 0; dp_row && j < n_keys; j++) {
            dp_row[j] = (dp_row[j] - D_i) * scale * (1 - row[j] * row[j]);
        }
        scale_row(row, softcap, n_keys);
    }
}

void LV_LEVEL(softmax_tile_backward)(lv_real *s, lv_real *dp, int64_t ld, const lv_real *lse,
                                     const lv_real *delta, lv_real scale, int64_t n_rows,
                                     int64_t n_keys, const lv_range *visible, int64_t first)
{
    for (int64_t i = 0; i < n_rows; i++) {
        lv_real *p = s + i * ld, *ds = dp ? dp + i * ld : NULL;
        lv_real shift = shift_of(lse[i]), D_i = delta[i];
        lv_range seen = seen_by(visible, first, i, n_keys);
        size_t before = (size_t)seen.begin * sizeof *p;
        size_t behind = (size_t)(n_keys - seen.end) * sizeof *p;
        memset(p, 0, before);
        for (int64_t j = seen.begin; j < seen.end; j++) {
            p[j] = exp_below(p[j] * scale - shift);
        }
        memset(p + seen.end, 0, behind);
        if (!ds) {
            continue;
        }
        memset(ds, 0, before);
        for (int64_t j = seen.begin; j < seen.end; j++) {
            ds[j] = p[j] * (ds[j] - D_i) * scale;
        }
        memset(ds + seen.end, 0, behind);
    }
}

/* Row i of a tile in the backward pass, and what is known of it. */
typedef struct {
    const lv_real *s, *dp;
    lv_real shift, delta;
    lv_range seen;
} gradient_row;

/* Lanes of a row from key j on, rounded; 0 for keys that are not seen. */
static inline void gradient_block(uint32_t p[LANES], uint32_t ds[LANES], const gradient_row *row,
                                  int64_t j, lv_real scale)
{
    int32_t begin = (int32_t)(row->seen.begin - j);
    uint32_t n = (uint32_t)(row->seen.end - row->seen.begin);
    const lv_real *s = row->s + j, *dp = row->dp + j;
    lv_real shift = row->shift, delta = row->delta;
#pragma omp simd
    for (int32_t l = 0; l < LANES; l++) {
        lv_real e = exp_below(s[l] * scale - shift);
        lv_real d = e * (dp[l] - delta) * scale;
        bool sees = (uint32_t)(l - begin) < n;
        p[l] = sees ? chunk_narrow((float)e) : 0;
        ds[l] = sees ? chunk_narrow((float)d) : 0;
    }
}

/* Two rows side by side: the pairs of a packed B. */
static inline void store_pairs(uint16_t *to, const uint32_t even[LANES], const uint32_t odd[LANES])
{
    uint32_t pairs[LANES];
#pragma omp simd
    for (int l = 0; l < LANES; l++) {
        pairs[l] = even[l] | odd[l] << 16;
    }
    memcpy(to, pairs, sizeof pairs);
}

static inline void store_row(uint16_t *to, const uint32_t row[LANES])
{
#pragma omp simd
    for (int l = 0; l < LANES; l++) {
        to[l] = (uint16_t)row[l];
    }
}

/* Zeros in panels [begin, end) of a packed B. */
static void clear_pairs(uint16_t *to, int64_t depth, lv_range panels)
{
    for (int64_t j = panels.begin; to && j < panels.end; j += LANES) {
        memset(to + j * depth, 0, 2 * LANES * sizeof *to);
    }
}

/* Two rows of a tile; at row r the tile's packed B have p and ds_b, its packed A ds_a. */
static inline void gradient_rows(uint16_t *p, uint16_t *ds_b, uint16_t *ds_a[2],
                                 const gradient_row rows[2], lv_real scale, int64_t n_keys,
                                 int64_t depth, int64_t a_depth)
{
    int64_t begin = block_of(lv_min_i64(rows[0].seen.begin, rows[1].seen.begin)), j = begin;
    int64_t end = rows[0].seen.end > rows[1].seen.end ? rows[0].seen.end : rows[1].seen.end;
    uint32_t p_of[2][LANES], ds_of[2][LANES];
    for (; j < end; j += LANES) {
        gradient_block(p_of[0], ds_of[0], &rows[0], j, scale);
        gradient_block(p_of[1], ds_of[1], &rows[1], j, scale);
        if (p) {
            store_pairs(p + j * depth, p_of[0], p_of[1]);
            store_pairs(ds_b + j * depth, ds_of[0], ds_of[1]);
        }
        for (int r = 0; r < 2; r++) {
            if (ds_a[r]) {
                store_row(ds_a[r] + j, ds_of[r]);
            }
        }
    }
    clear_pairs(p, depth, (lv_range){0, begin});
    clear_pairs(ds_b, depth, (lv_range){0, begin});
    clear_pairs(p, depth, (lv_range){j, n_keys});
    clear_pairs(ds_b, depth, (lv_range){j, n_keys});
    for (int r = 0; r < 2; r++) {
        if (ds_a[r]) {
            memset(ds_a[r], 0, (size_t)begin * sizeof *ds_a[r]);
            memset(ds_a[r] + j, 0, (size_t)(a_depth - j) * sizeof *ds_a[r]);
        }
    }
}

void LV_LEVEL(softmax_tile_backward_packed)(uint16_t *p, uint16_t *ds_b, uint16_t *ds_a,
                                            const lv_real *s, const lv_real *dp, int64_t ld,
                                            const lv_real *lse, const lv_real *delta, lv_real scale,
                                            int64_t n_rows, int64_t n_keys, int64_t a_depth,
                                            const lv_range *visible, int64_t first)
{
    int64_t depth = lv_bf16_depth(n_rows);
    for (int64_t i = 0; i < depth; i += 2) {
        gradient_row rows[2];
        uint16_t *a[2];
        for (int64_t r = 0; r < 2; r++) {
            bool there = i + r < n_rows;
            int64_t at = there ? i + r : 0; /* the padding sees nothing of any row */
            rows[r] =
                (gradient_row){s + at * ld, dp + at * ld, shift_of(lse[at]), delta[at],
                               there ? seen_by(visible, first, at, n_keys) : (lv_range){0, 0}};
            a[r] = there && ds_a ? ds_a + at * ld : NULL;
        }
        gradient_rows(p ? p + i * LANES : NULL, p ? ds_b + i * LANES : NULL, a, rows, scale, n_keys,
                      depth, a_depth);
    }
}

void LV_LEVEL(softmax_finish)(void *o, int64_t o_ld, lv_dtype dtype, lv_real *lse, const lv_real *x,
                              int64_t x_ld, const lv_real *max, const lv_real *sum, int64_t n_rows,
                              int64_t D)
{
    lv_real block[LANES] = {0};
    for (int64_t i = 0; i < n_rows; i++) {
        lv_real inverse = 1 / sum[i];
        for (int64_t d = 0; d < D; d += LANES) {
            int64_t n = lv_min_i64(LANES, D - d);
            for (int64_t l = 0; l < n; l++) {
                block[l] = x[i * x_ld + d + l] * inverse;
            }
            add_block((lv_grad){o, dtype, false}, i * o_ld + d, block, n);
        }
        if (lse) {
            lse[i] = max[i] + log(sum[i]);
        }
    }
}

/* s[r] = q . k_r of n <= AT_ONCE keys, ld apart. */
static inline void dot_keys(lv_real *s, const lv_real *q, const uint16_t *k, int64_t ld, int64_t n,
                            int64_t D)
{
    lv_real sums[AT_ONCE][LANES] = {{0}};
    int64_t d = 0;
    for (; d + LANES <= D; d += LANES) {
        for (int64_t r = 0; r < n; r++) {
#pragma omp simd
            for (int l = 0; l < LANES; l++) {
                sums[r][l] += q[d + l] * chunk_widen(k[r * ld + d + l]);
            }
        }
    }
    for (int64_t r = 0; r < n; r++) {
        s[r] = lanes_sum(sums[r]);
        for (int64_t i = d; i < D; i++) {
            s[r] += q[i] * chunk_widen(k[r * ld + i]);
        }
    }
}

/* o += sum_r p[r] v_r of n <= AT_ONCE values, ld apart. */
static inline void add_values(lv_real *o, const lv_real *p, const uint16_t *v, int64_t ld,
                              int64_t n, int64_t D)
{
    int64_t d = 0;
    for (; d + LANES <= D; d += LANES) {
        lv_real sum[LANES];
        memcpy(sum, o + d, sizeof sum);
        for (int64_t r = 0; r < n; r++) {
#pragma omp simd
            for (int l = 0; l < LANES; l++) {
                sum[l] += p[r] * chunk_widen(v[r * ld + d + l]);
            }
        }
        memcpy(o + d, sum, sizeof sum);
    }
    for (; d < D; d++) {
        for (int64_t r = 0; r < n; r++) {
            o[d] += p[r] * chunk_widen(v[r * ld + d]);
        }
    }
}

void LV_LEVEL(softmax_query)(lv_real *o, lv_real *max, lv_real *sum, const lv_real *q,
                             const uint16_t *k, const uint16_t *v, int64_t ld, lv_real scale,
                             lv_real softcap, int64_t n_keys, int64_t D)
{
    lv_real s[ROW_KEYS];
    lv_real left = softcap == 0 ? scale : 1; /* of the scale, once s is capped */
    for (int64_t j = 0; j < n_keys; j += ROW_KEYS) {
        int64_t n = lv_min_i64(ROW_KEYS, n_keys - j), whole = n / AT_ONCE * AT_ONCE;
        const uint16_t *keys = k + j * ld, *values = v + j * ld;
        for (int64_t i = 0; i < whole; i += AT_ONCE) {
            dot_keys(s + i, q, keys + i * ld, ld, AT_ONCE, D);
        }
        dot_keys(s + whole, q, keys + whole * ld, ld, n - whole, D);
        if (softcap != 0) {
            LV_LEVEL(softcap_tile)(s, NULL, 0, NULL, scale, softcap, 1, n);
        }
        lv_real keep = raise_max(max, row_max(s, left, (lv_range){0, n}));
        *sum = *sum * keep + exponentials(s, left, shift_of(*max), (lv_range){0, n});
        scale_row(o, keep, D);
        for (int64_t i = 0; i < whole; i += AT_ONCE) {
            add_values(o, s + i, values + i * ld, ld, AT_ONCE, D);
        }
        add_values(o, s + whole, values + whole * ld, ld, n - whole, D);
    }
}

void LV_LEVEL(softmax_sums)(lv_real *max, lv_real *sum, const lv_real *z, int64_t n)
{
    lv_real e[LANES];
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = lv_min_i64(CHUNK, n - at);
        lv_real keep = raise_max(max, row_max(z + at, 1, (lv_range){0, m}));
        lv_real lanes[LANES] = {0}, tail[LANES];
        int64_t i = 0;
        for (; i + LANES <= m; i += LANES) {
            exp_block(e, lanes, z + at + i, 1, shift_of(*max));
        }
        tail_fill(tail, z + at + i, 1, m - i);
        exp_block(e, lanes, tail, 1, shift_of(*max));
        *sum = *sum * keep + lanes_sum(lanes);
    }
}

void LV_LEVEL(softmax_gradient)(void *dz, lv_dtype dtype, const lv_real *z, lv_real lse,
                                lv_real dloss, int64_t label, int64_t n)
{
    lv_real buf[CHUNK];
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = lv_min_i64(CHUNK, n - at);
        for (int64_t i = 0; i < m; i++) {
            buf[i] = dloss * exp_below(z[at + i] - lse);
        }
        if (label >= at && label < at + m) {
            buf[label - at] -= dloss;
        }
        if (dtype == LV_F32) {
            memcpy((lv_real *)dz + at, buf, (size_t)m * sizeof *buf);
        } else {
            chunk_write(dz, dtype, at, buf, m);
        }
    }
}
