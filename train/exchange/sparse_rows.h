/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_sparse_rows: the rows of one parameter, the embedding, that have a gradient in this step on
 * any rank. The other rows' gradients are zero on all ranks and are not sent. Without a tied head
 * these rows are the step's tokens.
 */
#ifndef LV_TRAIN_EXCHANGE_SPARSE_ROWS_H
#define LV_TRAIN_EXCHANGE_SPARSE_ROWS_H

#include "train/model/params/params.h"

typedef struct {
    const lv_tensor *tensor; /* NULL: no such parameter, all gradients are dense */
    lv_range elements;       /* its flat elements */
    int64_t n_rows, row_elements;
    uint64_t *bits; /* [lv_sparse_rows_words]: a bit a row; of this rank, of all once complete */
    bool complete;
} lv_sparse_rows;

/* lv_sparse_rows_param: the first trainable parameter that is by_rows (params.h), or NULL. */
const lv_param *lv_sparse_rows_param(lv_params *params);

/* lv_sparse_rows_create: for that parameter; no row is marked.
 * fails  LV_ERR_MEMORY; destroy it all the same */
int lv_sparse_rows_create(lv_sparse_rows *rows, lv_params *params);
void lv_sparse_rows_destroy(lv_sparse_rows *rows);

/* lv_sparse_rows_words: 64-bit words of the bits; 0 without such a parameter. */
size_t lv_sparse_rows_words(const lv_sparse_rows *rows);

/* lv_sparse_rows_mark: if tensor is this parameter, its rows ids[n] have a gradient. */
void lv_sparse_rows_mark(lv_sparse_rows *rows, const lv_tensor *tensor, const int32_t *ids,
                         int64_t n);

/* lv_sparse_rows_clear: no row is marked, for the next step. */
void lv_sparse_rows_clear(lv_sparse_rows *rows);

/* lv_sparse_rows_overlap: does the parameter have elements in this range? A range without any is
 * dense, whatever is marked. */
bool lv_sparse_rows_overlap(const lv_sparse_rows *rows, lv_range elements);

/* lv_sparse_rows_next: the first range in [from, end) that is sent; begin = end: none. */
lv_range lv_sparse_rows_next(const lv_sparse_rows *rows, int64_t from, int64_t end);

/* lv_sparse_rows_count: how many of these elements are sent. */
int64_t lv_sparse_rows_count(const lv_sparse_rows *rows, lv_range elements);

#endif
