/* SPDX-License-Identifier: Apache-2.0 */
#include "train/model/connector/connector.h"

#include "autograd/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const lv_connector_ops *const kinds[] = {
    [LV_CONNECTOR_LINEAR] = &lv_connector_mlp,
    [LV_CONNECTOR_MLP_GELU] = &lv_connector_mlp,
    [LV_CONNECTOR_IDENTITY] = &lv_connector_identity,
};

/* ---- names ---- */

int lv_connector_config_parse(lv_connector_config *out, const char *type)
{
    if (strcmp(type, "linear") == 0) {
        *out = (lv_connector_config){.kind = LV_CONNECTOR_LINEAR};
        return LV_OK;
    }
    if (strcmp(type, "identity") == 0) {
        *out = (lv_connector_config){.kind = LV_CONNECTOR_IDENTITY};
        return LV_OK;
    }
    char again[32];
    const char *digits = strncmp(type, "mlp", 3) == 0 ? type + 3 : "";
    long depth = strtol(digits, NULL, 10);
    if (depth >= 1 && depth <= LV_CONNECTOR_MAX_DEPTH) {
        lv_connector_config mlp = {.kind = LV_CONNECTOR_MLP_GELU, .depth = (int)depth};
        if (strcmp(lv_connector_type(again, sizeof again, &mlp), type) == 0) {
            *out = mlp;
            return LV_OK;
        }
    }
    return lv_fail(LV_ERR_CONFIG,
                   "the projector type \"%s\" is not known; there are linear, mlpNx_gelu (N from 1 "
                   "to %d) and identity",
                   type, LV_CONNECTOR_MAX_DEPTH);
}

const char *lv_connector_type(char *buf, size_t bytes, const lv_connector_config *config)
{
    switch (config->kind) {
    case LV_CONNECTOR_LINEAR:
        snprintf(buf, bytes, "linear");
        break;
    case LV_CONNECTOR_MLP_GELU:
        snprintf(buf, bytes, "mlp%dx_gelu", config->depth);
        break;
    case LV_CONNECTOR_IDENTITY:
        snprintf(buf, bytes, "identity");
        break;
    }
    return buf;
}

/* ---- the connector ---- */

int lv_connector_create(lv_connector **out, const lv_connector_config *config, lv_params *params)
{
    lv_connector *projector = calloc(1, sizeof *projector);
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

void lv_connector_destroy(lv_connector **projector)
{
    free(*projector);
    *projector = NULL;
}

int64_t lv_connector_rows_out(const lv_connector_config *config, int64_t rows_in)
{
    return kinds[config->kind]->rows_out(config, rows_in);
}

lv_tensor *lv_connector_forward(const lv_connector *projector, lv_tape *tape, lv_tensor *x,
                                int64_t I)
{
    return projector->ops->forward(projector, tape, x, I);
}
