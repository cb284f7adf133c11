/* SPDX-License-Identifier: Apache-2.0
 *
 * A family with biases on q, k and v alone, which its config.json does not mention.
 */
#include "train/model/language/families.h"

#include "autograd/error.h"

static const lv_llama_config defaults = {.hidden_size = 8,
                                         .intermediate_size = 16,
                                         .n_layers = 1,
                                         .n_heads = 2,
                                         .vocab_size = 16,
                                         .max_positions = 64,
                                         .rms_norm_eps = 1e-5,
                                         .rope_theta = 1000,
                                         .bos_token_id = 1,
                                         .eos_token_id = 2,
                                         .pad_token_id = -1};
static const lv_neutral_key neutral[] = {{"toy_dropout", 0}, {NULL, 0}};

static int parse(lv_llama_config *config, const cJSON *object)
{
    (void)object;
    config->qkv_bias = true;
    return LV_OK;
}

static void write(cJSON *object, const lv_llama_config *config)
{
    (void)config;
    lv_key_set_number(object, "toy_dropout", 0);
}

const lv_family lv_family_toy = {
    .model_type = "toy_lm",
    .architecture = "ToyForCausalLM",
    .description = "a toy language model",
    .llava_type = "llava_toy",
    .llava_architecture = "LlavaToyForCausalLM",
    .defaults = &defaults,
    .neutral = neutral,
    .parse = parse,
    .write = write,
};
