/* SPDX-License-Identifier: Apache-2.0 */
#include "train/model/shapes.h"

#include "train/model/connector/connector.h"
#include "train/model/vision/clip.h"

int lv_llava_rows_per_image(const lv_llava_config *config)
{
    return (int)lv_projector_rows_out(
        &config->projector, lv_clip_rows_per_image(&config->vision, config->vision_select_patch));
}
