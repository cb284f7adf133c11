/* SPDX-License-Identifier: Apache-2.0
 *
 * Thirty steps of AdamW with warm-up, cosine and clipping, against PyTorch in f64: stage 1, stage
 * 2, and stage 2 with weight decay; each step as one micro-batch and as one a sample.
 */
#include "autograd/kernels/parallel.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "golden.h"
#include "optim/adamw.h"
#include "optim/schedule.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const double LOSS_TOLERANCE = 1e-5, CHANGE_TOLERANCE = 1e-3, SPLIT_TOLERANCE = 1e-6;
enum { MAX_STEPS = 64 };

typedef struct {
    cJSON *json;
    lv_weights *changes;
    const char *trainable[4];
    size_t n_trainable;
    int steps, batch;
    lv_schedule schedule;
    lv_adamw hyper; /* lr is the peak */
    double max_grad_norm;
} run;

typedef struct {
    golden g;
    lv_llava *model;
    lv_tape *tape;
    lv_real *m, *v, *before;
    double losses[MAX_STEPS];
} trainer;

static void run_open(run *r, const golden *g, const char *name)
{
    const cJSON *glob;
    *r = (run){0};
    char *path = lv_path("%s/run_%s.json", g->dir, name);
    golden_ok(lv_json_read(&r->json, path));
    free(path);
    path = lv_path("%s/run_%s.safetensors", g->dir, name);
    golden_ok(lv_weights_open(&r->changes, path));
    free(path);
    cJSON_ArrayForEach (glob, lv_json_find(r->json, "trainable")) {
        r->trainable[r->n_trainable++] = glob->valuestring;
    }
    r->steps = (int)golden_number(r->json, "steps", -1);
    r->batch = (int)golden_number(r->json, "batch", -1);
    r->schedule = (lv_schedule){LV_SCHEDULE_COSINE, r->steps,
                                (int64_t)golden_number(r->json, "warmup_steps", -1)};
    r->hyper = (lv_adamw){
        .lr = golden_number(r->json, "lr", -1),
        .beta1 = golden_number(r->json, "betas", 0),
        .beta2 = golden_number(r->json, "betas", 1),
        .eps = golden_number(r->json, "eps", -1),
        .weight_decay = golden_number(r->json, "weight_decay", -1),
    };
    r->max_grad_norm = golden_number(r->json, "max_grad_norm", -1);
    assert_true(r->steps <= MAX_STEPS);
}

static void run_close(run *r)
{
    lv_weights_close(&r->changes);
    cJSON_Delete(r->json);
}

static void trainer_open(trainer *t, const run *r, bool recompute)
{
    t->model = golden_model(&t->g, r->trainable, r->n_trainable, recompute, LV_PRECISION_F32);
    t->tape = NULL;
    golden_ok(lv_tape_create(&t->tape, 0));
    lv_params *params = lv_llava_params(t->model);
    const size_t n = (size_t)lv_params_flat_count(params);
    t->m = calloc(n, sizeof *t->m);
    t->v = calloc(n, sizeof *t->v);
    t->before = calloc(n, sizeof *t->before);
    memcpy(t->before, lv_params_master(params, &lv_params_shard(params)->own[0]),
           n * sizeof *t->before);
}

static void trainer_close(trainer *t)
{
    free(t->m);
    free(t->v);
    free(t->before);
    lv_tape_destroy(&t->tape);
    lv_llava_close(&t->model);
}

/* Gradients of a step's summed loss, in n_parts micro-batches. returns the mean loss. */
static double accumulate(trainer *t, const run *r, int step, int n_parts, int64_t *n_supervised)
{
    lv_params *params = lv_llava_params(t->model);
    double sum = 0;
    memset(lv_params_flat_grad(params), 0, (size_t)lv_params_flat_count(params) * sizeof(lv_real));
    *n_supervised = 0;
    for (int part = 0; part < n_parts; part++) {
        const int count = r->batch / n_parts;
        int samples[16];
        double loss_sum = 0;
        lv_batch batch;
        for (int j = 0; j < count; j++) {
            samples[j] = (r->batch * step + part * count + j) % t->g.n_samples;
        }
        golden_batch(&batch, &t->g, t->model, samples, count);
        lv_backward(t->tape, lv_llava_loss(t->model, t->tape, &batch, &loss_sum));
        sum += loss_sum;
        *n_supervised += batch.n_supervised;
        lv_tape_reset(t->tape);
        golden_batch_free(&batch);
    }
    return sum / (double)*n_supervised;
}

static void update(trainer *t, const run *r, int step, double grad_scale)
{
    lv_params *params = lv_llava_params(t->model);
    lv_real *w = lv_params_master(params, &lv_params_shard(params)->own[0]);
    const lv_real *grad = lv_params_flat_grad(params);
    for (size_t i = 0; i < lv_params_count(params); i++) {
        const lv_param *param = lv_params_at(params, i);
        lv_adamw hyper = r->hyper;
        hyper.lr *= lv_schedule_factor(&r->schedule, step);
        hyper.weight_decay = param->decay ? r->hyper.weight_decay : 0;
        if (param->trainable) {
            const int64_t at = param->offset;
            lv_adamw_step(w + at, t->m + at, t->v + at, NULL, grad + at,
                          lv_tensor_count(&param->tensor), &hyper, grad_scale, step + 1);
        }
    }
}

static void compare_changes(const trainer *t, const run *r)
{
    lv_params *params = lv_llava_params(t->model);
    size_t n_compared = 0;
    for (size_t i = 0; i < lv_params_count(params); i++) {
        const lv_param *param = lv_params_at(params, i);
        int64_t n = 0;
        float *want = golden_values(r->changes, param->name, &n);
        assert_int_equal(want != NULL, param->trainable);
        if (!want) {
            continue;
        }
        lv_real *change = calloc((size_t)n, sizeof *change);
        for (int64_t e = 0; e < n; e++) {
            change[e] = lv_tensor_real(&param->tensor)[e] - t->before[param->offset + e];
        }
        double error = golden_error(change, want, n, 0);
        if (!(error <= CHANGE_TOLERANCE)) {
            fail_msg("change of %s is apart by %.2e", param->name, error);
        }
        free(change);
        free(want);
        n_compared++;
    }
    assert_int_equal(n_compared, lv_weights_count(r->changes));
}

static void train(trainer *t, const run *r, int n_parts)
{
    lv_params *params = lv_llava_params(t->model);
    for (int step = 0; step < r->steps; step++) {
        int64_t n_supervised = 0;
        double loss = accumulate(t, r, step, n_parts, &n_supervised);
        double norm =
            sqrt(lv_sum_squares(lv_params_flat_grad(params), lv_params_flat_count(params))) /
            (double)n_supervised;
        double want_loss = golden_number(r->json, "losses", step);
        double want_norm = golden_number(r->json, "grad_norms", step);
        if (!(fabs(loss / want_loss - 1) <= LOSS_TOLERANCE) ||
            !(fabs(norm / want_norm - 1) <= 10 * LOSS_TOLERANCE)) {
            fail_msg("step %d: loss %.9g, reference %.9g; gradient norm %.9g, reference %.9g", step,
                     loss, want_loss, norm, want_norm);
        }
        t->losses[step] = loss;
        update(t, r, step, lv_clip_factor(norm, r->max_grad_norm) / (double)n_supervised);
    }
    compare_changes(t, r);
}

/* The reference's 30 steps, in one micro-batch and in four, which must also agree closely. */
static void compare(const char *name)
{
    trainer whole, split;
    run r;
    golden_open(&whole.g, "gqa");
    split.g = whole.g;
    run_open(&r, &whole.g, name);
    trainer_open(&whole, &r, false);
    train(&whole, &r, 1);
    trainer_open(&split, &r, true);
    train(&split, &r, r.batch);
    for (int step = 0; step < r.steps; step++) {
        double apart = fabs(split.losses[step] / whole.losses[step] - 1);
        if (!(apart <= SPLIT_TOLERANCE)) {
            fail_msg("step %d: losses of 1 and %d micro-batches are apart by %.2e", step, r.batch,
                     apart);
        }
    }
    trainer_close(&split);
    trainer_close(&whole);
    run_close(&r);
    golden_close(&whole.g);
}

static void stage_1_follows_pytorch_for_30_steps(void **state)
{
    (void)state;
    compare("stage1");
}

static void stage_2_follows_pytorch_for_30_steps(void **state)
{
    (void)state;
    compare("stage2");
}

static void stage_2_with_weight_decay_follows_pytorch_for_30_steps(void **state)
{
    (void)state;
    compare("stage2_decay");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stage_1_follows_pytorch_for_30_steps),
        cmocka_unit_test(stage_2_follows_pytorch_for_30_steps),
        cmocka_unit_test(stage_2_with_weight_decay_follows_pytorch_for_30_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
