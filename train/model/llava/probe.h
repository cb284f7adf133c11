/* SPDX-License-Identifier: Apache-2.0
 *
 * A thin slice of a model, of the same widths and with the same parts trained, to find out how fast
 * the whole would train here.
 */
#ifndef LV_TRAIN_MODEL_LLAVA_PROBE_H
#define LV_TRAIN_MODEL_LLAVA_PROBE_H

#include "train/model/llava/llava.h"

/* lv_llava_probe: how much of a model the slice has: of the layers that it runs the share, at least
 * one of either kind; of a large vocabulary a part.
 * in     like: may be dry; precision: of its run
 * out    *out has values of no meaning, in memory of its own: lv_llava_close it
 * fails  LV_ERR_MEMORY */
int lv_llava_probe(lv_llava **out, lv_llava *like, lv_precision precision, double share);

#endif
