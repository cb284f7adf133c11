/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_family: the names of a family of language models and the keys that only its config.json has.
 * lv_llama runs all families. A family is one lv_family, in a file of its own or in families.c, and
 * one line in families.def.
 */
#ifndef LV_TRAIN_MODEL_LANGUAGE_FAMILIES_H
#define LV_TRAIN_MODEL_LANGUAGE_FAMILIES_H

#include "train/model/keys.h"
#include "train/model/shapes.h"

#include <stddef.h>

/* lv_family: one row of the table. */
typedef struct lv_family {
    const char *model_type;          /* in config.json: "llama" */
    const char *architecture;        /* "LlamaForCausalLM" */
    const char *description;         /* "a LLaMA" */
    const char *llava_type;          /* of a LLaVA in its own form: "llava_llama"; NULL: none */
    const char *llava_architecture;  /* "LlavaLlamaForCausalLM" */
    const lv_llama_config *defaults; /* what a config.json leaves out */
    const lv_neutral_key *neutral;   /* keys without an effect at the values that are read */
    /* Keys of the family alone, and what is fixed in it (biases). config: the common keys are
     * read. fails  LV_ERR_FORMAT, LV_ERR_UNSUPPORTED, each naming the key */
    int (*parse)(lv_llama_config *config, const cJSON *object);
    void (*write)(cJSON *object, const lv_llama_config *config);
} lv_family;

/* lv_family_find: by model_type; NULL: the first. returns NULL if there is none of that type */
const lv_family *lv_family_find(const char *model_type);
/* lv_family_find_llava: by llava_type or llava_architecture. */
const lv_family *lv_family_find_llava(const char *name);
/* lv_families_list: all model_types, then all llava_types, into buf; returns buf. */
const char *lv_families_list(char *buf, size_t bytes);

/* lv_family_parse: *config, which has the family's defaults, changed by the members of a
 * config.json (or of its "text_config", whole false), and checked.
 * fails  LV_ERR_FORMAT, LV_ERR_UNSUPPORTED, each naming the key; *config is unchanged then */
int lv_family_parse(lv_llama_config *config, const cJSON *object, bool whole);

/* lv_family_write: all keys but model_type and architectures. */
void lv_family_write(cJSON *object, const lv_llama_config *config);

#endif
