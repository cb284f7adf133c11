/* SPDX-License-Identifier: Apache-2.0
 *
 * config.json of language models: what all families share, and LLaMA. What a file leaves out has
 * the value that transformers gives it; what would change the mathematics and is not implemented is
 * refused by name.
 * source transformers 4.57 and 5: configuration_llama.py
 */
#include "train/model/language/families.h"

#include "autograd/error.h"
#include "data/json/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the table ---- */

#define LV_FAMILY(name) extern const lv_family lv_family_##name;
#include "train/model/language/families.def"
#undef LV_FAMILY

static const lv_family *const families[] = {
#define LV_FAMILY(name) &lv_family_##name,
#include "train/model/language/families.def"
#undef LV_FAMILY
};
enum { N_FAMILIES = sizeof families / sizeof *families };

const lv_family *lv_family_find(const char *model_type)
{
    for (int i = 0; i < N_FAMILIES; i++) {
        if (!model_type || strcmp(families[i]->model_type, model_type) == 0) {
            return families[i];
        }
    }
    return NULL;
}

const lv_family *lv_family_find_llava(const char *name)
{
    for (int i = 0; i < N_FAMILIES; i++) {
        const lv_family *family = families[i];
        if (family->llava_type && (strcmp(family->llava_type, name) == 0 ||
                                   strcmp(family->llava_architecture, name) == 0)) {
            return family;
        }
    }
    return NULL;
}

const char *lv_families_list(char *buf, size_t bytes)
{
    size_t at = 0;
    for (int i = 0; i < 2 * N_FAMILIES && at < bytes; i++) {
        const lv_family *family = families[i % N_FAMILIES];
        const char *type = i < N_FAMILIES ? family->model_type : family->llava_type;
        if (type) {
            at += (size_t)snprintf(buf + at, bytes - at, "%s%s", at ? ", " : "", type);
        }
    }
    return buf;
}

/* ---- reading ---- */

/* rope_scaling (transformers 4) or rope_parameters (5): only the plain kind. */
static int parse_rope(lv_llama_config *c, const cJSON *rope)
{
    const cJSON *item;
    if (!rope) {
        return LV_OK;
    }
    if (!cJSON_IsObject(rope)) {
        return lv_key_refuse(rope);
    }
    cJSON_ArrayForEach (item, rope) {
        bool type = strcmp(item->string, "rope_type") == 0 || strcmp(item->string, "type") == 0;
        bool plain = type && cJSON_IsString(item) && strcmp(item->valuestring, "default") == 0;
        bool whole = strcmp(item->string, "partial_rotary_factor") == 0 && cJSON_IsNumber(item) &&
                     item->valuedouble == 1;
        if (!plain && !whole && !cJSON_IsNull(item) && strcmp(item->string, "rope_theta") != 0) {
            lv_key_refuse(item);
            return lv_fail_within("\"%s\"", rope->string);
        }
    }
    return lv_key_positive(rope, "rope_theta", 1e30, &c->rope_theta);
}

static int check_sizes(const lv_llama_config *c)
{
    if (c->n_heads % c->n_kv_heads != 0) {
        return lv_fail(LV_ERR_FORMAT,
                       "\"num_attention_heads\": %" PRId64 " is no multiple of "
                       "\"num_key_value_heads\" %" PRId64,
                       c->n_heads, c->n_kv_heads);
    }
    if (c->head_dim % 2 != 0) {
        return lv_fail(LV_ERR_FORMAT,
                       "\"head_dim\": %" PRId64 " is odd; rotary positions need "
                       "pairs",
                       c->head_dim);
    }
    if (c->n_heads * c->head_dim > LV_KEY_MAX_SIZE) {
        return lv_fail(LV_ERR_FORMAT,
                       "\"head_dim\": %" PRId64 " times %" PRId64 " heads is too big", c->head_dim,
                       c->n_heads);
    }
    return LV_OK;
}

/* Values that are not sizes. */
static int parse_rest(lv_llama_config *c, const cJSON *object)
{
    const char *act = "silu";
    int rc = lv_key_positive(object, "rms_norm_eps", 1, &c->rms_norm_eps);
    if (rc < 0 || (rc = lv_key_positive(object, "rope_theta", 1e30, &c->rope_theta)) < 0 ||
        (rc = parse_rope(c, lv_json_find(object, "rope_scaling"))) < 0 ||
        (rc = parse_rope(c, lv_json_find(object, "rope_parameters"))) < 0 ||
        (rc = lv_json_bool(object, "tie_word_embeddings", false, &c->tied)) < 0 ||
        (rc = lv_key_token(object, "bos_token_id", &c->bos_token_id)) < 0 ||
        (rc = lv_key_token(object, "eos_token_id", &c->eos_token_id)) < 0 ||
        (rc = lv_key_token(object, "pad_token_id", &c->pad_token_id)) < 0 ||
        (rc = lv_json_string(object, "hidden_act", false, &act)) < 0) {
        return rc;
    }
    return strcmp(act, "silu") == 0 || strcmp(act, "swish") == 0
               ? LV_OK
               : lv_key_refuse(lv_json_find(object, "hidden_act"));
}

int lv_family_parse(lv_llama_config *config, const cJSON *object, bool whole)
{
    lv_llama_config c = *config;
    const lv_size_key sizes[] = {
        {"vocab_size", &c.vocab_size, LV_KEY_MAX_VOCAB, true},
        {"hidden_size", &c.hidden_size, LV_KEY_MAX_SIZE, true},
        {"intermediate_size", &c.intermediate_size, LV_KEY_MAX_SIZE, true},
        {"num_hidden_layers", &c.n_layers, LV_KEY_MAX_LAYERS, true},
        {"num_attention_heads", &c.n_heads, LV_KEY_MAX_SIZE, true},
        {"max_position_embeddings", &c.max_positions, LV_KEY_MAX_POSITIONS, false},
        {NULL, NULL, 0, false},
    };
    int rc = lv_keys_check_neutral(object, c.family->neutral);
    if (rc == LV_OK) rc = lv_keys_read_sizes(object, sizes, whole);
    if (rc < 0) {
        return rc;
    }
    c.n_kv_heads = c.n_heads;
    c.head_dim = c.hidden_size / c.n_heads;
    if (!lv_json_find(object, "head_dim") && c.hidden_size % c.n_heads != 0) {
        return lv_fail(LV_ERR_FORMAT,
                       "\"hidden_size\": %" PRId64 " is no multiple of \"num_attention_heads\" "
                       "%" PRId64,
                       c.hidden_size, c.n_heads);
    }
    const lv_size_key derived[] = {
        {"num_key_value_heads", &c.n_kv_heads, LV_KEY_MAX_SIZE, false},
        {"head_dim", &c.head_dim, LV_KEY_MAX_SIZE, false},
        {NULL, NULL, 0, false},
    };
    rc = lv_keys_read_sizes(object, derived, false);
    if (rc == LV_OK) rc = parse_rest(&c, object);
    if (rc == LV_OK) rc = c.family->parse(&c, object);
    if (rc == LV_OK) rc = check_sizes(&c);
    if (rc == LV_OK) {
        *config = c;
    }
    return rc;
}

/* ---- writing ---- */

void lv_family_write(cJSON *o, const lv_llama_config *c)
{
    lv_key_set_number(o, "vocab_size", (double)c->vocab_size);
    lv_key_set_number(o, "hidden_size", (double)c->hidden_size);
    lv_key_set_number(o, "intermediate_size", (double)c->intermediate_size);
    lv_key_set_number(o, "num_hidden_layers", (double)c->n_layers);
    lv_key_set_number(o, "num_attention_heads", (double)c->n_heads);
    lv_key_set_number(o, "num_key_value_heads", (double)c->n_kv_heads);
    lv_key_set_number(o, "head_dim", (double)c->head_dim);
    lv_key_set_string(o, "hidden_act", "silu");
    lv_key_set_number(o, "max_position_embeddings", (double)c->max_positions);
    lv_key_set_number(o, "rms_norm_eps", c->rms_norm_eps);
    lv_key_set_number(o, "rope_theta", c->rope_theta);
    lv_key_set_null(o, "rope_scaling");
    cJSON *rope = lv_key_set_object(o, "rope_parameters"); /* where transformers 5 looks first */
    lv_key_set_string(rope, "rope_type", "default");
    lv_key_set_number(rope, "rope_theta", c->rope_theta);
    lv_key_set_bool(o, "tie_word_embeddings", c->tied);
    c->family->write(o, c);
    lv_key_set_number(o, "attention_dropout", 0);
    lv_key_set_token(o, "bos_token_id", c->bos_token_id);
    lv_key_set_token(o, "eos_token_id", c->eos_token_id);
    lv_key_set_token(o, "pad_token_id", c->pad_token_id);
    lv_key_set_bool(o, "use_cache", true);
}

/* ---- LLaMA ---- */

static const lv_llama_config llama_defaults = {.hidden_size = 4096,
                                               .intermediate_size = 11008,
                                               .n_layers = 32,
                                               .n_heads = 32,
                                               .vocab_size = 32000,
                                               .max_positions = 2048,
                                               .rms_norm_eps = 1e-6,
                                               .rope_theta = 10000,
                                               .bos_token_id = 1,
                                               .eos_token_id = 2,
                                               .pad_token_id = -1};

static const lv_neutral_key llama_neutral[] = {
    {"attention_dropout", 0},
    {"partial_rotary_factor", 1},
    {"sliding_window", NAN},
    {"quantization_config", NAN},
    {"add_cross_attention", 0},
    {"is_encoder_decoder", 0},
    {NULL, 0},
};

static int parse_llama(lv_llama_config *c, const cJSON *object)
{
    int rc = lv_json_bool(object, "attention_bias", false, &c->qkv_bias);
    c->o_bias = c->qkv_bias;
    return rc < 0 ? rc : lv_json_bool(object, "mlp_bias", false, &c->mlp_bias);
}

static void write_llama(cJSON *object, const lv_llama_config *c)
{
    lv_key_set_bool(object, "attention_bias", c->qkv_bias);
    lv_key_set_bool(object, "mlp_bias", c->mlp_bias);
}

const lv_family lv_family_llama = {
    .model_type = "llama",
    .architecture = "LlamaForCausalLM",
    .description = "a LLaMA",
    .llava_type = "llava_llama",
    .llava_architecture = "LlavaLlamaForCausalLM",
    .defaults = &llama_defaults,
    .neutral = llama_neutral,
    .parse = parse_llama,
    .write = write_llama,
};
