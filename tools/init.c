/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/cli.h"
#include "tools/tools.h"

#include "autograd/error.h"
#include "train/model/llava/init.h"

#include <stdio.h>

int lv_tool_init(int argc, char **argv)
{
    const char *shape = NULL, *out = NULL, *tokenizer = NULL;
    int64_t seed = 42;
    const lv_flag flags[] = {
        {.name = "--shape",
         .kind = LV_FLAG_TEXT,
         .value = &shape,
         .placeholder = "FILE",
         .help = "configs/shapes/NAME.json: \"vision_tower\" and \"language_model\" configs",
         .required = true},
        {.name = "--out",
         .kind = LV_FLAG_TEXT,
         .value = &out,
         .placeholder = "DIR",
         .help = "gets DIR/vision_tower and DIR/language_model",
         .required = true},
        {.name = "--seed",
         .kind = LV_FLAG_INT,
         .value = &seed,
         .placeholder = "N",
         .help = "of the random weights (default 42)",
         .min = 0,
         .max = 9007199254740992.0},
        {.name = "--tokenizer",
         .kind = LV_FLAG_TEXT,
         .value = &tokenizer,
         .placeholder = "DIR",
         .help = "directory with the tokenizer that the language model gets (default none)"},
    };
    const lv_cli cli = {.name = "init",
                        .summary = "Write random weights for a shape, in Hugging Face layout. The "
                                   "same seed gives the same bytes.",
                        .flags = flags,
                        .n_flags = sizeof flags / sizeof flags[0]};
    int rc = lv_cli_start(&cli, NULL, argc, argv);
    if (rc == LV_OK) {
        rc = lv_model_init(shape, (uint64_t)seed, tokenizer, out);
        if (rc == LV_OK) {
            printf("wrote %s\n", out);
        }
    }
    return lv_cli_finish(&cli, NULL, rc);
}
