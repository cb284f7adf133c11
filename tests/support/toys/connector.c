/* SPDX-License-Identifier: Apache-2.0
 *
 * everyN: one of N rows, through a linear layer.
 */
#include "train/model/connector/connector.h"

#include "autograd/error.h"
#include "autograd/ops.h"
#include "train/model/params/dense.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { N = 0 /* of config->own */ };

typedef struct {
    int64_t n;
    lv_dense mix;
} toy_state;

static bool parse(lv_connector_config *config, const char *type)
{
    int n = 0;
    const bool ours = sscanf(type, "every%d", &n) == 1 && n > 0;
    config->own[N] = n;
    return ours;
}

static void print(char *buf, size_t bytes, const lv_connector_config *config)
{
    snprintf(buf, bytes, "every%d", (int)config->own[N]);
}

static int64_t rows_out(const lv_connector_config *config, int64_t rows_in)
{
    return (rows_in + config->own[N] - 1) / config->own[N];
}

static int declare(void **state, const lv_connector_config *config, lv_params *params)
{
    toy_state *toy = malloc(sizeof *toy);
    if (!toy) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a toy");
    }
    toy->n = config->own[N];
    toy->mix = lv_dense_declare(params, "projector.mix", config->out_size, config->in_size, true,
                                true, (lv_init){LV_INIT_NORMAL, 1 / sqrt((double)config->in_size)});
    *state = toy;
    return LV_OK;
}

static lv_tensor *forward(const void *state, lv_tape *tape, lv_tensor *x, int64_t I)
{
    const toy_state *toy = state;
    const int64_t rows_in = x->shape[0] / I;
    int32_t *rows = lv_tape_alloc(tape, (size_t)x->shape[0] * sizeof *rows);
    int64_t R = 0;
    for (int64_t t = 0; t < x->shape[0]; t++) {
        if (t % rows_in % toy->n == 0) {
            rows[R++] = (int32_t)t;
        }
    }
    return lv_dense_apply(tape, &toy->mix, lv_select_rows(tape, x, rows, R));
}

static const lv_name_rule names[] = {{"mixing.", "mix."}, {NULL, NULL}};

const lv_connector_kind lv_connector_kind_toy = {.name = "everyN",
                                                 .parse = parse,
                                                 .print = print,
                                                 .rows_out = rows_out,
                                                 .declare = declare,
                                                 .forward = forward,
                                                 .names = names};
