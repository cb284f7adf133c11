/* SPDX-License-Identifier: Apache-2.0 */
#include "train/plan/probe.h"

#include "autograd/error.h"
#include "autograd/kernels/gemm.h"
#include "data/base/clock.h"
#include "optim/adamw.h"
#include "train/model/llava/llava.h"
#include "train/setup.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PASSES = 15, MIN_PASSES = 3 };

static const double PASS_S = 0.3; /* at the rate of the kernel alone */
static const double ALL_S = 1.5;

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double lv_median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, ascending);
    return (x[(n - 1) / 2] + x[n / 2]) / 2;
}

/* ---- memory ---- */

int lv_probe_memory(double *bytes_per_s)
{
    enum { N = 1 << 24, BYTES = 7 * sizeof(lv_real), PASSES = 7 };
    const lv_adamw hyper = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    double seconds[PASSES];
    lv_real *w = calloc((size_t)4 * N, sizeof *w); /* values, two moments, gradient */
    if (!w) {
        return lv_fail(LV_ERR_MEMORY, "no memory to measure the memory's rate with");
    }
    memset(w, 0, (size_t)4 * N * sizeof *w); /* pages of its own */
    for (int i = 0; i < PASSES; i++) {
        const double begin_s = lv_clock_s();
        lv_adamw_step(w, w + N, w + (size_t)2 * N, NULL, w + (size_t)3 * N, N, &hyper, 1, i + 1);
        seconds[i] = lv_clock_s() - begin_s;
    }
    *bytes_per_s = (double)N * BYTES / lv_median(seconds, PASSES);
    free(w);
    return LV_OK;
}

/* ---- the model ---- */

/* How many samples of the typical micro-batch to use: one layer of each kind takes no longer than
 * PASS_S; at least one. */
static int64_t samples_for(const lv_step_work *work, double layer_share, double flop)
{
    int64_t n = work->n_typical;
    while (n > 1 && layer_share * lv_flop_of(&work->costs, work->typical, n) > flop) {
        n--;
    }
    return n;
}

static double pass_s(lv_llava *model, lv_tape *tape, const lv_batch *batch)
{
    double loss_sum;
    lv_params *params = lv_llava_params(model);
    const double begin_s = lv_clock_s();
    lv_tape_reset(tape);
    lv_params_grad_begin(params);
    lv_backward(tape, lv_llava_loss(model, tape, batch, &loss_sum));
    return lv_clock_s() - begin_s;
}

static int measure_passes(lv_probe *out, lv_llava *model, const lv_batch *batch)
{
    lv_tape *tape = NULL;
    double seconds[MAX_PASSES];
    int n = 0, rc = lv_tape_create(&tape, 0);
    if (rc < 0) {
        return rc;
    }
    lv_tape_dtype_set(tape, lv_llava_dtype(model));
    const double first_s = pass_s(model, tape, batch), flop = lv_tape_flop(tape);
    const double begin_s = lv_clock_s();
    for (; n < MIN_PASSES || (n < MAX_PASSES && lv_clock_s() - begin_s + first_s < ALL_S); n++) {
        seconds[n] = pass_s(model, tape, batch);
    }
    lv_tape_destroy(&tape);
    out->flop_per_s = flop / lv_median(seconds, n);
    return LV_OK;
}

static int probe_slice(lv_probe *out, lv_llava *like, const lv_config *config,
                       const lv_step_work *work)
{
    const lv_llava_config *c = lv_llava_config_of(like);
    const double flop = PASS_S * lv_gemm_rate();
    const double thinnest = 1 / (double)c->text.n_layers;
    const int64_t n = samples_for(work, thinnest, flop);
    const double whole_flop = lv_flop_of(&work->costs, work->typical, n);
    lv_vision_input vision;
    lv_llava *model = NULL;
    lv_batch batch = {0};
    if (whole_flop <= 0) {
        return lv_fail(LV_ERR_CONFIG, "the longest samples have nothing supervised: how fast they "
                                      "are trained can not be measured; give --gflops");
    }
    const double share = flop / whole_flop;
    lv_llava_vision_input(like, config->data.image_aspect, &vision);
    int rc = lv_llava_probe(&model, like, config->train.precision, share < 1 ? share : 1);
    if (rc == LV_OK) rc = lv_plan_batch(&batch, work->typical, n, &vision);
    if (rc == LV_OK) {
        const lv_llava_config *thin = lv_llava_config_of(model);
        *out = (lv_probe){.n_rows = batch.seq_start[n],
                          .n_layers = thin->text.n_layers,
                          .n_vision_layers = thin->vision.n_layers};
        rc = measure_passes(out, model, &batch);
    }
    lv_batch_free(&batch);
    lv_llava_close(&model);
    return rc;
}

int lv_probe_model(lv_probe *out, const lv_config *config, const lv_step_work *work)
{
    lv_setup setup = {0};
    const char *no_pack;
    int rc = lv_setup_open_plan(&setup, config, 1, &no_pack);
    if (rc == LV_OK) rc = probe_slice(out, setup.model, config, work);
    lv_setup_close(&setup);
    return rc;
}
