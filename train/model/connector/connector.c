/* SPDX-License-Identifier: Apache-2.0 */
#include "train/model/connector/connector.h"

#include "autograd/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TYPE_BYTES = 64, LIST_BYTES = 512 };

#define LV_CONNECTOR(name) extern const lv_connector_kind lv_connector_kind_##name;
#include "train/model/connector/connectors.def"
#undef LV_CONNECTOR

static const lv_connector_kind *const kinds[] = {
#define LV_CONNECTOR(name) &lv_connector_kind_##name,
#include "train/model/connector/connectors.def"
#undef LV_CONNECTOR
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

struct lv_connector {
    lv_connector_config config;
    void *state; /* of the kind */
};

/* ---- configuration ---- */

static int fail_type(const char *type)
{
    char list[LIST_BYTES] = "";
    size_t at = 0;
    for (int k = 0; k < N_KINDS && at < sizeof list; k++) {
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", k ? ", " : "", kinds[k]->name);
    }
    return lv_fail(LV_ERR_CONFIG, "the projector type \"%s\" is not known; there are %s", type,
                   list);
}

int lv_connector_config_parse(lv_connector_config *out, const char *type)
{
    for (int k = 0; k < N_KINDS; k++) {
        lv_connector_config config = {.kind = kinds[k]};
        if (kinds[k]->parse ? kinds[k]->parse(&config, type) : strcmp(type, kinds[k]->name) == 0) {
            *out = config;
            return LV_OK;
        }
    }
    return fail_type(type);
}

const char *lv_connector_type(char *buf, size_t bytes, const lv_connector_config *config)
{
    if (config->kind->print) {
        config->kind->print(buf, bytes, config);
    } else {
        snprintf(buf, bytes, "%s", config->kind->name);
    }
    return buf;
}

bool lv_connector_config_of_hf(lv_connector_config *out, const char *act)
{
    for (int k = 0; k < N_KINDS; k++) {
        if (kinds[k]->hf_type && strcmp(kinds[k]->hf_act, act) == 0) {
            return lv_connector_config_parse(out, kinds[k]->hf_type) == LV_OK;
        }
    }
    return false;
}

bool lv_connector_has_hf_form(const lv_connector_config *config)
{
    char type[TYPE_BYTES];
    return config->kind->hf_type &&
           strcmp(lv_connector_type(type, sizeof type, config), config->kind->hf_type) == 0;
}

int lv_connector_check(const lv_connector_config *config)
{
    return config->kind->check ? config->kind->check(config) : LV_OK;
}

int64_t lv_connector_rows_out(const lv_connector_config *config, int64_t rows_in)
{
    return config->kind->rows_out ? config->kind->rows_out(config, rows_in) : rows_in;
}

/* ---- the connector ---- */

int lv_connector_create(lv_connector **out, const lv_connector_config *config, lv_params *params)
{
    int rc = lv_connector_check(config);
    if (rc < 0) {
        return rc;
    }
    lv_connector *connector = calloc(1, sizeof *connector);
    if (!connector) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a connector");
    }
    connector->config = *config;
    lv_params_part_begin(params, LV_PART_CONNECTOR);
    if (config->kind->declare) {
        rc = config->kind->declare(&connector->state, config, params);
    }
    if (rc < 0) {
        lv_connector_destroy(&connector);
        return rc;
    }
    *out = connector;
    return LV_OK;
}

void lv_connector_destroy(lv_connector **connector)
{
    if (*connector) {
        free((*connector)->state);
        free(*connector);
        *connector = NULL;
    }
}

lv_tensor *lv_connector_forward(const lv_connector *connector, lv_tape *tape, lv_tensor *x,
                                int64_t I)
{
    return connector->config.kind->forward(connector->state, tape, x, I);
}
