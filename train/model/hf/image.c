/* SPDX-License-Identifier: Apache-2.0
 *
 * preprocessor_config.json: how pixels become the tower's input.
 */
#include "data/image/image.h"
#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "train/model/hf/internal.h"
#include "train/model/hf/keys.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const lv_hf_neutral_key image_neutral[] = {{"do_normalize", 1},
                                                  {"do_rescale", 1},
                                                  {"do_resize", 1},
                                                  {"do_center_crop", 1},
                                                  {"resample", 3}};
static int read_triple(const cJSON *object, const char *key, bool positive, float out[3])
{
    const cJSON *list = lv_json_find(object, key);
    if (!list) {
        return LV_OK;
    }
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != 3) {
        return lv_fail(LV_ERR_FORMAT, "\"%s\": expected three numbers", key);
    }
    for (int i = 0; i < 3; i++) {
        const cJSON *item = cJSON_GetArrayItem(list, i);
        double value = cJSON_IsNumber(item) ? item->valuedouble : NAN;
        if (!(fabs(value) <= 1e6) || (positive && value < 1e-6)) {
            return lv_fail(LV_ERR_FORMAT, "\"%s\": value %d is impossible", key, i);
        }
        out[i] = (float)value;
    }
    return LV_OK;
}

static int parse_image_norm(float mean[3], float std[3], const cJSON *object)
{
    double scale = 1.0 / 255;
    int rc = LV_HF_CHECK_NEUTRAL(object, image_neutral);
    if (rc == LV_OK) {
        rc = lv_json_double(object, "rescale_factor", false, &scale);
    }
    if (rc < 0) {
        return rc;
    }
    if (fabs(scale * 255 - 1) > 1e-6) {
        return lv_hf_refuse(lv_json_find(object, "rescale_factor"));
    }
    rc = read_triple(object, "image_mean", false, mean);
    return rc < 0 ? rc : read_triple(object, "image_std", true, std);
}

/* transformers 5 keeps the image processor inside processor_config.json. */
static int read_image_processor(cJSON **root, const cJSON **object, char **path, const char *dir)
{
    *path = lv_path("%s/preprocessor_config.json", dir);
    if (lv_file_exists(*path)) {
        int rc = lv_json_read(root, *path);
        *object = *root;
        return rc;
    }
    free(*path);
    *path = lv_path("%s/processor_config.json", dir);
    if (!lv_file_exists(*path)) {
        return LV_OK;
    }
    int rc = lv_json_read(root, *path);
    if (rc == LV_OK && (rc = lv_hf_find_object(object, *root, "image_processor")) < 0) {
        lv_fail_within("%s", *path);
    }
    return rc;
}

void lv_hf_clip_norm(float mean[3], float std[3])
{
    memcpy(mean, LV_CLIP_MEAN, 3 * sizeof *mean);
    memcpy(std, LV_CLIP_STD, 3 * sizeof *std);
}

int lv_hf_image_norm(float mean[3], float std[3], const char *dir)
{
    float m[3], s[3];
    cJSON *root = NULL;
    const cJSON *object = NULL;
    char *path = NULL;
    lv_hf_clip_norm(m, s);
    int rc = read_image_processor(&root, &object, &path, dir);
    if (rc == LV_OK && object && (rc = parse_image_norm(m, s, object)) < 0) {
        lv_fail_within("%s", path);
    }
    if (rc == LV_OK) {
        memcpy(mean, m, sizeof m);
        memcpy(std, s, sizeof s);
    }
    cJSON_Delete(root);
    free(path);
    return rc;
}

int lv_hf_image_pads(bool *out, const char *dir)
{
    bool pads = false;
    cJSON *root = NULL;
    const cJSON *object = NULL;
    char *path = NULL;
    int rc = read_image_processor(&root, &object, &path, dir);
    if (rc == LV_OK && object && (rc = lv_json_bool(object, "do_pad", false, &pads)) < 0) {
        lv_fail_within("%s", path);
    }
    if (rc == LV_OK) {
        *out = pads;
    }
    cJSON_Delete(root);
    free(path);
    return rc;
}
