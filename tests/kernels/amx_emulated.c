/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kernels/amx_emulated.h"

#include "autograd/error.h"
#include "autograd/kernels/convert.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { TILES = 8, ROWS = 16, BYTES = 64 };

static _Thread_local struct {
    bool configured;
    lv_tile_shapes shapes;
    unsigned char data[TILES][ROWS][BYTES];
} unit;

static void expect_tile(int t)
{
    LV_CHECK(unit.configured, "tile %d without a configuration", t);
    LV_CHECK(t >= 0 && t < TILES && unit.shapes.rows[t] > 0, "tile %d has no rows", t);
}

void emulated_config(const lv_tile_shapes *shapes)
{
    LV_CHECK(shapes->palette == 1 && shapes->start_row == 0, "palette %d", shapes->palette);
    for (int i = 0; i < 14; i++) {
        LV_CHECK(shapes->reserved[i] == 0, "reserved byte %d", i);
    }
    for (int t = 0; t < 16; t++) {
        bool is_tile = t < TILES;
        LV_CHECK(is_tile ? shapes->rows[t] <= ROWS && shapes->row_bytes[t] <= BYTES &&
                               (shapes->rows[t] == 0) == (shapes->row_bytes[t] == 0)
                         : shapes->rows[t] == 0 && shapes->row_bytes[t] == 0,
                 "shape of tile %d", t);
    }
    memset(&unit, 0, sizeof unit);
    unit.shapes = *shapes;
    unit.configured = true;
}

void emulated_release(void)
{
    memset(&unit, 0, sizeof unit);
}

void emulated_zero(int t)
{
    expect_tile(t);
    memset(unit.data[t], 0, sizeof unit.data[t]);
}

void emulated_load(int t, const void *at, int64_t bytes)
{
    emulated_zero(t);
    for (int r = 0; r < unit.shapes.rows[t]; r++) {
        memcpy(unit.data[t][r], (const char *)at + r * bytes, unit.shapes.row_bytes[t]);
    }
}

void emulated_store(int t, void *at, int64_t bytes)
{
    expect_tile(t);
    for (int r = 0; r < unit.shapes.rows[t]; r++) {
        memcpy((char *)at + r * bytes, unit.data[t][r], unit.shapes.row_bytes[t]);
    }
}

static float normal(float x)
{
    return fpclassify(x) == FP_SUBNORMAL ? copysignf(0, x) : x;
}

static float bf16_at(int t, int row, int i)
{
    uint16_t h;
    memcpy(&h, unit.data[t][row] + 2 * i, sizeof h);
    return normal(lv_bf16_to_float(h));
}

void emulated_dot(int c, int a, int b)
{
    expect_tile(a);
    expect_tile(b);
    expect_tile(c);
    const lv_tile_shapes *s = &unit.shapes;
    LV_CHECK(a != b && b != c && a != c, "the same tile twice");
    LV_CHECK(s->rows[c] == s->rows[a] && s->row_bytes[c] == s->row_bytes[b] &&
                 s->row_bytes[a] / 4 == s->rows[b] && s->row_bytes[a] % 4 == 0,
             "shapes of tiles %d, %d, %d", c, a, b);
    for (int m = 0; m < s->rows[c]; m++) {
        for (int n = 0; n < s->row_bytes[c] / 4; n++) {
            float even = 0, odd = 0, sum;
            for (int k = 0; k < s->row_bytes[a] / 4; k++) {
                even = normal(fmaf(bf16_at(a, m, 2 * k), bf16_at(b, k, 2 * n), even));
                odd = normal(fmaf(bf16_at(a, m, 2 * k + 1), bf16_at(b, k, 2 * n + 1), odd));
            }
            memcpy(&sum, unit.data[c][m] + 4 * n, sizeof sum);
            sum = normal(normal(sum) + normal(even + odd));
            memcpy(unit.data[c][m] + 4 * n, &sum, sizeof sum);
        }
    }
}
