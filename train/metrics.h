/* SPDX-License-Identifier: Apache-2.0
 *
 * The metrics of a run: metrics.jsonl, a line a step, and one live line on a terminal. For rank 0.
 */
#ifndef LV_TRAIN_METRICS_H
#define LV_TRAIN_METRICS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int64_t step, epoch; /* step: 1 for the first; epoch from 0 */
    double loss, lr, grad_norm;
    int64_t tokens, supervised_tokens; /* rows of the global batch; images expanded */
    int64_t unlabelled_samples;        /* without a label within the length limit */
    uint64_t samples_hash;
    double mfu; /* share of the measured bf16 rate; NaN if none was measured */
    double step_s, data_wait_s, comm_wait_s;                 /* waits: the longest of any rank */
    int64_t rss_anon_bytes, rss_file_bytes, rss_shmem_bytes; /* each the largest of any rank */
    bool applied; /* false: loss or gradient was not finite, the weights did not change */
} lv_step_metrics;

typedef struct lv_metrics lv_metrics;

/* lv_metrics_check: run_dir/metrics.jsonl is not there, or of a run: empty, or its first whole line is
 * one that a run writes.
 * fails  LV_ERR_CONFIG; LV_ERR_IO */
int lv_metrics_check(const char *run_dir);

/* lv_metrics_open: append to run_dir/metrics.jsonl. Lines of steps after `steps_done` (of a run that
 * ended after its last checkpoint) are moved to metrics.dropped.jsonl, with a message if steps_done
 * is 0.
 * in     n_steps: of the whole run, for the ETA; log_every_steps: for a log that is no terminal;
 *        continue_on_error: lines that cannot be written (a full disk) are kept in memory, with a
 *        warning, and written later; otherwise they are a failure
 * fails  LV_ERR_IO */
int lv_metrics_open(lv_metrics **out, const char *run_dir, int64_t steps_done, int64_t n_steps,
                    int64_t log_every_steps, bool continue_on_error);

/* lv_metrics_close: fails  LV_ERR_IO if lines in memory cannot be written */
int lv_metrics_close(lv_metrics **metrics);

/* Write a line and show it. fails  LV_ERR_IO */
int lv_metrics_step(lv_metrics *metrics, const lv_step_metrics *step);
int lv_metrics_validation(lv_metrics *metrics, int64_t step, double loss, int64_t supervised_tokens,
                          double elapsed_s);

#endif
