/* SPDX-License-Identifier: Apache-2.0
 *
 * How long a step takes on a cluster, by a model that fits on this page. N ranks, L of them on each
 * node; P trainable parameters, each w bytes as a gradient on the wire and v bytes as a new weight;
 * G of them with a gradient that travels: of an embedding a row for each text token of a step, all
 * of them at most; F and M: floating-point operations and bytes of memory a second, of a node; B:
 * bytes a second of a node's link, each way; C: bytes a second that ranks of a node pass each
 * other, all together; t: latency of a message; K buckets. Of what a rank sends, the share f =
 * (N - L) / N goes to other nodes, l = (L - 1) / N stays on its own.
 *
 *   compute   FLOP of the slowest rank / (F / L): the ranks of a node share its cores evenly
 *   gradients L G w f / B + t K (N - L): to their owners, bucket by bucket; hidden behind what of
 *             the last micro-batch's backward pass comes after the first bucket is whole, 2/3
 *             (1 - 1 / K) of its time, but for the last bucket
 *   weights   L P v f / B + t K (N - L): the new ones, to all; hidden behind the forward pass of
 *             the next step's first micro-batch, 1/3 (1 - 1 / K) of its time, but for the first
 *             bucket
 *   local     L (G w + P v) l / C, and L G (w + 8) (N - 1) / N / M to add up what came: by cores
 *             that could compute, so never hidden
 *   update    34 bytes for each of P / N owned elements, / (M / L): AdamW, the gradients' norm
 *   fixed     2 ms and 3 t log2 N: agreeing, adding the losses, the line in the log
 *
 * Nothing is hidden without overlap, or if nothing of the language model is trained: what comes
 * before it has its gradients last and needs its weights first.
 *
 *   step      compute + what is not hidden of gradients and weights + local + update + fixed
 *   efficiency  a step of one such rank by itself / (N step); the same global batch
 *
 * It knows nothing of waiting for data, validation, checkpoints, other jobs, or a network whose
 * core is narrower than its links.
 */
#ifndef LV_TRAIN_PLAN_STEP_H
#define LV_TRAIN_PLAN_STEP_H

#include "train/plan/work.h"

/* lv_machine: see above. */
typedef struct {
    int n_ranks, ranks_per_node; /* a multiple of it */
    double flop_per_s;           /* that training attains, not a peak */
    double memory_bytes_per_s;
    double link_bytes_per_s, latency_s; /* not used if there is one node */
    double local_bytes_per_s;
} lv_machine;

/* lv_step_traffic: what travels. */
typedef struct {
    int64_t n_params;
    int64_t n_rows, row_params; /* of an embedding whose rows travel one by one; 0: there is none */
    int wire_bytes, weight_bytes; /* of an element: gradient, new weight */
    int64_t n_buckets;
    bool hidden; /* in part, behind computing; see above */
} lv_step_traffic;

typedef struct {
    double sent_grad_bytes, sent_weight_bytes;                              /* by a rank */
    double link_bytes;                                                      /* that leave a node */
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
