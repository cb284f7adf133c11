/* SPDX-License-Identifier: Apache-2.0
 *
 * linear:     W0 x + b0
 * mlpNx_gelu: the same, then N-1 times W gelu(.) + b, with the exact gelu. The indices of the
 *             names count the gelus too, as torch's Sequential does.
 * source Liu et al. 2023, arXiv:2304.08485 and arXiv:2310.03744
 */
#include "train/model/connector/connector.h"

#include "autograd/error.h"
#include "autograd/ops.h"
#include "train/model/params/dense.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 16, DEPTH = 0 /* of config->own: layers */ };

typedef struct {
    int64_t depth;
    lv_dense layers[MAX_DEPTH];
} mlp_state;

static bool parse_linear(lv_connector_config *config, const char *type)
{
    config->own[DEPTH] = 1;
    return strcmp(type, "linear") == 0;
}

static void print_mlp(char *buf, size_t bytes, const lv_connector_config *config)
{
    snprintf(buf, bytes, "mlp%dx_gelu", (int)config->own[DEPTH]);
}

static bool parse_mlp(lv_connector_config *config, const char *type)
{
    char again[32];
    const long depth = strncmp(type, "mlp", 3) == 0 ? strtol(type + 3, NULL, 10) : 0;
    config->own[DEPTH] = depth;
    print_mlp(again, sizeof again, config);
    return depth >= 1 && depth <= MAX_DEPTH && strcmp(again, type) == 0;
}

static int declare(void **state, const lv_connector_config *c, lv_params *params)
{
    mlp_state *mlp = calloc(1, sizeof *mlp);
    if (!mlp) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a projector");
    }
    mlp->depth = c->own[DEPTH];
    for (int i = 0; i < mlp->depth; i++) {
        const int64_t in_size = i == 0 ? c->in_size : c->out_size;
        const lv_init init = {LV_INIT_UNIFORM, 1 / sqrt((double)in_size)}; /* torch's Linear */
        char prefix[32];
        snprintf(prefix, sizeof prefix, "projector.%d", 2 * i);
        mlp->layers[i] = lv_dense_declare(params, prefix, c->out_size, in_size, true, true, init);
    }
    *state = mlp;
    return LV_OK;
}

static lv_tensor *forward(const void *state, lv_tape *tape, lv_tensor *x, int64_t I)
{
    const mlp_state *mlp = state;
    (void)I;
    x = lv_dense_apply(tape, &mlp->layers[0], x);
    for (int i = 1; i < mlp->depth; i++) {
        lv_tensor *active = lv_gelu(tape, x);
        lv_tape_done(tape, x);
        x = lv_dense_apply(tape, &mlp->layers[i], active);
        lv_tape_done(tape, active);
    }
    return x;
}

/* A single layer may have no index. */
static const lv_name_rule names[] = {{"weight", "0.weight"}, {"bias", "0.bias"}, {NULL, NULL}};
static const lv_name_rule hf_names[] = {{"linear_1.", "0."}, {"linear_2.", "2."}, {NULL, NULL}};

/* transformers has two layers and an activation: with none and an identity that is linear. */
const lv_connector_kind lv_connector_kind_linear = {.name = "linear",
                                                    .parse = parse_linear,
                                                    .declare = declare,
                                                    .forward = forward,
                                                    .names = names,
                                                    .hf_type = "linear",
                                                    .hf_act = "linear",
                                                    .hf_names = hf_names,
                                                    .hf_identity = "linear_2"};
const lv_connector_kind lv_connector_kind_mlp_gelu = {.name = "mlpNx_gelu (N from 1 to 16)",
                                                      .parse = parse_mlp,
                                                      .print = print_mlp,
                                                      .declare = declare,
                                                      .forward = forward,
                                                      .names = names,
                                                      .hf_type = "mlp2x_gelu",
                                                      .hf_act = "gelu",
                                                      .hf_names = hf_names};
