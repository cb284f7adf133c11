/* SPDX-License-Identifier: Apache-2.0
 *
 * The time of a step on a cluster, by a model that fits on this page. N ranks, L of them on each
 * node; P trainable parameters, each w bytes as a gradient on the wire and v bytes as a new weight;
 * G of them with a gradient that is sent: of an embedding at most a row for each text token of a
 * step; F and M: floating-point operations and bytes of memory a second, of a node; B: bytes a
 * second of a node's link, each way; C: bytes a second that ranks of a node send each other, all
 * together; t: latency of a message; K buckets. Of what a rank sends, the share f = (N - L) / N goes
 * to other nodes, l = (L - 1) / N stays on its own.
 *
 *   compute   FLOP of the slowest rank / (F / L): the ranks of a node share its cores evenly
 *   gradients L G w f / B + t K (N - L): to their owners, bucket by bucket; all but the last bucket
 *             hidden behind the last micro-batch's backward pass after the first bucket is complete,
 *             2/3 (1 - 1 / K) of its time
 *   weights   L P v f / B + t K (N - L): the new ones, to all; all but the first bucket hidden
 *             behind the forward pass of the next step's first micro-batch, 1/3 (1 - 1 / K) of its
 *             time
 *   local     L (G w + P v) l / C, and L G (w + 8) (N - 1) / N / M for the sums: by cores that could
 *             compute, so never hidden
 *   update    34 bytes for each of P / N owned elements, / (M / L): AdamW, the gradients' norm
 *   fixed     2 ms and 3 t log2 N: agreements, the sums of losses, the line of metrics
 *
 * Nothing is hidden without overlap, or if the language model is frozen: parts before it have their
 * gradients last and their weights are read first.
 *
 *   step      compute + gradients and weights that are not hidden + local + update + fixed
 *   efficiency  a step of one such rank by itself / (N step); the same global batch
 *
 * Not modelled: waits for data, validation, checkpoints, other jobs, a network whose core is
 * narrower than its links.
 */
#ifndef LV_TRAIN_PLAN_STEP_H
#define LV_TRAIN_PLAN_STEP_H

#include "train/plan/work.h"

/* lv_machine: see above. */
typedef struct {
    int n_ranks, ranks_per_node; /* a multiple of it */
    double flop_per_s;           /* attained in training, not a peak */
    double memory_bytes_per_s;
    double link_bytes_per_s, latency_s; /* not used if there is one node */
    double local_bytes_per_s;
} lv_machine;

/* lv_step_traffic: the elements that are sent. */
typedef struct {
    int64_t n_params;
    int64_t n_rows, row_params;   /* of an embedding with sparse rows; 0: none */
    int wire_bytes, weight_bytes; /* of an element: gradient, new weight */
    int64_t n_buckets;
    bool hidden; /* in part, see above */
} lv_step_traffic;

typedef struct {
    double sent_grad_bytes, sent_weight_bytes;                              /* by a rank */
    double link_bytes;                                                      /* out of a node */
    double compute_s, grads_s, grads_hidden_s, weights_s, weights_hidden_s; /* hidden: of it */
    double local_s, update_s, fixed_s;
    double step_s, single_s; /* single: one rank by itself */
    double efficiency, tokens_per_s;
} lv_step_plan;

lv_step_plan lv_step_plan_of(const lv_step_mean *work, const lv_step_traffic *traffic,
                             const lv_machine *machine);

void lv_step_plan_print(const lv_step_plan *plan, const lv_step_mean *work,
                        const lv_machine *machine);

#endif
