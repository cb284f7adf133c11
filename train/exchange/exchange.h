/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_exchange: what ranks send each other in a step: gradients to the rank that owns them, which
 * sums them (a reduce-scatter), and new weights from their owner to all (an all-gather). Bucket by
 * bucket (see shard.h), each summed in a fixed order of ranks: the same bits in whatever order
 * messages arrive.
 *
 * With overlap a thread sends and receives while the main thread computes: gradients as soon as the
 * backward pass of the last micro-batch has completed them, weights until the next forward pass
 * reads them. Without, the main thread waits for both.
 *
 * A rank sends (n_ranks - 1) / n_ranks of all trainable elements twice a step, in the wire's dtype
 * and in that of the working weights; of an embedding's gradient the rows of the step's tokens
 * (sparse_rows.h).
 */
#ifndef LV_TRAIN_EXCHANGE_EXCHANGE_H
#define LV_TRAIN_EXCHANGE_EXCHANGE_H

#include "autograd/tape.h"
#include "train/cluster/comm.h"
#include "train/model/params/params.h"

typedef struct lv_exchange lv_exchange;

/* wire: dtype of gradients as they are sent: LV_F32, or LV_BF16: rounded once, by the sender. They
 * are summed in f32, and the owner's own are not rounded. */
typedef struct {
    lv_dtype wire;
    bool overlap;
} lv_exchange_options;

/* lv_exchange_create: collective; a single rank exchanges nothing.
 * in     params outlive it. Overlap needs an MPI that lets any thread call it (comm->any_thread).
 * fails  LV_ERR_MEMORY, LV_ERR_COMM */
int lv_exchange_create(lv_exchange **out, const lv_comm *comm, lv_params *params,
                       const lv_exchange_options *options);

/* lv_exchange_destroy: collective if nothing failed; completes what has begun. */
void lv_exchange_destroy(lv_exchange **exchange);

bool lv_exchange_overlaps(const lv_exchange *exchange);

/* lv_exchange_bytes: its buffers, for what is received and what is packed. */
int64_t lv_exchange_bytes(lv_params *params, lv_dtype wire);

/* lv_exchange_owner: the hooks for a tape's owner of parameters: in forward passes they wait for
 * weights, in backward passes they mark sparse rows, and in that of the rank's last micro-batch
 * (last) they begin to send gradients. */
lv_tape_owner lv_exchange_owner(lv_exchange *exchange, bool last);

/* lv_exchange_grads: collective, after all gradients of the step (lv_params_grad_end).
 * out    the gradients of the rank's own shards: sums over all ranks; others are undefined
 * fails  LV_ERR_COMM */
int lv_exchange_grads(lv_exchange *exchange);

/* lv_exchange_weights: collective: all ranks get the new values of each rank's own shards. update
 * computes those of the rank's shard of one bucket, which may then be sent while it computes the
 * next; NULL: all are computed. With overlap it returns without waiting, and the tape's ops wait
 * for what they read. */
typedef void lv_exchange_update(void *context, int64_t bucket);
int lv_exchange_weights(lv_exchange *exchange, lv_exchange_update *update, void *context);

/* lv_exchange_finish: waits for all weights.
 * fails  LV_ERR_COMM, also of what failed since lv_exchange_weights */
int lv_exchange_finish(lv_exchange *exchange);

/* lv_exchange_waited_s: time that the main thread has waited since the last call, without
 * lv_exchange_finish, which comes between steps. */
double lv_exchange_waited_s(lv_exchange *exchange);

#endif
