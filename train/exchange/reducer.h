/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_reducer: one collective over all buckets at a time: the reduce-scatter of gradients in the
 * order in which a backward pass completes them, from the last flat element that is read in bf16 to
 * the first, then what is read in f32; the all-gather of weights in the opposite order, that of a
 * forward pass. One bucket's messages: pending.h.
 *
 * With a thread of its own it runs while the main thread computes; without, whoever waits runs it.
 * Functions are for the main thread.
 */
#ifndef LV_TRAIN_EXCHANGE_REDUCER_H
#define LV_TRAIN_EXCHANGE_REDUCER_H

#include "train/exchange/exchange.h"
#include "train/exchange/pending.h"

typedef struct lv_reducer lv_reducer;

/* lv_reducer_create: collective. With a thread if options->overlap and MPI allows it.
 * fails  LV_ERR_MEMORY, LV_ERR_COMM */
int lv_reducer_create(lv_reducer **out, const lv_comm *comm, lv_params *params,
                      const lv_exchange_options *options);

/* lv_reducer_destroy: collective if nothing failed: the thread completes the collective that has
 * begun. */
void lv_reducer_destroy(lv_reducer **reducer);

bool lv_reducer_is_threaded(const lv_reducer *reducer);

/* lv_reducer_position: of a bucket in such a collective. lv_reducer_bucket: the one at a position. */
int64_t lv_reducer_position(const lv_reducer *reducer, lv_collective what, int64_t bucket);
int64_t lv_reducer_bucket(const lv_reducer *reducer, lv_collective what, int64_t position);

/* lv_reducer_current: the present collective, or the last. */
lv_collective lv_reducer_current(const lv_reducer *reducer);

/* lv_reducer_begin: a collective, after the one before is complete; all ranks begin the same. No
 * bucket is ready.
 * lv_reducer_ready_set: the buckets of the first n_ready positions may be sent. */
void lv_reducer_begin(lv_reducer *reducer, lv_collective what);
void lv_reducer_ready_set(lv_reducer *reducer, int64_t n_ready);

/* lv_reducer_rows_mark: rows ids[n] of tensor have a gradient (sparse_rows.h).
 * lv_reducer_rows_close: no more rows are marked in this reduce-scatter. */
void lv_reducer_rows_mark(lv_reducer *reducer, const lv_tensor *tensor, const int32_t *ids,
                          int64_t n);
void lv_reducer_rows_close(lv_reducer *reducer);

/* lv_reducer_wait: until the buckets of the first n positions are done.
 * lv_reducer_wait_all: until the collective is complete, and another may begin.
 * fails  LV_ERR_COMM, also of an earlier collective */
int lv_reducer_wait(lv_reducer *reducer, int64_t n);
int lv_reducer_wait_all(lv_reducer *reducer);

/* lv_reducer_waited_s: time that the main thread has waited since the last call. */
double lv_reducer_waited_s(lv_reducer *reducer);

#endif
