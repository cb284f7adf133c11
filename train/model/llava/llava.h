/* SPDX-License-Identifier: Apache-2.0
 *
 * LLaVA: vision tower, connector and language model joined; from directories to the loss.
 */
#ifndef LV_TRAIN_MODEL_LLAVA_LLAVA_H
#define LV_TRAIN_MODEL_LLAVA_LLAVA_H

#include "autograd/tape.h"
#include "data/loader/batch.h"
#include "train/model/params/params.h"
#include "train/model/shapes.h"

typedef struct lv_llava lv_llava;

typedef enum {
    LV_SELECT_DEFAULT, /* the directory's own, or patch */
    LV_SELECT_PATCH,
    LV_SELECT_CLS_PATCH,
} lv_select_feature;

/* The dtype of activations and of the weights of matrix products. */
typedef enum {
    LV_PRECISION_F32,
    LV_PRECISION_BF16,
    LV_PRECISION_OF_WEIGHTS, /* bf16 if the language model's embedding is, in the files */
} lv_precision;

/* lv_llava_options: the "model" section of a run's configuration; NULL where not given. */
typedef struct {
    const char *llava;          /* one LLaVA directory, or ... */
    const char *vision_tower;   /* ... a tower's directory (beside llava too, if that has none) */
    const char *language_model; /* and a language model's */
    const char *projector_type; /* NULL with llava: its own */
    const char *projector_weights;
    const int *vision_select_layer; /* as Python's index; NULL: the directory's own, or -2 */
    lv_select_feature vision_select_feature;
    const char *const *trainable; /* globs; n_trainable 0: nothing, for generation */
    size_t n_trainable;
    lv_precision precision;
    bool recompute;    /* keep only the inputs of layers, run layers twice */
    uint64_t seed;     /* of a fresh projector */
    int rank, n_ranks; /* see lv_params_share_set; n_ranks 0: not divided */
    int64_t bucket_count;
    bool dry;    /* for a plan: no values, see lv_params_dry_set */
    bool copies; /* frozen values are copied after opening, see lv_params_copy_set */
} lv_llava_options;

/* lv_llava_open: read the configurations, declare parameters, load the weights (a part that no
 * path is given for has its initial values, from the seed). Not collective. A dry one reads the
 * headers of the weights alone; where a directory has none yet, they are what lv_hf_dtype_of says.
 * fails  LV_ERR_CONFIG, LV_ERR_SHAPE, LV_ERR_FORMAT, LV_ERR_UNSUPPORTED, LV_ERR_IO, LV_ERR_MEMORY
 */
int lv_llava_open(lv_llava **out, const lv_llava_options *options);
void lv_llava_close(lv_llava **model);

const lv_llava_config *lv_llava_config_of(const lv_llava *model);
lv_params *lv_llava_params(lv_llava *model);
void lv_llava_vision_input(const lv_llava *model, lv_aspect aspect, lv_vision_input *out);

/* lv_llava_note: a message for the user about the loaded weights: note i of LV_LLAVA_N_NOTES, or
 * NULL. Borrowed. */
enum { LV_LLAVA_N_NOTES = LV_N_PARTS };
const char *lv_llava_note(const lv_llava *model, int i);

/* lv_llava_dtype: of the activations, by the precision: what lv_tape_dtype_set takes. */
lv_dtype lv_llava_dtype(const lv_llava *model);

/* lv_llava_tokenizer_dir: the directory whose tokenizer belongs to the language model. */
const char *lv_llava_tokenizer_dir(const lv_llava *model);

/* lv_llava_fingerprint: of all files that frozen parameters came from. */
uint64_t lv_llava_fingerprint(const lv_llava *model);

/* lv_llava_loss: sum of the cross-entropy over the batch's supervised rows (see
 * lv_cross_entropy); only those rows pass the last layer's second half, the last norm and the head.
 * out    one element; loss_sum: the same, added up in double */
lv_tensor *lv_llava_loss(lv_llava *model, lv_tape *tape, const lv_batch *batch, double *loss_sum);

/* lv_llava_probe: a model of the same widths with the same parts trained, to measure how fast the
 * whole would train here: a share of the layers that run, at least one of either kind, and of a
 * large vocabulary a part.
 * in     like: may be dry; precision: of its run
 * out    *out has arbitrary values in memory of its own: lv_llava_close it
 * fails  LV_ERR_MEMORY */
int lv_llava_probe(lv_llava **out, lv_llava *like, lv_precision precision, double share);

#endif
