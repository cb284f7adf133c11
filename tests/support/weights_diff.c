/* SPDX-License-Identifier: Apache-2.0
 *
 * weights_diff A B TOLERANCE: do two safetensors files have the same f32 tensors, the difference of
 * each within TOLERANCE of the tensor, by norm? Prints the largest. Exit status 1 if not.
 */
#include "autograd/error.h"
#include "tests/support/weights_find.h"
#include "train/model/weights/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* |b - a| / |a|; infinity if they are not of one form or not finite. */
static double difference(const lv_weight *a, const lv_weight *b)
{
    double apart = 0, size = 0;
    if (!b || a->dtype != LV_F32 || b->dtype != LV_F32 || a->n_bytes != b->n_bytes) {
        return INFINITY;
    }
    for (int64_t at = 0; at < a->n_bytes; at += (int64_t)sizeof(float)) {
        float x, y;
        memcpy(&x, (const char *)a->data + at, sizeof x);
        memcpy(&y, (const char *)b->data + at, sizeof y);
        apart += ((double)x - y) * ((double)x - y);
        size += (double)x * x;
    }
    return apart == 0 ? 0 : isfinite(apart) && size > 0 ? sqrt(apart / size) : INFINITY;
}

int main(int argc, char **argv)
{
    lv_weights *a = NULL, *b = NULL;
    double worst = 0;
    const char *where = "none";
    if (argc != 4) {
        fprintf(stderr, "usage: weights_diff A B TOLERANCE\n");
        return 2;
    }
    if (lv_weights_open(&a, argv[1]) < 0 || lv_weights_open(&b, argv[2]) < 0) {
        fprintf(stderr, "weights_diff: %s\n", lv_error_message());
        lv_weights_close(&a);
        return 2;
    }
    bool same = lv_weights_count(a) == lv_weights_count(b);
    for (size_t i = 0; i < lv_weights_count(a); i++) {
        const lv_weight *weight = lv_weights_at(a, i);
        double d = difference(weight, weights_find(b, weight->name));
        if (d > worst) {
            worst = d;
            where = weight->name;
        }
    }
    printf("# weights: largest difference %.3g (allowed %s), in %s%s\n", worst, argv[3], where,
           same ? "" : "; not the same number of tensors");
    lv_weights_close(&a);
    lv_weights_close(&b);
    return same && worst <= atof(argv[3]) ? 0 : 1;
}
