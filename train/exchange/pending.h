/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_pending: the buckets in flight between the ranks, a few at a time, by MPI calls that do not
 * wait. The order of buckets, and the waiting, are the reducer's.
 */
#ifndef LV_TRAIN_EXCHANGE_PENDING_H
#define LV_TRAIN_EXCHANGE_PENDING_H

#include "train/cluster/comm.h"
#include "train/exchange/sparse_rows.h"

/* Bucket by bucket: gradients are summed at their owners, or weights copied from them to all. */
typedef enum { LV_REDUCE_SCATTER, LV_ALL_GATHER } lv_collective;

enum { LV_MAX_PENDING = 4 };

typedef struct lv_pending lv_pending;

/* lv_pending_create: collective. Buffers for LV_MAX_PENDING buckets.
 * in     rows: of params; both outlive it. wire: dtype of gradients as they are sent
 * fails  LV_ERR_MEMORY, LV_ERR_COMM */
int lv_pending_create(lv_pending **out, const lv_comm *comm, lv_params *params,
                      lv_sparse_rows *rows, lv_dtype wire);

/* lv_pending_destroy: collective if nothing failed. */
void lv_pending_destroy(lv_pending **pending);

/* lv_pending_bytes: its buffers. */
int64_t lv_pending_bytes(lv_params *params, lv_dtype wire);

/* lv_pending_has_room: fewer than LV_MAX_PENDING buckets are in flight. */
bool lv_pending_has_room(const lv_pending *pending);

/* lv_pending_start: send and receive a bucket, if there is room. All ranks start the same ones in
 * the same order; a bucket of gradients with elements of rows once those are complete.
 * fails  LV_ERR_COMM */
int lv_pending_start(lv_pending *pending, lv_collective what, int64_t bucket);

/* lv_pending_test: look at every bucket in flight once.
 * out    done[*n]: those that are complete: gradients are summed, weights in their place
 * fails  LV_ERR_COMM */
int lv_pending_test(lv_pending *pending, int64_t done[LV_MAX_PENDING], int *n);

/* lv_pending_unite_rows: the rows marked on any rank. Starts at the first call of all ranks and
 * tests at each further one, until rows->complete.
 * fails  LV_ERR_COMM */
int lv_pending_unite_rows(lv_pending *pending);

#endif
