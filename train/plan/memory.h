/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory of a run, planned from its configuration: its largest micro-batch is run on a dry tape,
 * through a model without values. Nothing is written, and no weight is read.
 */
#ifndef LV_TRAIN_PLAN_MEMORY_H
#define LV_TRAIN_PLAN_MEMORY_H

#include "train/config/config.h"
#include "train/model/params/params.h"
#include "train/plan/step.h"

enum { LV_PLAN_NOTE_BYTES = 4096 };

/* lv_memory_plan: the peak of the rank with the highest. Anonymous memory is each rank's own; mapped bytes lie in the page cache, once a node; copied ones are shared. */
typedef struct {
    int n_ranks, ranks_per_node;
    lv_params_memory params;
    lv_weights_place place; /* copied_bytes: once a node, or once a socket */
    lv_dtype moments;       /* of AdamW */
    int64_t moments_bytes;
    int64_t activation_bytes; /* the step arena: activations, their gradients, scratch */
    int64_t read_ahead_bytes; /* micro-batches in the loader */
    int64_t comm_bytes;       /* buffers for gradients of other ranks */
    int64_t process_bytes;    /* libraries, threads, packs; measured here */
    int64_t anon_bytes;       /* the sum of all that is not mapped */
    int64_t copy_bytes;       /* besides, for a checkpoint, if the node has it */
    int64_t n_rows, n_images, n_supervised; /* of the largest micro-batch */
    double flop;                            /* of its matrix products, forward and backward */
    lv_step_traffic traffic;
    char notes[LV_PLAN_NOTE_BYTES]; /* lines: assumptions, possible savings; "" if there are none */
} lv_memory_plan;

/* lv_memory_plan_make: plan a run of n_ranks, ranks_per_node of them on each node. With the packs
 * there the micro-batches are those of the run; without, the largest that the budgets allow.
 * Missing weights are taken to have the dtype of config.json, or bf16. On one rank.
 * in     *work: {0}
 * out    work: of its steps (work.h); NULL: not counted
 * tolerance  10% of the peak of RssAnon
 * fails  as lv_setup_open_plan */
int lv_memory_plan_make(lv_memory_plan *out, lv_step_work *work, const lv_config *config,
                        int n_ranks, int ranks_per_node);

void lv_memory_plan_print(const lv_memory_plan *plan);

#endif
