/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"
#include "autograd/ops.h"

#include <inttypes.h>

void lv_visible_full(lv_range *visible, int64_t B, const int64_t *q_start, const lv_range *keys)
{
    for (int64_t b = 0; b < B; b++) {
        for (int64_t t = q_start[b]; t < q_start[b + 1]; t++) {
            visible[t] = keys[b];
        }
    }
}

void lv_visible_causal(lv_range *visible, int64_t B, const int64_t *q_start, const lv_range *keys)
{
    for (int64_t b = 0; b < B; b++) {
        int64_t n = q_start[b + 1] - q_start[b];
        LV_CHECK(n <= keys[b].end - keys[b].begin,
                 "sequence %" PRId64 " has %" PRId64 " rows and %" PRId64 " keys", b, n,
                 keys[b].end - keys[b].begin);
        for (int64_t t = q_start[b]; t < q_start[b + 1]; t++) {
            visible[t] = (lv_range){keys[b].begin, keys[b].end - (q_start[b + 1] - 1 - t)};
        }
    }
}
