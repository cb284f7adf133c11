/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LV_TESTS_SUPPORT_WEIGHTS_FIND_H
#define LV_TESTS_SUPPORT_WEIGHTS_FIND_H

#include "train/model/weights/weights.h"

#include <string.h>

/* weights_find: a tensor by its name; NULL if there is none. */
static inline const lv_weight *weights_find(const lv_weights *weights, const char *name)
{
    for (size_t i = 0; i < lv_weights_count(weights); i++) {
        if (strcmp(lv_weights_at(weights, i)->name, name) == 0) {
            return lv_weights_at(weights, i);
        }
    }
    return NULL;
}

#endif
