/* SPDX-License-Identifier: Apache-2.0 */
#include "train/exchange/sparse_rows.h"

#include "autograd/error.h"
#include "train/cluster/comm.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_BITS = 64 };

size_t lv_sparse_rows_words(const lv_sparse_rows *rows)
{
    return (size_t)(rows->n_rows + WORD_BITS - 1) / WORD_BITS;
}

const lv_param *lv_sparse_rows_param(lv_params *params)
{
    for (size_t i = 0; i < lv_params_count(params); i++) {
        const lv_param *param = lv_params_at(params, i);
        if (param->trainable && param->by_rows) {
            return param;
        }
    }
    return NULL;
}

int lv_sparse_rows_create(lv_sparse_rows *rows, lv_params *params)
{
    const lv_param *param = lv_sparse_rows_param(params);
    *rows = (lv_sparse_rows){0};
    if (!param) {
        return LV_OK;
    }
    rows->tensor = &param->tensor;
    rows->n_rows = param->tensor.shape[0];
    rows->row_elements = lv_tensor_count(&param->tensor) / rows->n_rows;
    rows->elements = (lv_range){param->offset, param->offset + lv_tensor_count(&param->tensor)};
    rows->bits = calloc(lv_sparse_rows_words(rows), sizeof *rows->bits);
    return rows->bits
               ? LV_OK
               : lv_fail(LV_ERR_MEMORY, "no memory for a list of %" PRId64 " rows", rows->n_rows);
}

void lv_sparse_rows_destroy(lv_sparse_rows *rows)
{
    free(rows->bits);
    rows->bits = NULL;
}

void lv_sparse_rows_mark(lv_sparse_rows *rows, const lv_tensor *tensor, const int32_t *ids,
                         int64_t n)
{
    for (int64_t i = 0; tensor == rows->tensor && i < n; i++) {
        rows->bits[ids[i] / WORD_BITS] |= (uint64_t)1 << (ids[i] % WORD_BITS);
    }
}

void lv_sparse_rows_clear(lv_sparse_rows *rows)
{
    if (rows->tensor) {
        memset(rows->bits, 0, lv_sparse_rows_words(rows) * sizeof *rows->bits);
    }
    rows->complete = false;
}

bool lv_sparse_rows_overlap(const lv_sparse_rows *rows, lv_range elements)
{
    return elements.begin < rows->elements.end && elements.end > rows->elements.begin;
}

/* The first row from `row` on that is marked, or that is not; n_rows: none. */
static int64_t find_row(const lv_sparse_rows *rows, int64_t row, bool marked)
{
    while (row < rows->n_rows) {
        const uint64_t word = rows->bits[row / WORD_BITS];
        const uint64_t left = (marked ? word : ~word) >> (row % WORD_BITS);
        if (left) {
            row += __builtin_ctzll(left);
            break;
        }
        row += WORD_BITS - row % WORD_BITS;
    }
    return row < rows->n_rows ? row : rows->n_rows;
}

static int64_t row_begin(const lv_sparse_rows *rows, int64_t row)
{
    return rows->elements.begin + row * rows->row_elements;
}

lv_range lv_sparse_rows_next(const lv_sparse_rows *rows, int64_t from, int64_t end)
{
    if (!lv_sparse_rows_overlap(rows, (lv_range){from, end})) {
        return (lv_range){from, end};
    }
    if (from < rows->elements.begin) {
        return (lv_range){from, rows->elements.begin};
    }
    const int64_t row = (from - rows->elements.begin) / rows->row_elements;
    const int64_t first = find_row(rows, row, true);
    if (first == rows->n_rows) { /* after the parameter */
        return (lv_range){lv_min_i64(rows->elements.end, end), end};
    }
    const int64_t begin = first == row ? from : lv_min_i64(row_begin(rows, first), end);
    return (lv_range){begin, lv_min_i64(row_begin(rows, find_row(rows, first, false)), end)};
}

int64_t lv_sparse_rows_count(const lv_sparse_rows *rows, lv_range elements)
{
    int64_t count = 0;
    lv_range s = lv_sparse_rows_next(rows, elements.begin, elements.end);
    while (s.begin < s.end) {
        count += s.end - s.begin;
        s = lv_sparse_rows_next(rows, s.end, elements.end);
    }
    return count;
}
