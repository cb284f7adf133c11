/* SPDX-License-Identifier: Apache-2.0
 *
 * identity: the tower's features enter the language model as they are.
 */
#include "train/model/connector/connector.h"

#include "autograd/error.h"

#include <inttypes.h>

static int64_t rows_out(const lv_connector_config *config, int64_t rows_in)
{
    (void)config;
    return rows_in;
}

static int declare(lv_connector *projector, lv_params *params)
{
    (void)params;
    const lv_connector_config *c = &projector->config;
    if (c->in_size != c->out_size) {
        return lv_fail(LV_ERR_CONFIG,
                       "projector identity needs equal sizes: the vision tower's hidden_size is "
                       "%" PRId64 ", the language model's %" PRId64,
                       c->in_size, c->out_size);
    }
    return LV_OK;
}

static lv_tensor *forward(const lv_connector *projector, lv_tape *tape, lv_tensor *x, int64_t I)
{
    (void)projector;
    (void)tape;
    (void)I;
    return x;
}

const lv_connector_ops lv_connector_identity = {rows_out, declare, forward};
