/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_mover: moves all buckets between the ranks, one move at a time: gradients in the order in
 * which a backward pass is done with them, from the last flat element that is read in bf16 to the
 * first, then what is read in f32; weights the other way round, as a forward pass needs them. What
 * lv_exchange is made of; a bucket's own way is exchange_flight.h.
 *
 * With a thread of its own it moves them while the main thread computes; without, whoever waits
 * does. Functions are for the main thread.
 */
#ifndef LV_TRAIN_EXCHANGE_REDUCER_H
#define LV_TRAIN_EXCHANGE_REDUCER_H

#include "train/exchange/exchange.h"
#include "train/exchange/pending.h"

typedef struct lv_mover lv_mover;

/* lv_mover_create: collective. With a thread, if the options ask for overlap and MPI allows it.
 * fails  LV_ERR_MEMORY, LV_ERR_COMM */
int lv_mover_create(lv_mover **out, const lv_comm *comm, lv_params *params,
                    const lv_exchange_options *options);

/* lv_mover_destroy: collective if nothing failed: the thread ends the move that has begun. */
void lv_mover_destroy(lv_mover **mover);

/* lv_mover_bytes: the memory that it takes. */
int64_t lv_mover_bytes(lv_params *params, lv_dtype wire);

bool lv_mover_is_threaded(const lv_mover *mover);

/* lv_mover_position: of a bucket in such a move. lv_mover_bucket: the one at a position. */
int64_t lv_mover_position(const lv_mover *mover, lv_move move, int64_t bucket);
int64_t lv_mover_bucket(const lv_mover *mover, lv_move move, int64_t position);

/* lv_mover_move: the present one, or the last. */
lv_move lv_mover_move(const lv_mover *mover);

/* lv_mover_begin: a move, when the one before is over; all ranks begin the same. No bucket may
 * travel.
 * lv_mover_ready_set: those of the first n_ready positions may. */
void lv_mover_begin(lv_mover *mover, lv_move move);
void lv_mover_ready_set(lv_mover *mover, int64_t n_ready);

/* lv_mover_rows_mark: a gradient of tensor reaches rows ids[n] (touched_rows.h).
 * lv_mover_rows_close: of this move of gradients that was all. */
void lv_mover_rows_mark(lv_mover *mover, const lv_tensor *tensor, const int32_t *ids, int64_t n);
void lv_mover_rows_close(lv_mover *mover);

/* lv_mover_wait: until the buckets of the first n positions have landed.
 * lv_mover_wait_all: until the move is over, and another may begin.
 * fails  LV_ERR_COMM, also of an earlier move */
int lv_mover_wait(lv_mover *mover, int64_t n);
int lv_mover_wait_all(lv_mover *mover);

/* lv_mover_waited_s: how long the main thread has waited since it was asked last. */
double lv_mover_waited_s(lv_mover *mover);

#endif
