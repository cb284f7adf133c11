/* SPDX-License-Identifier: Apache-2.0
 *
 * Frozen values, copied from their files to memory that the processes of a machine share: a piece
 * each in turn, so that all read at once, and the memory of a machine with several nodes is taken
 * from all of them.
 */
#include "train/model/params/internal.h"

#include "autograd/error.h"
#include "autograd/kernels/convert.h"
#include "data/base/fail_point.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64, PIECE_VALUES = 1 << 20, BLOCK_VALUES = 4096 };

typedef struct {
    const lv_param *param;
    char *to;     /* of the parameter's first value */
    int64_t i, n; /* values [i, i+n) */
} copy_piece;

void lv_params_copy_set(lv_params *params)
{
    params->copies = true;
}

static int64_t bytes_of(const lv_param *param)
{
    int64_t n = lv_tensor_count(&param->tensor) * (int64_t)lv_dtype_bytes(param->tensor.dtype);
    return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

int64_t lv_params_copy_bytes(const lv_params *params)
{
    int64_t n_bytes = 0;
    for (size_t i = 0; i < params->n; i++) {
        n_bytes += params->items[i]->copied ? bytes_of(params->items[i]) : 0;
    }
    return n_bytes;
}

/* The ops read the bits of the file. */
static bool is_same(const lv_param *param)
{
    return param->file_dtype == param->tensor.dtype &&
           (param->file_dtype == LV_BF16 || sizeof(lv_real) == sizeof(float));
}

static int read_values(const lv_params *params, void *to, const void *from, int64_t n_bytes)
{
    int rc = 0;
    for (size_t i = 0; i < params->n_kept && rc == 0; i++) {
        rc = lv_weights_read(params->kept[i], to, from, n_bytes);
    }
    LV_CHECK(rc != 0, "frozen values are in no open file");
    return rc < 0 ? rc : LV_OK;
}

static int convert_piece(const lv_params *params, const copy_piece *p, const char *from,
                         int64_t n_bytes)
{
    const lv_param *param = p->param;
    const int64_t from_size = n_bytes / p->n;
    char *found = malloc((size_t)n_bytes);
    if (!found) {
        return lv_fail(LV_ERR_MEMORY, "%s: no memory to convert it", param->name);
    }
    int rc = read_values(params, found, from, n_bytes);
    for (int64_t i = 0; rc == LV_OK && i < p->n; i += BLOCK_VALUES) {
        lv_real values[BLOCK_VALUES];
        int64_t n = p->n - i < BLOCK_VALUES ? p->n - i : BLOCK_VALUES;
        void *to = lv_element(p->to, param->tensor.dtype, p->i + i);
        lv_convert_to_real(values, found + i * from_size, param->file_dtype, n);
        if (param->tensor.dtype == LV_BF16) {
            lv_convert_from_real(to, LV_BF16, values, n);
        } else {
            memcpy(to, values, (size_t)n * sizeof *values);
        }
    }
    free(found);
    return rc;
}

static int copy_one(const lv_params *params, const copy_piece *p)
{
    const lv_param *param = p->param;
    const int64_t from_size = param->file_dtype == LV_F32 ? 4 : 2;
    const char *from = (const char *)param->file_data + p->i * from_size;
    int rc = is_same(param) ? read_values(params, lv_element(p->to, param->tensor.dtype, p->i),
                                          from, p->n * from_size)
                            : convert_piece(params, p, from, p->n * from_size);
    return rc < 0 ? rc : lv_fail_point("weights.piece");
}

/* The pieces of one part. returns their number */
static int64_t list_pieces(copy_piece *pieces, const lv_params *params, char *memory, int part,
                           int n_parts)
{
    int64_t n = 0, index = 0;
    for (size_t k = 0; k < params->n; k++) {
        const lv_param *param = params->items[k];
        const int64_t count = param->copied ? lv_tensor_count(&param->tensor) : 0;
        for (int64_t i = 0; i < count; i += PIECE_VALUES) {
            if (index++ % n_parts == part) {
                int64_t left = count - i;
                pieces[n++] =
                    (copy_piece){param, memory, i, left < PIECE_VALUES ? left : PIECE_VALUES};
            }
        }
        memory += param->copied ? bytes_of(param) : 0;
    }
    return n;
}

/* By all threads; the failure of one becomes the caller's. */
static int copy_pieces(const lv_params *params, const copy_piece *pieces, int64_t n)
{
    lv_failure failure = {.code = LV_OK};
    int failed = LV_OK;
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < n; i++) {
        int before, rc;
#pragma omp atomic read
        before = failed;
        rc = before == LV_OK ? copy_one(params, &pieces[i]) : LV_OK;
        if (rc < 0) {
#pragma omp critical
            {
                lv_failure_take(&failure, rc);
#pragma omp atomic write
                failed = rc;
            }
        }
    }
    return lv_failure_raise(&failure);
}

int lv_params_copy_frozen(lv_params *params, void *memory, int part, int n_parts)
{
    const size_t most = (size_t)(lv_params_copy_bytes(params) / PIECE_VALUES) + params->n + 1;
    copy_piece *pieces = malloc(most * sizeof *pieces);
    if (!pieces) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a list of frozen weights");
    }
    int rc = copy_pieces(params, pieces, list_pieces(pieces, params, memory, part, n_parts));
    free(pieces);
    for (size_t k = 0; rc == LV_OK && k < params->n; k++) {
        lv_param *param = params->items[k];
        if (param->copied) {
            param->tensor.data = memory;
            param->file_data = is_same(param) ? memory : param->file_data;
            memory = (char *)memory + bytes_of(param);
        }
    }
    return rc;
}
