/* SPDX-License-Identifier: Apache-2.0
 *
 * The connector's type by name. A new connector is one line here and one in projector.c.
 */
#include "autograd/error.h"
#include "train/model/connector/connector.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
