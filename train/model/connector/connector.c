/* SPDX-License-Identifier: Apache-2.0 */
#include "train/model/connector/connector.h"

#include "autograd/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const lv_projector_ops *const kinds[] = {
    [LV_PROJECTOR_LINEAR] = &lv_projector_mlp,
    [LV_PROJECTOR_MLP_GELU] = &lv_projector_mlp,
    [LV_PROJECTOR_IDENTITY] = &lv_projector_identity,
};

/* ---- names ---- */

int lv_projector_config_parse(lv_projector_config *out, const char *type)
{
    if (strcmp(type, "linear") == 0) {
        *out = (lv_projector_config){.kind = LV_PROJECTOR_LINEAR};
        return LV_OK;
    }
    if (strcmp(type, "identity") == 0) {
        *out = (lv_projector_config){.kind = LV_PROJECTOR_IDENTITY};
        return LV_OK;
    }
    char again[32];
    const char *digits = strncmp(type, "mlp", 3) == 0 ? type + 3 : "";
    long depth = strtol(digits, NULL, 10);
    if (depth >= 1 && depth <= LV_PROJECTOR_MAX_DEPTH) {
        lv_projector_config mlp = {.kind = LV_PROJECTOR_MLP_GELU, .depth = (int)depth};
        if (strcmp(lv_projector_type(again, sizeof again, &mlp), type) == 0) {
            *out = mlp;
            return LV_OK;
        }
    }
    return lv_fail(LV_ERR_CONFIG,
                   "the projector type \"%s\" is not known; there are linear, mlpNx_gelu (N from 1 "
                   "to %d) and identity",
                   type, LV_PROJECTOR_MAX_DEPTH);
}

const char *lv_projector_type(char *buf, size_t bytes, const lv_projector_config *config)
{
    switch (config->kind) {
    case LV_PROJECTOR_LINEAR:
        snprintf(buf, bytes, "linear");
        break;
    case LV_PROJECTOR_MLP_GELU:
        snprintf(buf, bytes, "mlp%dx_gelu", config->depth);
        break;
    case LV_PROJECTOR_IDENTITY:
        snprintf(buf, bytes, "identity");
        break;
    }
    return buf;
}

/* ---- the connector ---- */

int lv_projector_create(lv_projector **out, const lv_projector_config *config, lv_params *params)
{
    lv_projector *projector = calloc(1, sizeof *projector);
    if (!projector) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a projector");
    }
    projector->config = *config;
    projector->ops = kinds[config->kind];
    lv_params_part_begin(params, LV_PART_CONNECTOR);
    int rc = projector->ops->declare(projector, params);
    if (rc) {
        free(projector);
        return rc;
    }
    *out = projector;
    return LV_OK;
}

void lv_projector_destroy(lv_projector **projector)
{
    free(*projector);
    *projector = NULL;
}

int64_t lv_projector_rows_out(const lv_projector_config *config, int64_t rows_in)
{
    return kinds[config->kind]->rows_out(config, rows_in);
}

lv_tensor *lv_projector_forward(const lv_projector *projector, lv_tape *tape, lv_tensor *x,
                                int64_t I)
{
    return projector->ops->forward(projector, tape, x, I);
}
