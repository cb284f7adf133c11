/* SPDX-License-Identifier: Apache-2.0 */
#include "train/plan/work.h"

#include "autograd/error.h"

static const size_t ADDRESS_BYTES = (size_t)1 << 42; /* of a dry tape: no memory */

/* FLOP of a micro-batch of one sample. */
static int flop_of_one(double *out, lv_llava *model, lv_tape *tape, const lv_vision_input *vision,
                       const lv_plan_sample *sample)
{
    lv_batch batch = {0};
    double loss_sum;
    int rc = lv_plan_batch(&batch, sample, 1, vision);
    if (rc < 0) {
        return rc;
    }
    const double before = lv_tape_flop(tape);
    lv_tape_reset(tape);
    lv_params_grad_begin(lv_llava_params(model));
    lv_backward(tape, lv_llava_loss(model, tape, &batch, &loss_sum));
    lv_batch_free(&batch);
    *out = lv_tape_flop(tape) - before;
    return LV_OK;
}

/* Four unknowns from four samples, of which the first has n_images. */
static int find_cost(lv_flop_cost *out, lv_llava *model, lv_tape *tape,
                     const lv_vision_input *vision, int64_t n_images)
{
    enum { BASE, LONGER, LABELLED, PICTURED, N };
    const int64_t rows = vision->rows_per_image, R = 2 * n_images * rows + 64, S = 8;
    lv_plan_sample samples[N];
    double flop[N] = {0};
    int rc = LV_OK;
    for (int i = 0; i < N; i++) {
        samples[i] = (lv_plan_sample){.n_rows = i == LONGER ? 2 * R : R,
                                      .n_images = i == PICTURED ? 2 * n_images : n_images,
                                      .n_supervised = i == LABELLED ? 2 * S : S};
        samples[i].n_image_rows = samples[i].n_images * rows;
    }
    for (int i = 0; rc == LV_OK && i < N; i++) {
        rc = flop_of_one(&flop[i], model, tape, vision, &samples[i]);
    }
    const double r = (double)R, pairs = r * (r + 1) / 2;
    const double supervised = (flop[LABELLED] - flop[BASE]) / (double)S;
    const double image = n_images > 0 ? (flop[PICTURED] - flop[BASE]) / (double)n_images : 0;
    /* row r + pair pairs = once; row 2 r + pair (2 r)(2 r + 1) / 2 = twice */
    const double rest = supervised * (double)S + image * (double)n_images;
    const double once = flop[BASE] - rest, twice = flop[LONGER] - rest;
    const double pair = (twice - 2 * once) / (r * (2 * r + 1) - 2 * pairs);
    *out = (lv_flop_cost){
        .row = (once - pair * pairs) / r, .pair = pair, .image = image, .supervised = supervised};
    return rc;
}

int lv_flop_costs_find(lv_flop_costs *out, lv_llava *model, const lv_vision_input *vision)
{
    lv_flop_costs costs;
    lv_tape *tape = NULL;
    int rc = lv_tape_create(&tape, ADDRESS_BYTES);
    if (rc < 0) {
        return rc;
    }
    lv_tape_dtype_set(tape, lv_llava_dtype(model));
    lv_tape_dry_set(tape, true);
    rc = find_cost(&costs.text, model, tape, vision, 0);
    if (rc == LV_OK) rc = find_cost(&costs.with_image, model, tape, vision, 1);
    lv_tape_destroy(&tape);
    if (rc == LV_OK) {
        *out = costs;
    }
    return rc;
}

double lv_flop_of(const lv_flop_costs *costs, const lv_plan_sample *samples, int64_t n)
{
    double rows = 0, pairs = 0, images = 0, supervised = 0;
    for (int64_t i = 0; i < n; i++) {
        const double r = (double)samples[i].n_rows;
        rows += r;
        pairs += r * (r + 1) / 2;
        images += (double)samples[i].n_images;
        supervised += (double)samples[i].n_supervised;
    }
    const lv_flop_cost *c = images > 0 ? &costs->with_image : &costs->text;
    return supervised == 0
               ? 0
               : c->row * rows + c->pair * pairs + c->image * images + c->supervised * supervised;
}

static void end_rank(lv_step_work *w)
{
    if (w->now.flop > w->now.most_flop) {
        w->now.most_flop = w->now.flop;
        w->now.most_first_flop = w->now.first_flop;
        w->now.most_last_flop = w->now.last_flop;
    }
    w->now.flop = 0;
}

static void end_step(lv_step_work *w)
{
    end_rank(w);
    w->sum_most_flop += w->now.most_flop;
    w->sum_first_flop += w->now.most_first_flop;
    w->sum_last_flop += w->now.most_last_flop;
    w->now.most_flop = 0;
    w->now.most_first_flop = 0;
    w->now.most_last_flop = 0;
}

void lv_step_work_add(lv_step_work *work, const lv_plan_position *position,
                      const lv_plan_sample *samples, int64_t n)
{
    const bool new_step = work->n_steps == 0 || position->step != work->now.position.step;
    if (new_step && work->n_steps > 0) {
        end_step(work);
    } else if (position->rank != work->now.position.rank) {
        end_rank(work);
    }
    if (work->n_steps == 0) {
        for (; work->n_typical < n && work->n_typical < LV_TYPICAL_SAMPLES; work->n_typical++) {
            work->typical[work->n_typical] = samples[work->n_typical];
        }
    }
    const double flop = lv_flop_of(&work->costs, samples, n);
    work->n_steps += new_step;
    work->now.position = *position;
    work->now.first_flop = work->now.flop == 0 ? flop : work->now.first_flop;
    work->now.flop += flop;
    work->now.last_flop = flop;
    work->sum_flop += flop;
    for (int64_t i = 0; i < n; i++) {
        work->sum_rows += (double)samples[i].n_rows;
        work->sum_text_rows += (double)(samples[i].n_rows - samples[i].n_image_rows);
    }
}

lv_step_mean lv_step_work_mean(lv_step_work *work)
{
    if (work->n_steps == 0) {
        return (lv_step_mean){0};
    }
    end_step(work);
    const double n = (double)work->n_steps;
    return (lv_step_mean){.slowest_flop = work->sum_most_flop / n,
                          .first_flop = work->sum_first_flop / n,
                          .last_flop = work->sum_last_flop / n,
                          .all_flop = work->sum_flop / n,
                          .rows = work->sum_rows / n,
                          .text_rows = work->sum_text_rows / n};
}
