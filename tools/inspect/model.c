/* SPDX-License-Identifier: Apache-2.0
 *
 * llava inspect: models and files of weights.
 */
#include "tools/inspect/inspect.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "data/json/manifest.h"
#include "tools/terminal.h"
#include "train/model/connector/connector.h"
#include "train/model/hf/hf.h"
#include "train/model/language/families.h"
#include "train/model/vision/vision.h"
#include "train/model/weights/weights.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 16 }; /* tensors of a file */

int lv_inspect_digests(const char *dir, const char *name)
{
    cJSON *digests = NULL;
    if (!lv_inspect_has(dir, lv_hf_digests_name)) {
        printf("  no %s: not written by this program, so it can not be told whether it is whole\n",
               lv_hf_digests_name);
        return LV_OK;
    }
    char *path = lv_path("%s/%s", dir, lv_hf_digests_name);
    int rc = lv_manifest_read(&digests, path);
    free(path);
    if (rc == LV_OK && name && !lv_json_find(lv_json_find(digests, "files"), name)) {
        printf("  %s does not list it, so it can not be told whether it is whole\n",
               lv_hf_digests_name);
    } else if (rc == LV_OK) {
        rc = lv_inspect_result(lv_manifest_check_files(digests, dir, NULL));
    }
    cJSON_Delete(digests);
    return rc;
}

static void print_weights(const lv_weights *weights)
{
    int64_t n_elements = 0, n_bytes = 0, n_of[3] = {0};
    for (size_t i = 0; i < lv_weights_count(weights); i++) {
        const lv_weight *w = lv_weights_at(weights, i);
        int64_t count = w->n_bytes / (int64_t)lv_dtype_bytes(w->dtype);
        n_elements += count;
        n_bytes += w->n_bytes;
        n_of[w->dtype] += count;
    }
    lv_inspect_count("tensors", (int64_t)lv_weights_count(weights));
    lv_inspect_count("parameters", n_elements);
    for (int dtype = LV_F32; dtype <= LV_F16; dtype++) {
        if (n_of[dtype] > 0 && n_of[dtype] < n_elements) {
            printf("  %-20s %" PRId64 " %s\n", "of them", n_of[dtype], lv_dtype_name(dtype));
        } else if (n_of[dtype] > 0) {
            printf("  %-20s %s\n", "stored as", lv_dtype_name(dtype));
        }
    }
    lv_inspect_bytes("size", n_bytes);
}

static int check_values(const lv_weights *weights)
{
    int rc = LV_OK;
    for (size_t i = 0; rc == LV_OK && i < lv_weights_count(weights); i++) {
        rc = lv_weight_check_finite(lv_weights_at(weights, i));
    }
    return rc;
}

static void print_text_shape(const lv_llama_config *c)
{
    printf("  %-20s %" PRId64 " layers, hidden %" PRId64 ", %" PRId64 " heads (%" PRId64
           " key/value), inner %" PRId64 ", vocabulary %" PRId64 "%s\n",
           "language model", c->n_layers, c->hidden_size, c->n_heads, c->n_kv_heads,
           c->intermediate_size, c->vocab_size, c->tied ? ", tied" : "");
}

static void print_vision_shape(const lv_vision_config *c)
{
    printf("  %-20s %" PRId64 " layers, hidden %" PRId64 ", %" PRId64 " heads, image %" PRId64
           ", patch %" PRId64 "\n",
           "vision tower", c->n_layers, c->hidden_size, c->n_heads, c->image_size, c->patch_size);
}

static int print_shapes(const char *dir)
{
    lv_hf_kind kind;
    lv_llava_config c;
    char type[64];
    int rc = lv_hf_any_config(&c, &kind, dir);
    if (rc < 0) {
        return rc;
    }
    printf("%s: %s\n", dir,
           kind == LV_HF_VISION     ? c.vision.tower->description
           : kind == LV_HF_LANGUAGE ? c.text.family->description
           : kind == LV_HF_LLAVA    ? "a LLaVA in Hugging Face's form"
                                    : "a LLaVA in its own form");
    if (c.vision.n_layers > 0) {
        print_vision_shape(&c.vision);
    }
    if (kind == LV_HF_LLAVA || kind == LV_HF_LLAVA_ORIGINAL) {
        printf("  %-20s %s\n", "projector", lv_connector_type(type, sizeof type, &c.connector));
    }
    if (c.text.n_layers > 0) {
        print_text_shape(&c.text);
    }
    return LV_OK;
}

int lv_inspect_model(const char *dir)
{
    lv_weights *weights = NULL;
    int rc = print_shapes(dir);
    if (rc == LV_OK) rc = lv_weights_open(&weights, dir);
    if (rc == LV_OK) {
        print_weights(weights);
        rc = lv_inspect_digests(dir, NULL);
        if (rc == LV_OK && (rc = check_values(weights)) < 0) {
            lv_fail_within("%s", dir);
        }
    }
    lv_weights_close(&weights);
    return rc;
}

int lv_inspect_weights_file(const char *path)
{
    lv_weights *weights = NULL;
    int rc = lv_weights_open(&weights, path);
    if (rc < 0) {
        return rc;
    }
    printf("%s: a file of weights\n", path);
    print_weights(weights);
    for (size_t i = 0; i < lv_weights_count(weights) && i < SHOWN; i++) {
        const lv_weight *w = lv_weights_at(weights, i);
        char shape[96];
        printf("    ");
        lv_print_shown(stdout, w->name, strlen(w->name));
        printf(" %s %s\n", lv_dtype_name(w->dtype),
               lv_shape_text(shape, sizeof shape, w->n_dims, w->shape));
    }
    if (lv_weights_count(weights) > SHOWN) {
        printf("    ... and %zu more\n", lv_weights_count(weights) - SHOWN);
    }
    lv_weights_close(&weights);
    char *dir = lv_path_dir(path);
    const char *slash = strrchr(path, '/');
    rc = lv_inspect_digests(dir, slash ? slash + 1 : path);
    free(dir);
    return rc;
}
