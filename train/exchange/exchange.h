/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_exchange: what ranks send each other in a step: gradients to the rank that owns them, which
 * adds them up, and new weights from their owner to all. Bucket by bucket (see shard.h), each in a
 * fixed order of ranks: the same bits whenever what arrives.
 *
 * With overlap a thread of its own moves the buckets while the main thread computes: gradients as
 * soon as the backward pass of the last micro-batch is done with them, weights while the next
 * forward pass comes to need them. Without, the main thread waits for both.
 *
 * A rank sends (n_ranks - 1) / n_ranks of all trainable elements twice a step, in the wire's dtype
 * and in that of the working weights; of an embedding's gradient the touched rows (touched_rows.h).
 */
#ifndef LV_TRAIN_EXCHANGE_EXCHANGE_H
#define LV_TRAIN_EXCHANGE_EXCHANGE_H

#include "autograd/tape.h"
#include "train/cluster/comm.h"
#include "train/model/params/params.h"

typedef struct lv_exchange lv_exchange;

/* wire: of the gradients that travel: LV_F32, or LV_BF16: rounded once, by who sends them; all are
 * added in f32, and what the owner has itself is not rounded. */
typedef struct {
    lv_dtype wire;
    bool overlap;
} lv_exchange_options;

/* lv_exchange_create: collective; with a single rank there is nothing to move.
 * in     params outlive it. Overlap needs an MPI that lets any thread call it (comm->any_thread).
 * fails  LV_ERR_MEMORY, LV_ERR_COMM */
int lv_exchange_create(lv_exchange **out, const lv_comm *comm, lv_params *params,
                       const lv_exchange_options *options);

/* lv_exchange_destroy: collective if nothing failed; waits for what is under way. */
void lv_exchange_destroy(lv_exchange **exchange);

bool lv_exchange_overlaps(const lv_exchange *exchange);

/* lv_exchange_bytes: the memory that it takes: buffers for what arrives and what is packed. */
int64_t lv_exchange_bytes(lv_params *params, lv_dtype wire);

/* lv_exchange_owner: what a tape tells it; for the forward passes, which wait for weights, the
 * backward passes, which touch rows, and with last true for the backward pass of the rank's last
 * micro-batch, which finishes gradients. */
lv_tape_owner lv_exchange_owner(lv_exchange *exchange, bool last);

/* lv_exchange_grads: collective: when all gradients of the step are there (lv_params_grad_end):
 * those of the rank's own pieces are the sums over all ranks, others undefined. fails  LV_ERR_COMM
 */
int lv_exchange_grads(lv_exchange *exchange);

/* lv_exchange_weights: collective: all ranks get the new values of each rank's own pieces. Bucket
 * by bucket update gives the rank's piece of it the new value, then that may travel while it gives
 * others theirs; NULL: they have them. With overlap it returns without waiting, and the tape's ops
 * wait for what they read. */
typedef void lv_exchange_update(void *context, int64_t bucket);
int lv_exchange_weights(lv_exchange *exchange, lv_exchange_update *update, void *context);

/* lv_exchange_finish: until all weights have arrived.
 * fails  LV_ERR_COMM, also of what failed since lv_exchange_weights */
int lv_exchange_finish(lv_exchange *exchange);

/* lv_exchange_waited_s: how long the main thread has waited in all of these but lv_exchange_finish,
 * which is called between steps, since it was asked last. */
double lv_exchange_waited_s(lv_exchange *exchange);

#endif
