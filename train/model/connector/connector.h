/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_connector: what is between vision tower and language model. A kind of connector is one file
 * that defines an lv_connector_kind, and one line in connectors.def.
 */
#ifndef LV_TRAIN_MODEL_CONNECTOR_CONNECTOR_H
#define LV_TRAIN_MODEL_CONNECTOR_CONNECTOR_H

#include "autograd/tape.h"
#include "train/model/params/params.h"
#include "train/model/shapes.h"

#include <stddef.h>

/* lv_connector_kind: one row of the table. I images. */
typedef struct lv_connector_kind {
    /* The type in configurations; a kind with several types has parse and print, and this is how
     * messages describe them. */
    const char *name;
    /* Whether a type is this kind's, and its settings: config is {kind, 0...}. NULL: the name. */
    bool (*parse)(lv_connector_config *config, const char *type);
    void (*print)(char *buf, size_t bytes, const lv_connector_config *config);
    /* Whether it goes between these sizes: LV_ERR_CONFIG naming them. NULL: it always does. */
    int (*check)(const lv_connector_config *config);
    /* Feature rows of an image after the connector. NULL: rows_in. */
    int64_t (*rows_out)(const lv_connector_config *config, int64_t rows_in);
    /* Declare the parameters "projector.<...>", with initial values; what forward needs of them is
     * *state, one block from malloc. fails  LV_ERR_MEMORY. NULL: none. */
    int (*declare)(void **state, const lv_connector_config *config, lv_params *params);
    /* x (I*rows_in, in_size) to (I*rows_out, out_size), in the step arena; x may be the result */
    lv_tensor *(*forward)(const void *state, lv_tape *tape, lv_tensor *x, int64_t I);
    /* Names in files, after "mm_projector." or "projector.", where they differ. NULL: nowhere. */
    const lv_name_rule *names;
    /* The form of transformers' LlavaForConditionalGeneration: the type that it has there, its
     * "projector_hidden_act", the names after "multi_modal_projector.", and a layer that is an
     * identity there and no parameter here, or NULL. hf_type NULL: the kind does not have it. */
    const char *hf_type, *hf_act;
    const lv_name_rule *hf_names;
    const char *hf_identity;
} lv_connector_kind;

/* lv_connector_config_parse: from a type: "linear", "mlp2x_gelu", ...
 * out    kind and its settings; both sizes 0
 * fails  LV_ERR_CONFIG naming the types that there are */
int lv_connector_config_parse(lv_connector_config *out, const char *type);
/* lv_connector_type: the type again, into buf; returns buf. */
const char *lv_connector_type(char *buf, size_t bytes, const lv_connector_config *config);

/* lv_connector_config_of_hf: from transformers' "projector_hidden_act". false: no kind has it. */
bool lv_connector_config_of_hf(lv_connector_config *out, const char *act);
/* lv_connector_has_hf_form: whether transformers' LlavaForConditionalGeneration can have it. */
bool lv_connector_has_hf_form(const lv_connector_config *config);

/* lv_connector_check: whether the kind goes between these sizes.
 * fails  LV_ERR_CONFIG naming them */
int lv_connector_check(const lv_connector_config *config);

int64_t lv_connector_rows_out(const lv_connector_config *config, int64_t rows_in);

/* lv_connector_create: check, and declare the parameters of the kind.
 * in     params outlives the connector
 * fails  LV_ERR_CONFIG, LV_ERR_MEMORY */
typedef struct lv_connector lv_connector;
int lv_connector_create(lv_connector **out, const lv_connector_config *config, lv_params *params);
void lv_connector_destroy(lv_connector **connector);

/* lv_connector_forward: the features of I images.
 * in     x (I*rows_in, in_size)
 * out    (I*rows_out, out_size), in the step arena */
lv_tensor *lv_connector_forward(const lv_connector *connector, lv_tape *tape, lv_tensor *x,
                                int64_t I);

#endif
