/* SPDX-License-Identifier: Apache-2.0
 *
 * identity: the tower's features enter the language model as they are.
 */
#include "train/model/connector/connector.h"

#include "autograd/error.h"

#include <inttypes.h>

static int check_sizes(const lv_connector_config *c)
{
    return c->in_size == c->out_size
               ? LV_OK
               : lv_fail(LV_ERR_CONFIG,
                         "projector identity needs equal sizes: the vision tower's hidden_size is "
                         "%" PRId64 ", the language model's %" PRId64,
                         c->in_size, c->out_size);
}

static lv_tensor *forward(const void *state, lv_tape *tape, lv_tensor *x, int64_t I)
{
    (void)state;
    (void)tape;
    (void)I;
    return x;
}

const lv_connector_kind lv_connector_kind_identity = {
    .name = "identity", .check = check_sizes, .forward = forward};
