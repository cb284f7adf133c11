/* SPDX-License-Identifier: Apache-2.0
 *
 * A model of the same widths with fewer layers and the same parts trained, to measure how fast the
 * whole would train here.
 */
#ifndef LV_TRAIN_MODEL_LLAVA_PROBE_H
#define LV_TRAIN_MODEL_LLAVA_PROBE_H

#include "train/model/llava/llava.h"

/* lv_llava_probe: a share of the layers that run, at least one of either kind, and of a large
 * vocabulary a part.
 * in     like: may be dry; precision: of its run
 * out    *out has arbitrary values in memory of its own: lv_llava_close it
 * fails  LV_ERR_MEMORY */
int lv_llava_probe(lv_llava **out, lv_llava *like, lv_precision precision, double share);

#endif
