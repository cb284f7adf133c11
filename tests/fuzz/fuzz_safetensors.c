/* SPDX-License-Identifier: Apache-2.0
 *
 * A safetensors file. An input that begins with a brace is a header alone, which gets the right
 * length in front and as many bytes behind it as its last byte says; any other is the whole file.
 * Of what is accepted every byte of every tensor is read.
 */
#include "tests/fuzz/support.h"
#include "train/model/weights/weights.h"

#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8 };

static const char *write_input(const uint8_t *data, size_t n)
{
    if (n < 2 || data[0] != '{') {
        return fuzz_write("model.safetensors", data, n);
    }
    size_t n_header = n - 1, n_data = data[n - 1];
    uint8_t *file = calloc(1, LENGTH_BYTES + n_header + n_data);
    LV_CHECK(file, "out of memory");
    for (int i = 0; i < LENGTH_BYTES; i++) {
        file[i] = (uint8_t)((uint64_t)n_header >> (8 * i));
    }
    memcpy(file + LENGTH_BYTES, data, n_header);
    const char *path = fuzz_write("model.safetensors", file, LENGTH_BYTES + n_header + n_data);
    free(file);
    return path;
}

static void check_weight(const lv_weights *weights, size_t i)
{
    const lv_weight *w = lv_weights_at(weights, i);
    int64_t n_bytes = w->dtype == LV_F32 ? 4 : 2;
    uint8_t sum = 0;
    LV_CHECK(w->n_dims >= 0 && w->n_dims <= LV_MAX_DIMS, "%d dims", w->n_dims);
    for (int d = 0; d < w->n_dims; d++) {
        LV_CHECK(w->shape[d] >= 0, "a negative dim");
        n_bytes *= w->shape[d];
    }
    LV_CHECK(n_bytes == w->n_bytes, "its shape and its bytes differ");
    LV_CHECK(i == 0 || strcmp(lv_weights_at(weights, i - 1)->name, w->name) < 0, "out of order");
    for (int64_t b = 0; b < w->n_bytes; b++) {
        sum ^= ((const volatile uint8_t *)w->data)[b];
    }
    (void)sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    lv_weights *weights = NULL, *again = NULL;
    const char *path = write_input(data, n);
    if (lv_weights_open(&weights, path) < 0) {
        return 0;
    }
    for (size_t i = 0; i < lv_weights_count(weights); i++) {
        check_weight(weights, i);
    }
    for (size_t i = 0; i < lv_weights_other_count(weights); i++) {
        const char *dtype = NULL;
        LV_CHECK(lv_weights_other_at(weights, i, &dtype) && dtype, "an unread tensor has no name");
    }
    fuzz_must(lv_weights_open(&again, path), "opening it again");
    LV_CHECK(lv_weights_fingerprint(weights) == lv_weights_fingerprint(again), "two fingerprints");
    lv_weights_close(&again);
    lv_weights_close(&weights);
    return 0;
}
