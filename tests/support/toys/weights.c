/* SPDX-License-Identifier: Apache-2.0
 *
 * "toy" and then, for each tensor, toy_record and its values in f32.
 */
#include "tests/support/toys/toys.h"
#include "train/model/weights/formats.h"

#include "autograd/error.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TENSORS = 16 };

static bool is_toy(const lv_file_map *map)
{
    return map->n_bytes >= TOY_BEGIN && memcmp(map->data, "toy", 4) == 0;
}

static int parse(lv_header_entry **out, size_t *n, size_t *header_bytes, const lv_file_map *map)
{
    lv_header_entry *entries = calloc(MAX_TENSORS, sizeof *entries);
    size_t at = TOY_BEGIN, k = 0;
    if (!entries) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a toy");
    }
    while (at < map->n_bytes && k < MAX_TENSORS) {
        toy_record record;
        memcpy(&record, map->data + at, sizeof record);
        lv_header_entry *e = &entries[k++];
        int64_t n_values = 1;
        e->name = strdup(record.name);
        e->weight = (lv_weight){.name = e->name,
                                .n_dims = (int)record.n_dims,
                                .data = map->data + at + sizeof record,
                                .dtype = LV_F32};
        for (int d = 0; d < LV_MAX_DIMS; d++) {
            e->weight.shape[d] = record.shape[d];
            n_values *= record.shape[d];
        }
        e->weight.n_bytes = n_values * (int64_t)sizeof(float);
        e->dtype_name = "F32";
        e->readable = true;
        at += sizeof record + (size_t)e->weight.n_bytes;
    }
    *out = entries;
    *n = k;
    *header_bytes = TOY_BEGIN;
    return LV_OK;
}

static const char *const suffixes[] = {".toy", NULL};
static const char *const files[] = {"weights.toy", NULL};

const lv_weights_format lv_weights_format_toy = {
    .name = "toy", .suffixes = suffixes, .is = is_toy, .files = files, .parse = parse};
