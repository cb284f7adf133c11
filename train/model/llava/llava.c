/* SPDX-License-Identifier: Apache-2.0
 *
 * T rows of a micro-batch, of which Tt are text; I images; R chosen rows; H hidden size.
 */
#include "train/model/llava/llava.h"

#include "autograd/error.h"
#include "autograd/ops.h"
#include "train/model/llava/internal.h"

static bool is_text(const lv_batch *batch, int64_t t)
{
    return batch->source[t] >= 0;
}

/* The connector's output for a batch's images, (I * rows_per_image, H); NULL if there are none. */
static lv_tensor *features_of(lv_llava *model, lv_tape *tape, const lv_batch *batch)
{
    const lv_vision_config *c = &model->config.vision;
    if (batch->n_images == 0) {
        return NULL;
    }
    size_t mark = lv_tape_mark(tape);
    lv_tensor *pixels =
        lv_tape_view(tape, batch->pixels, LV_F32, 4,
                     (int64_t[]){batch->n_images, c->n_channels, c->image_size, c->image_size});
    lv_tensor *x = lv_vision_features(model->vision, tape, pixels, model->recompute);
    x = lv_tape_keep(tape, mark, x);
    x = lv_connector_forward(model->connector, tape, x, batch->n_images);
    return lv_tape_keep(tape, mark, x);
}

/* The embedding runs over text rows only; where it is spliced with the features, source counts
 * the text rows instead of naming tokens. */
lv_tensor *lv_llava_embed(lv_llava *model, lv_tape *tape, const lv_batch *batch)
{
    const int64_t T = batch->seq_start[batch->n_samples];
    int32_t *ids = lv_tape_alloc(tape, (size_t)T * sizeof *ids);
    int32_t *source = lv_tape_alloc(tape, (size_t)T * sizeof *source);
    int32_t Tt = 0;
    for (int64_t t = 0; t < T; t++) {
        source[t] = batch->source[t];
        if (is_text(batch, t)) {
            ids[Tt] = batch->source[t];
            source[t] = Tt++;
        }
    }
    size_t mark = lv_tape_mark(tape);
    lv_tensor *image = Tt < T ? features_of(model, tape, batch) : NULL;
    lv_tensor *text = Tt > 0 ? lv_llama_embed(model->llama, tape, ids, Tt) : NULL;
    lv_tensor *x = text;
    if (Tt < T) {
        LV_CHECK(image, "rows of images in a batch without images");
        x = lv_splice(tape, text, image, source, T);
        lv_tape_done(tape, image);
        if (text) {
            lv_tape_done(tape, text);
        }
    }
    return lv_tape_keep(tape, mark, x);
}

/* returns (R,H): of the chosen rows, before the last norm. */
static lv_tensor *hidden_of_rows(lv_llava *model, lv_tape *tape, const lv_batch *batch,
                                 const int32_t *chosen, int64_t R)
{
    lv_llama_rows *rows = lv_tape_alloc(tape, sizeof *rows);
    *rows = (lv_llama_rows){
        .n_sequences = batch->n_samples,
        .seq_start = batch->seq_start,
        .position = batch->position,
        .wanted = chosen,
        .n_wanted = R,
        .recompute = model->recompute,
    };
    size_t mark = lv_tape_mark(tape);
    lv_tensor *x = lv_llava_embed(model, tape, batch);
    return lv_tape_keep(tape, mark, lv_llama_hidden(model->llama, tape, x, rows));
}

lv_tensor *lv_llava_loss(lv_llava *model, lv_tape *tape, const lv_batch *batch, double *loss_sum)
{
    const int64_t T = batch->seq_start[batch->n_samples], R = batch->n_supervised;
    int32_t *rows = lv_tape_alloc(tape, (size_t)R * sizeof *rows);
    int32_t *labels = lv_tape_alloc(tape, (size_t)R * sizeof *labels);
    lv_real *row_loss = lv_tape_alloc(tape, (size_t)R * sizeof *row_loss);
    int64_t r = 0;
    for (int64_t t = 0; t < T; t++) {
        if (batch->label[t] != LV_NO_LABEL) {
            LV_CHECK(r < R, "more labels than the batch's n_supervised");
            rows[r] = (int32_t)t;
            labels[r++] = batch->label[t];
        }
    }
    LV_CHECK(r == R, "fewer labels than the batch's n_supervised");

    lv_tensor *hidden = hidden_of_rows(model, tape, batch, rows, R);
    lv_tensor *loss = lv_llama_loss(model->llama, tape, hidden, labels, row_loss);
    *loss_sum = 0;
    for (r = 0; r < R; r++) {
        *loss_sum += (double)row_loss[r];
    }
    return loss;
}
