/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_touched_rows: which rows of one parameter the gradients of a step reach, on any of the ranks.
 * The gradients of the others are zeros on all of them, and need not travel. Of an embedding that
 * is not the head as well these are the step's tokens.
 */
#ifndef LV_TRAIN_EXCHANGE_SPARSE_ROWS_H
#define LV_TRAIN_EXCHANGE_SPARSE_ROWS_H

#include "train/model/params/params.h"

#include <mpi.h>

typedef struct {
    const lv_tensor *tensor; /* NULL: there is no such parameter, everything travels */
    lv_range elements;       /* its flat elements */
    int64_t n_rows, row_elements;
    uint64_t *bits; /* a bit a row: of this rank, and once it is known of all */
    MPI_Request request;
    bool known;
} lv_touched_rows;

/* lv_touched_rows_param: the first trainable parameter that is by_rows (params.h), or NULL. */
const lv_param *lv_touched_rows_param(lv_params *params);

/* lv_touched_rows_create: of that parameter; none is touched.
 * fails  LV_ERR_MEMORY; destroy it all the same */
int lv_touched_rows_create(lv_touched_rows *rows, lv_params *params);
void lv_touched_rows_destroy(lv_touched_rows *rows);

/* lv_touched_rows_mark: a gradient of tensor, if it is this one, reaches rows ids[n]. */
void lv_touched_rows_mark(lv_touched_rows *rows, const lv_tensor *tensor, const int32_t *ids,
                          int64_t n);

/* lv_touched_rows_unite: collective, begins at the first call and looks at each further one until
 * they are known. fails  LV_ERR_COMM */
int lv_touched_rows_unite(lv_touched_rows *rows, MPI_Comm comm);

/* lv_touched_rows_clear: none is touched, for the next step. */
void lv_touched_rows_clear(lv_touched_rows *rows);

/* lv_touched_rows_concern: is something of the parameter among these flat elements? Of what it does
 * not concern, everything travels, also before the rows are known. */
bool lv_touched_rows_concern(const lv_touched_rows *rows, lv_range elements);

/* lv_touched_rows_next: the first stretch in [from, end) that travels; begin = end: there is none.
 */
lv_range lv_touched_rows_next(const lv_touched_rows *rows, int64_t from, int64_t end);

/* lv_touched_rows_count: how many of these elements travel. */
int64_t lv_touched_rows_count(const lv_touched_rows *rows, lv_range elements);

#endif
