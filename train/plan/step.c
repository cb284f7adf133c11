/* SPDX-License-Identifier: Apache-2.0 */
#include "train/plan/step.h"

#include "data/base/clock.h"

#include <math.h>
#include <stdio.h>

static const double BACKWARD_SHARE = 2.0 / 3;
static const double UPDATE_BYTES = 34; /* w, m, v read and written; gradient read twice; bf16 */
static const double ADD_BYTES = 8;     /* besides the received bytes: a float read and written */
static const double FIXED_S = 0.002;
static const double N_AGREEMENTS = 3;

/* The part of a communication that is hidden behind `share` of a computation. One bucket never is:
 * the last to be complete, or the first to be read. */
static double hidden_s(double communication_s, double flop, double share,
                       const lv_step_traffic *traffic, double flop_per_s)
{
    const double but_one_bucket = 1 - 1 / (double)traffic->n_buckets;
    return traffic->hidden
               ? fmin(communication_s * but_one_bucket, flop / flop_per_s * share * but_one_bucket)
               : 0;
}

/* Elements of an embedding without a gradient, if all text tokens of a step differ. */
static double elements_not_sent(const lv_step_mean *work, const lv_step_traffic *traffic)
{
    return fmax(0, (double)traffic->n_rows - work->text_rows) * (double)traffic->row_params;
}

lv_step_plan lv_step_plan_of(const lv_step_mean *work, const lv_step_traffic *traffic,
                             const lv_machine *machine)
{
    const double N = machine->n_ranks, L = machine->ranks_per_node;
    const double P = (double)traffic->n_params, G = P - elements_not_sent(work, traffic),
                 K = (double)traffic->n_buckets;
    const double rank_flop_per_s = machine->flop_per_s / L;
    const double rank_memory_bytes_per_s = machine->memory_bytes_per_s / L;
    const double to_others = (N - L) / N, to_own = (L - 1) / N;
    lv_step_plan p = {.sent_grad_bytes = G * traffic->wire_bytes * (to_others + to_own),
                      .sent_weight_bytes = P * traffic->weight_bytes * (to_others + to_own),
                      .link_bytes =
                          L * (G * traffic->wire_bytes + P * traffic->weight_bytes) * to_others};
    p.compute_s = work->slowest_flop / rank_flop_per_s;
    if (N > L) {
        const double waits_s = K * (N - L) * machine->latency_s;
        const double links_s = L * to_others / machine->link_bytes_per_s; /* a byte of each rank */
        p.grads_s = G * traffic->wire_bytes * links_s + waits_s;
        p.weights_s = P * traffic->weight_bytes * links_s + waits_s;
        p.grads_hidden_s =
            hidden_s(p.grads_s, work->last_flop, BACKWARD_SHARE, traffic, rank_flop_per_s);
        p.weights_hidden_s =
            hidden_s(p.weights_s, work->first_flop, 1 - BACKWARD_SHARE, traffic, rank_flop_per_s);
        p.fixed_s = N_AGREEMENTS * machine->latency_s * log2(N);
    }
    if (N > 1) {
        p.local_s =
            L * (G * traffic->wire_bytes + P * traffic->weight_bytes) * to_own /
                machine->local_bytes_per_s +
            L * G * (traffic->wire_bytes + ADD_BYTES) * (N - 1) / N / machine->memory_bytes_per_s;
    }
    p.update_s = P / N * UPDATE_BYTES / rank_memory_bytes_per_s;
    p.fixed_s += FIXED_S;
    p.step_s = p.compute_s + p.grads_s - p.grads_hidden_s + p.weights_s - p.weights_hidden_s +
               p.local_s + p.update_s + p.fixed_s;
    p.single_s =
        work->all_flop / rank_flop_per_s + P * UPDATE_BYTES / rank_memory_bytes_per_s + FIXED_S;
    p.efficiency = p.single_s / (N * p.step_s);
    p.tokens_per_s = work->rows / p.step_s;
    return p;
}

static void print_seconds(const char *what, double seconds, const char *about)
{
    printf("  %-26s %8.3f s%s%s\n", what, seconds, *about ? "  " : "", about);
}

void lv_step_plan_print(const lv_step_plan *p, const lv_step_mean *work, const lv_machine *machine)
{
    const double mean_flop = work->all_flop / machine->n_ranks;
    char about[256], bytes[32];
    printf("what a rank sends in a step\n");
    printf("  %-26s %10s\n", "gradients", lv_bytes_text(bytes, (int64_t)p->sent_grad_bytes));
    printf("  %-26s %10s\n", "new weights", lv_bytes_text(bytes, (int64_t)p->sent_weight_bytes));
    printf("  %-26s %10s  each way\n", "over the link of a node",
           lv_bytes_text(bytes, (int64_t)p->link_bytes));
    printf("a step, by the model (llava train --help), not measured\n");
    snprintf(about, sizeof about,
             "slowest rank, %.3g TFLOP, %.3g on average; %.4g GFLOP/s a node, %d rank%s",
             1e-12 * work->slowest_flop, 1e-12 * mean_flop, 1e-9 * machine->flop_per_s,
             machine->ranks_per_node, machine->ranks_per_node == 1 ? "" : "s");
    print_seconds("compute", p->compute_s, about);
    snprintf(about, sizeof about, "and %.3f s behind the backward pass", p->grads_hidden_s);
    print_seconds("gradients to their owners", p->grads_s - p->grads_hidden_s, about);
    snprintf(about, sizeof about, "and %.3f s behind the forward pass", p->weights_hidden_s);
    print_seconds("new weights to all", p->weights_s - p->weights_hidden_s, about);
    print_seconds("within a node", p->local_s, "both, copied and added by its cores");
    print_seconds("update", p->update_s, "of the part that a rank owns");
    print_seconds("fixed", p->fixed_s, "");
    print_seconds("the step", p->step_s, "");
    printf("  %-26s %10.0f\n", "tokens/s", p->tokens_per_s);
    printf("  %-26s %9.0f%%  of %d such ranks, one by itself taking %.3f s\n", "efficiency",
           100 * p->efficiency, machine->n_ranks, p->single_s);
}
