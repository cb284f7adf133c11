/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_projector: the connector between vision tower and language model. A kind is one file with an
 * lv_projector_ops, and one line in the table of projector.c; its name is read by
 * lv_projector_config_parse.
 */
#ifndef LV_TRAIN_MODEL_CONNECTOR_CONNECTOR_H
#define LV_TRAIN_MODEL_CONNECTOR_CONNECTOR_H

#include "autograd/tape.h"
#include "train/model/params/dense.h"
#include "train/model/params/params.h"
#include "train/model/shapes.h"

enum { LV_PROJECTOR_MAX_DEPTH = 16 };

typedef struct lv_projector lv_projector;

/* lv_projector_ops: what a kind does. */
typedef struct {
    /* feature rows of an image after the connector */
    int64_t (*rows_out)(const lv_projector_config *config, int64_t rows_in);
    /* declare the parameters "projector.<index>.{weight,bias}"; LV_ERR_CONFIG if the sizes do not
     * fit the kind */
    int (*declare)(lv_projector *projector, lv_params *params);
    /* x (I*rows_in, in_size) to (I*rows_out, out_size); x may be the result */
    lv_tensor *(*forward)(const lv_projector *projector, lv_tape *tape, lv_tensor *x, int64_t I);
} lv_projector_ops;

struct lv_projector {
    lv_projector_config config;
    const lv_projector_ops *ops;
    int n_layers;
    lv_dense layers[LV_PROJECTOR_MAX_DEPTH];
};

extern const lv_projector_ops lv_projector_mlp;      /* linear, and mlpNx_gelu */
extern const lv_projector_ops lv_projector_identity; /* features as they are */

/* lv_projector_config_parse: "linear", "mlpNx_gelu", "identity".
 * fails  LV_ERR_CONFIG naming the kinds that there are */
int lv_projector_config_parse(lv_projector_config *out, const char *type);
/* lv_projector_type: the name again, into buf; returns buf. */
const char *lv_projector_type(char *buf, size_t bytes, const lv_projector_config *config);

/* lv_projector_create: declare the parameters of the configured kind.
 * in     params outlives the projector
 * fails  LV_ERR_CONFIG, LV_ERR_MEMORY */
int lv_projector_create(lv_projector **out, const lv_projector_config *config, lv_params *params);
void lv_projector_destroy(lv_projector **projector);

int64_t lv_projector_rows_out(const lv_projector_config *config, int64_t rows_in);

/* lv_projector_forward: the features of I images.
 * in     x (I*rows_in, in_size)
 * out    (I*rows_out, out_size), in the step arena */
lv_tensor *lv_projector_forward(const lv_projector *projector, lv_tape *tape, lv_tensor *x,
                                int64_t I);

#endif
