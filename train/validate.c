/* SPDX-License-Identifier: Apache-2.0 */
#include "train/validate.h"

#include "autograd/error.h"

#include <math.h>

static int add_losses(lv_loader *loader, const lv_loader_options *options, lv_llava *model,
                      lv_tape *tape, double sums[2])
{
    lv_step_head head;
    int rc;
    while ((rc = lv_loader_next_step(loader, &head)) > 0) {
        for (int64_t i = 0; i < head.n_micro_batches; i++) {
            const lv_batch *batch;
            double loss_sum = 0, wait_s = 0;
            rc = lv_loader_next_batch(loader, &batch, &wait_s);
            if (rc == LV_OK) {
                rc = lv_batch_check_ids(batch, options->packs, options->n_packs,
                                        lv_llava_config_of(model)->text.vocab_size);
            }
            if (rc < 0) {
                return rc;
            }
            lv_tape_reset(tape);
            lv_llava_loss(model, tape, batch, &loss_sum);
            sums[0] += loss_sum;
            sums[1] += (double)batch->n_supervised;
        }
    }
    return rc;
}

int lv_validate(double *loss, int64_t *n_supervised, lv_llava *model, lv_tape *tape,
                const lv_comm *comm, const lv_loader_options *options)
{
    lv_loader_options once = *options;
    lv_loader *loader = NULL;
    double sums[2] = {0, 0};
    once.sampler.shuffle = once.sampler.group_by_modality_length = false;
    once.first_step = 0;
    once.n_steps = lv_sampler_steps_per_epoch(&once.sampler);
    int rc = lv_loader_create(&loader, &once);
    if (rc == LV_OK) {
        bool recording = lv_tape_recording_set(tape, false);
        rc = add_losses(loader, options, model, tape, sums);
        lv_tape_recording_set(tape, recording);
        lv_loader_destroy(&loader);
    }
    rc = lv_comm_agree(comm, rc);
    if (rc == LV_OK) rc = lv_comm_sum_double(comm, sums, 2);
    if (rc == LV_OK) {
        *loss = sums[1] > 0 ? sums[0] / sums[1] : NAN;
        *n_supervised = (int64_t)sums[1];
    }
    return rc;
}
