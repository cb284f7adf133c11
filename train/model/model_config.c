/* SPDX-License-Identifier: Apache-2.0 */
#include "train/model/model_config.h"

int lv_llava_rows_per_image(const lv_llava_config *config)
{
    int64_t side = config->vision.image_size / config->vision.patch_size;
    return (int)(side * side) + (config->vision_select_patch ? 0 : 1);
}
