/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_connector: the connector between vision tower and language model. A kind is one file with an
 * lv_connector_ops, and one line in the table of projector.c; its name is read by
 * lv_connector_config_parse.
 */
#ifndef LV_TRAIN_MODEL_CONNECTOR_CONNECTOR_H
#define LV_TRAIN_MODEL_CONNECTOR_CONNECTOR_H

#include "autograd/tape.h"
#include "train/model/params/dense.h"
#include "train/model/params/params.h"
#include "train/model/shapes.h"

enum { LV_CONNECTOR_MAX_DEPTH = 16 };

typedef struct lv_connector lv_connector;

/* lv_connector_ops: what a kind does. */
typedef struct {
    /* feature rows of an image after the connector */
    int64_t (*rows_out)(const lv_connector_config *config, int64_t rows_in);
    /* declare the parameters "projector.<index>.{weight,bias}"; LV_ERR_CONFIG if the sizes do not
     * fit the kind */
    int (*declare)(lv_connector *projector, lv_params *params);
    /* x (I*rows_in, in_size) to (I*rows_out, out_size); x may be the result */
    lv_tensor *(*forward)(const lv_connector *projector, lv_tape *tape, lv_tensor *x, int64_t I);
} lv_connector_ops;

struct lv_connector {
    lv_connector_config config;
    const lv_connector_ops *ops;
    int n_layers;
    lv_dense layers[LV_CONNECTOR_MAX_DEPTH];
};

extern const lv_connector_ops lv_connector_mlp;      /* linear, and mlpNx_gelu */
extern const lv_connector_ops lv_connector_identity; /* features as they are */

/* lv_connector_config_parse: "linear", "mlpNx_gelu", "identity".
 * fails  LV_ERR_CONFIG naming the kinds that there are */
int lv_connector_config_parse(lv_connector_config *out, const char *type);
/* lv_connector_type: the name again, into buf; returns buf. */
const char *lv_connector_type(char *buf, size_t bytes, const lv_connector_config *config);

/* lv_connector_create: declare the parameters of the configured kind.
 * in     params outlives the projector
 * fails  LV_ERR_CONFIG, LV_ERR_MEMORY */
int lv_connector_create(lv_connector **out, const lv_connector_config *config, lv_params *params);
void lv_connector_destroy(lv_connector **projector);

int64_t lv_connector_rows_out(const lv_connector_config *config, int64_t rows_in);

/* lv_connector_forward: the features of I images.
 * in     x (I*rows_in, in_size)
 * out    (I*rows_out, out_size), in the step arena */
lv_tensor *lv_connector_forward(const lv_connector *projector, lv_tape *tape, lv_tensor *x,
                                int64_t I);

#endif
