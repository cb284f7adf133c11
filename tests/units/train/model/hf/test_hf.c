/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"
#include "autograd/kernels/convert.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "data/json/manifest.h"
#include "tests/units/train/fixture.h"
#include "train/model/connector/connector.h"
#include "train/model/hf/internal.h"
#include "train/model/weights/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIP_BODY                                                                                  \
    "\"hidden_size\":8,\"intermediate_size\":12,\"num_hidden_layers\":2,"                          \
    "\"num_attention_heads\":2,\"image_size\":8,\"patch_size\":4"
#define LLAMA_BODY                                                                                 \
    "\"vocab_size\":10,\"hidden_size\":8,\"intermediate_size\":16,\"num_hidden_layers\":2,"        \
    "\"num_attention_heads\":4"
#define CLIP(more) "{\"model_type\":\"clip_vision_model\"," CLIP_BODY more "}"
#define LLAMA(more) "{\"model_type\":\"llama\"," LLAMA_BODY more "}"
#define HF(text, vision, more)                                                                     \
    "{\"model_type\":\"llava\",\"image_token_index\":9,\"text_config\":{" LLAMA_BODY text          \
    "},\"vision_config\":{" CLIP_BODY vision "}" more "}"
#define ORIGINAL(more)                                                                             \
    "{\"model_type\":\"llava\",\"architectures\":[\"LlavaLlamaForCausalLM\"]," LLAMA_BODY          \
    ",\"mm_vision_select_layer\":-2" more "}"

static int clip_config(void **state, const char *json, lv_vision_config *out)
{
    fixture_write(state, "config.json", json);
    return lv_hf_vision_config(out, *state);
}

static int llama_config(void **state, const char *json, lv_llama_config *out)
{
    fixture_write(state, "config.json", json);
    return lv_hf_language_config(out, *state);
}

static void assert_type(const lv_connector_config *config, const char *type)
{
    char found[64];
    assert_string_equal(lv_connector_type(found, sizeof found, config), type);
}

/* All parts from one directory. */
static int load_all(lv_params *params, const lv_llava_config *config, const char *dir)
{
    int rc = LV_OK;
    for (lv_part part = 0; part < LV_N_PARTS && rc == LV_OK; part++) {
        rc = lv_hf_load(params, config, dir, part);
    }
    return rc;
}

static int llava_config(void **state, const char *json, lv_llava_config *out, bool *needs_tower)
{
    fixture_write(state, "config.json", json);
    return lv_hf_llava_config(out, needs_tower, *state);
}

static void each_family_is_recognised(void **state)
{
    const struct {
        const char *json;
        lv_hf_kind kind;
    } cases[] = {
        {CLIP(""), LV_HF_VISION},
        {"{\"model_type\":\"clip\"}", LV_HF_VISION},
        {LLAMA(""), LV_HF_LANGUAGE},
        {HF("", "", ""), LV_HF_LLAVA},
        {"{\"model_type\":\"llava\",\"architectures\":[\"LlavaForConditionalGeneration\"]}",
         LV_HF_LLAVA},
        {ORIGINAL(""), LV_HF_LLAVA_ORIGINAL},
        {"{\"model_type\":\"llava\",\"mm_hidden_size\":4}", LV_HF_LLAVA_ORIGINAL},
        {"{\"model_type\":\"llava_llama\"}", LV_HF_LLAVA_ORIGINAL},
    };
    lv_llava_config any;
    lv_hf_kind kind;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture_write(state, "config.json", cases[i].json);
        kind = cases[i].kind + 1;
        lv_hf_any_config(&any, &kind, *state); /* some lack sizes */
        assert_int_equal(kind, cases[i].kind);
    }
    fixture_write(state, "config.json", "{\"model_type\":\"mistral\"}");
    assert_fails(lv_hf_any_config(&any, &kind, *state), LV_ERR_UNSUPPORTED, "mistral");
    fixture_write(state, "config.json", "{\"model_type\":\"llava\"}");
    assert_fails(lv_hf_any_config(&any, &kind, *state), LV_ERR_FORMAT, "which kind");
    fixture_write(state, "config.json", "{}");
    assert_fails(lv_hf_any_config(&any, &kind, *state), LV_ERR_FORMAT, "model_type");
    fixture_write(state, "config.json", "[");
    assert_int_equal(lv_hf_any_config(&any, &kind, *state), LV_ERR_FORMAT);
    assert_int_equal(lv_hf_any_config(&any, &kind, fixture_path(state, "nowhere")), LV_ERR_IO);
}

static void llama_keys_that_are_left_out_have_their_defaults(void **state)
{
    lv_llama_config c;
    assert_int_equal(llama_config(state, LLAMA(""), &c), LV_OK);
    assert_int_equal(c.n_kv_heads, 4);
    assert_int_equal(c.head_dim, 2);
    assert_int_equal(c.max_positions, 2048);
    assert_true(c.rms_norm_eps == 1e-6 && c.rope_theta == 10000);
    assert_false(c.tied || c.qkv_bias || c.o_bias || c.mlp_bias);
    assert_int_equal(c.bos_token_id, 1);
    assert_int_equal(c.eos_token_id, 2);
    assert_int_equal(c.pad_token_id, -1);
    assert_int_equal(llama_config(state,
                                  LLAMA(",\"num_key_value_heads\":2,\"head_dim\":6,\"rope_theta\":"
                                        "5e5,\"tie_word_embeddings\":true,\"attention_bias\":true,"
                                        "\"mlp_bias\":true,\"eos_token_id\":[7,8],"
                                        "\"bos_token_id\":null,\"pad_token_id\":0"),
                                  &c),
                     LV_OK);
    assert_int_equal(c.n_kv_heads, 2);
    assert_int_equal(c.head_dim, 6);
    assert_true(c.tied && c.qkv_bias && c.o_bias && c.mlp_bias && c.rope_theta == 5e5);
    assert_int_equal(c.bos_token_id, -1);
    assert_int_equal(c.eos_token_id, 7);
    assert_int_equal(c.pad_token_id, 0);
    assert_int_equal(llama_config(state,
                                  LLAMA(",\"rope_parameters\":{\"rope_type\":\"default\","
                                        "\"rope_theta\":777.0},\"rope_scaling\":null"),
                                  &c),
                     LV_OK);
    assert_true(c.rope_theta == 777);
}

static void llama_keys_that_change_the_mathematics_stop_by_name(void **state)
{
    const struct {
        const char *json, *part;
        int code;
    } cases[] = {
        {LLAMA(",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}"), "rope_scaling",
         LV_ERR_UNSUPPORTED},
        {LLAMA(",\"rope_scaling\":{\"rope_type\":\"default\",\"factor\":2}"), "factor",
         LV_ERR_UNSUPPORTED},
        {LLAMA(",\"rope_parameters\":{\"rope_type\":\"llama3\"}"), "rope_parameters",
         LV_ERR_UNSUPPORTED},
        {LLAMA(",\"sliding_window\":4096"), "sliding_window", LV_ERR_UNSUPPORTED},
        {LLAMA(",\"hidden_act\":\"gelu\""), "hidden_act", LV_ERR_UNSUPPORTED},
        {LLAMA(",\"attention_dropout\":0.1"), "attention_dropout", LV_ERR_UNSUPPORTED},
        {LLAMA(",\"partial_rotary_factor\":0.5"), "partial_rotary_factor", LV_ERR_UNSUPPORTED},
        {LLAMA(",\"quantization_config\":{}"), "quantization_config", LV_ERR_UNSUPPORTED},
        {LLAMA(",\"num_key_value_heads\":3"), "num_key_value_heads", LV_ERR_FORMAT},
        {LLAMA(",\"num_key_value_heads\":0"), "num_key_value_heads", LV_ERR_FORMAT},
        {LLAMA(",\"head_dim\":3"), "head_dim", LV_ERR_FORMAT},
        {LLAMA(",\"rms_norm_eps\":0"), "rms_norm_eps", LV_ERR_FORMAT},
        {LLAMA(",\"rope_theta\":-1"), "rope_theta", LV_ERR_FORMAT},
        {LLAMA(",\"eos_token_id\":\"</s>\""), "eos_token_id", LV_ERR_FORMAT},
        {LLAMA(",\"tie_word_embeddings\":1"), "tie_word_embeddings", LV_ERR_FORMAT},
        {"{\"model_type\":\"llama\",\"hidden_size\":8}", "vocab_size", LV_ERR_FORMAT},
        {"{\"model_type\":\"llama\",\"vocab_size\":1e15,\"hidden_size\":8}", "vocab_size",
         LV_ERR_FORMAT},
        {"{\"model_type\":\"llama\",\"vocab_size\":-5}", "vocab_size", LV_ERR_FORMAT},
        {CLIP(""), "expected a language model", LV_ERR_CONFIG},
    };
    lv_llama_config c = {.hidden_size = 77};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_fails(llama_config(state, cases[i].json, &c), cases[i].code, cases[i].part);
        assert_non_null(strstr(lv_error_message(), "config.json"));
    }
    assert_int_equal(c.hidden_size, 77);
}

static void clip_is_read_bare_and_as_half_of_a_clip_model(void **state)
{
    lv_vision_config c;
    assert_int_equal(
        clip_config(state, CLIP(",\"hidden_act\":\"gelu\",\"layer_norm_eps\":1e-6"), &c), LV_OK);
    assert_false(c.quick_gelu);
    assert_true(c.layer_norm_eps == 1e-6);
    assert_int_equal(c.n_channels, 3);
    assert_int_equal(c.projection_dim, 512);
    assert_int_equal(
        clip_config(state,
                    "{\"model_type\":\"clip\",\"projection_dim\":99,"
                    "\"vision_config\":{\"hidden_size\":64,\"num_attention_heads\":4}}",
                    &c),
        LV_OK);
    assert_int_equal(c.hidden_size, 64);
    assert_int_equal(c.n_layers, 12);
    assert_int_equal(c.patch_size, 32);
    assert_true(c.quick_gelu);
    assert_int_equal(clip_config(state,
                                 "{\"model_type\":\"clip\",\"vision_config\":{\"hidden_size\":64},"
                                 "\"vision_config_dict\":{" CLIP_BODY "}}",
                                 &c),
                     LV_OK);
    assert_int_equal(c.hidden_size, 8);
    assert_fails(clip_config(state, CLIP(",\"hidden_act\":\"relu\""), &c), LV_ERR_UNSUPPORTED,
                 "hidden_act");
    assert_fails(clip_config(state, CLIP(",\"attention_dropout\":0.5"), &c), LV_ERR_UNSUPPORTED,
                 "attention_dropout");
    assert_fails(clip_config(state, CLIP(",\"num_channels\":1"), &c), LV_ERR_UNSUPPORTED,
                 "num_channels");
    assert_fails(
        clip_config(state, "{\"model_type\":\"clip\",\"vision_config\":{\"patch_size\":15}}", &c),
        LV_ERR_UNSUPPORTED, "patch_size");
    assert_fails(
        clip_config(state, "{\"model_type\":\"clip\",\"vision_config\":{\"hidden_size\":770}}", &c),
        LV_ERR_FORMAT, "num_attention_heads");
    assert_fails(clip_config(state, LLAMA(""), &c), LV_ERR_CONFIG, "vision tower");
}

static void hf_llava_has_the_defaults_of_its_parts(void **state)
{
    lv_llava_config c;
    bool needs_tower = true;
    assert_int_equal(llava_config(state,
                                  "{\"model_type\":\"llava\",\"text_config\":{},"
                                  "\"vision_config\":{},\"image_token_index\":31999}",
                                  &c, &needs_tower),
                     LV_OK);
    assert_false(needs_tower);
    assert_int_equal(c.text.hidden_size, 4096);
    assert_int_equal(c.text.vocab_size, 32000);
    assert_int_equal(c.vision.hidden_size, 768);
    assert_int_equal(c.vision.image_size, 224);
    assert_type(&c.connector, "mlp2x_gelu");
    assert_int_equal(c.connector.in_size, 768);
    assert_int_equal(c.connector.out_size, 4096);
    assert_int_equal(c.vision_select_layer, -2);
    assert_true(c.vision_select_patch);
    assert_int_equal(c.image_token_id, 31999);
    assert_int_equal(lv_llava_rows_per_image(&c), 49);
    assert_int_equal(llava_config(state,
                                  "{\"model_type\":\"llava\",\"text_config\":{\"vocab_size\":32064}"
                                  ",\"vision_feature_select_strategy\":\"full\"}",
                                  &c, &needs_tower),
                     LV_OK);
    assert_int_equal(c.vision.hidden_size, 1024);
    assert_int_equal(c.image_token_id, 32000);
    assert_int_equal(lv_llava_rows_per_image(&c), 577);
    assert_int_equal(llava_config(state,
                                  "{\"model_type\":\"llava\",\"image_token_index\":31999,"
                                  "\"architectures\":[\"LlavaForConditionalGeneration\"]}",
                                  &c, &needs_tower),
                     LV_OK);
    assert_int_equal(c.text.n_kv_heads, c.text.n_heads);
    assert_int_equal(c.text.head_dim, 128);
}

static void pretraining_tp_changes_nothing(void **state)
{
    lv_llama_config c;
    assert_int_equal(llama_config(state, LLAMA(",\"pretraining_tp\":2"), &c), LV_OK);
}

static void a_tensor_that_is_not_finite_is_named(void **state)
{
    static const struct {
        const char *dtype;
        uint32_t value, bytes;
    } cases[] = {{"F32", 0x7fc00000, 4}, {"F32", 0xff800000, 4}, {"BF16", 0x7f80, 2},
                 {"F16", 0xfc01, 2},     {"F16", 0x7bff, 2},     {"BF16", 0x7f7f, 2}};
    lv_llava_config config = fixture_llava_config("linear");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char header[128], data[4 * 8] = {0};
        const uint32_t bytes = cases[i].bytes;
        memcpy(data + 5 * bytes, &cases[i].value, bytes);
        snprintf(header, sizeof header,
                 "{\"model.norm.weight\":{\"dtype\":\"%s\",\"shape\":[8],\"data_offsets\":[0,%u]}}",
                 cases[i].dtype, 8 * bytes);
        fixture_safetensors(state, "model.safetensors", header, data, 8 * bytes);
        if (i < 4) {
            assert_fails(lv_hf_check_finite(&config, *state, LV_PART_LANGUAGE, 0, 1), LV_ERR_FORMAT,
                         "tensor \"model.norm.weight\": element 5 of 8 is not finite");
        } else {
            assert_int_equal(lv_hf_check_finite(&config, *state, LV_PART_LANGUAGE, 0, 1), LV_OK);
        }
    }
}

static void either_object_of_a_llava_ties_the_head(void **state)
{
    const char *const tied[] = {"", ",\"tie_word_embeddings\":true"};
    lv_llava_config c;
    bool needs_tower = true;
    for (int i = 0; i < 4; i++) {
        char json[1024];
        snprintf(json, sizeof json, HF("%s", "", "%s"), tied[i % 2], tied[i / 2]);
        assert_int_equal(llava_config(state, json, &c, &needs_tower), LV_OK);
        assert_int_equal(c.text.tied, i > 0);
    }
}

static void hf_llava_refuses_what_it_can_not_do(void **state)
{
    const struct {
        const char *json, *part;
        int code;
    } cases[] = {
        {HF("", "", ",\"projector_hidden_act\":\"relu\""), "projector_hidden_act",
         LV_ERR_UNSUPPORTED},
        {HF("", "", ",\"multimodal_projector_bias\":false"), "multimodal_projector_bias",
         LV_ERR_UNSUPPORTED},
        {HF("", "", ",\"vision_feature_layer\":[-2,-3]"), "vision_feature_layer", LV_ERR_FORMAT},
        {HF("", "", ",\"vision_feature_layer\":-4"), "hidden state -4", LV_ERR_FORMAT},
        {HF("", "", ",\"vision_feature_layer\":3"), "hidden state 3", LV_ERR_FORMAT},
        {HF("", "", ",\"vision_feature_select_strategy\":\"mean\""),
         "vision_feature_select_strategy", LV_ERR_UNSUPPORTED},
        {HF("", "", ",\"image_token_id\":10"), "outside the vocabulary", LV_ERR_FORMAT},
        {HF("", "", ",\"quantization_config\":{\"bits\":4}"), "quantization_config",
         LV_ERR_UNSUPPORTED},
        {HF(",\"model_type\":\"mistral\"", "", ""), "mistral", LV_ERR_UNSUPPORTED},
        {HF("", ",\"model_type\":\"siglip_vision_model\"", ""), "siglip", LV_ERR_UNSUPPORTED},
        {HF(",\"rope_scaling\":{\"type\":\"dynamic\"}", "", ""), "rope_scaling",
         LV_ERR_UNSUPPORTED},
        {LLAMA(""), "expected a LLaVA", LV_ERR_CONFIG},
    };
    lv_llava_config c;
    bool needs_tower;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_fails(llava_config(state, cases[i].json, &c, &needs_tower), cases[i].code,
                     cases[i].part);
    }
}

static void original_llava_needs_a_tower_unless_it_has_one(void **state)
{
    lv_llava_config c;
    bool needs_tower = false;
    assert_int_equal(llava_config(state, ORIGINAL(",\"mm_hidden_size\":24"), &c, &needs_tower),
                     LV_OK);
    assert_true(needs_tower);
    assert_int_equal(c.vision.hidden_size, 0);
    assert_type(&c.connector, "linear");
    assert_int_equal(c.connector.in_size, 24);
    assert_int_equal(c.image_token_id, -1);
    assert_int_equal(llava_config(state,
                                  ORIGINAL(",\"vision_config\":{" CLIP_BODY "},"
                                           "\"mm_projector_type\":\"mlp3x_gelu\","
                                           "\"mm_vision_select_feature\":\"cls_patch\""),
                                  &c, &needs_tower),
                     LV_OK);
    assert_false(needs_tower);
    assert_type(&c.connector, "mlp3x_gelu");
    assert_int_equal(c.connector.in_size, 8);
    assert_false(c.vision_select_patch);
    const struct {
        const char *json, *part;
        int code;
    } cases[] = {
        {ORIGINAL(""), "mm_hidden_size", LV_ERR_FORMAT},
        {ORIGINAL(",\"mm_hidden_size\":9,\"vision_config\":{" CLIP_BODY "}"), "mm_hidden_size",
         LV_ERR_FORMAT},
        {ORIGINAL(",\"mm_hidden_size\":9,\"mm_use_im_start_end\":true"), "mm_use_im_start_end",
         LV_ERR_UNSUPPORTED},
        {ORIGINAL(",\"mm_hidden_size\":9,\"mm_use_im_patch_token\":true"), "mm_use_im_patch_token",
         LV_ERR_UNSUPPORTED},
        {ORIGINAL(",\"mm_hidden_size\":9,\"mm_resampler_type\":\"qformer\""), "mm_resampler_type",
         LV_ERR_UNSUPPORTED},
        {ORIGINAL(",\"mm_hidden_size\":9,\"mm_projector_type\":\"ldp\""), "ldp",
         LV_ERR_UNSUPPORTED},
        {ORIGINAL(",\"mm_hidden_size\":9,\"mm_projector_type\":\"identity\""), "identity",
         LV_ERR_FORMAT},
        {ORIGINAL(",\"mm_hidden_size\":9,\"image_aspect_ratio\":\"anyres\""), "image_aspect_ratio",
         LV_ERR_UNSUPPORTED},
        {ORIGINAL(",\"mm_hidden_size\":9,\"unfreeze_mm_vision_tower\":true"),
         "unfreeze_mm_vision_tower", LV_ERR_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_fails(llava_config(state, cases[i].json, &c, &needs_tower), cases[i].code,
                     cases[i].part);
    }
}

static void image_norms_come_from_either_processor_file(void **state)
{
    float mean[3], std[3];
    assert_int_equal(lv_hf_image_norm(mean, std, lv_tower_find(NULL), 336, *state), LV_OK);
    assert_true(mean[0] == 0.48145466f && std[2] == 0.27577711f);
    fixture_write(state, "processor_config.json",
                  "{\"image_processor\":{\"image_mean\":[0.5,0.25,0],\"image_std\":[1,2,3]}}");
    assert_int_equal(lv_hf_image_norm(mean, std, lv_tower_find(NULL), 336, *state), LV_OK);
    assert_true(mean[1] == 0.25f && std[2] == 3);
    fixture_write(state, "preprocessor_config.json", "{\"image_mean\":[1,1,1],\"resample\":3}");
    assert_int_equal(lv_hf_image_norm(mean, std, lv_tower_find(NULL), 336, *state), LV_OK);
    assert_true(mean[0] == 1 && std[0] == 0.26862954f);
    const char *const good[] = {
        "{\"size\":336,\"crop_size\":336}",
        "{\"size\":{\"shortest_edge\":336},\"crop_size\":{\"height\":336,\"width\":336}}",
        "{\"size\":{\"height\":336,\"width\":336},\"do_pad\":true}",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        fixture_write(state, "preprocessor_config.json", good[i]);
        assert_int_equal(lv_hf_image_norm(mean, std, lv_tower_find(NULL), 336, *state), LV_OK);
    }
    const struct {
        const char *json, *part;
        int code;
    } cases[] = {
        {"{\"image_mean\":[1,1]}", "image_mean", LV_ERR_FORMAT},
        {"{\"image_std\":[1,0,1]}", "image_std", LV_ERR_FORMAT},
        {"{\"image_std\":[1,\"1\",1]}", "image_std", LV_ERR_FORMAT},
        {"{\"do_normalize\":false}", "do_normalize", LV_ERR_UNSUPPORTED},
        {"{\"resample\":2}", "resample", LV_ERR_UNSUPPORTED},
        {"{\"size\":224}", "\"size\": 224, but images are", LV_ERR_UNSUPPORTED},
        {"{\"size\":{\"shortest_edge\":384},\"crop_size\":336}", "\"size\"", LV_ERR_UNSUPPORTED},
        {"{\"size\":{\"height\":336,\"width\":336}}", "\"size\"", LV_ERR_UNSUPPORTED},
        {"{\"size\":{\"longest_edge\":336}}", "\"size\"", LV_ERR_UNSUPPORTED},
        {"{\"crop_size\":{\"height\":336,\"width\":224}}", "\"crop_size\"", LV_ERR_UNSUPPORTED},
        {"{\"rescale_factor\":1}", "rescale_factor", LV_ERR_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture_write(state, "preprocessor_config.json", cases[i].json);
        assert_fails(lv_hf_image_norm(mean, std, lv_tower_find(NULL), 336, *state), cases[i].code,
                     cases[i].part);
    }
}

static void projector_types_have_one_spelling(void **state)
{
    (void)state;
    const char *const good[] = {"linear", "identity", "mlp1x_gelu", "mlp2x_gelu", "mlp12x_gelu"};
    const char *const bad[] = {"",
                               "Linear",
                               "mlp0x_gelu",
                               "mlp-1x_gelu",
                               "mlp02x_gelu",
                               "mlp2x_gelu ",
                               "mlp 2x_gelu",
                               "mlpx_gelu",
                               "mlp2x_relu",
                               "mlp999x_gelu"};
    lv_connector_config c;
    char buf[32];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(lv_connector_config_parse(&c, good[i]), LV_OK);
        assert_string_equal(lv_connector_type(buf, sizeof buf, &c), good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_fails(lv_connector_config_parse(&c, bad[i]), LV_ERR_CONFIG, "mlpNx_gelu");
    }
}

static void names_of_all_families_become_canonical(void **state)
{
    (void)state;
    static const struct {
        const char *name, *canonical;
    } cases[] = {
        {"vision_model.pre_layrnorm.bias", "vision_tower.vision_model.pre_layrnorm.bias"},
        {"embeddings.class_embedding", "vision_tower.vision_model.embeddings.class_embedding"},
        {"vision_tower.embeddings.class_embedding",
         "vision_tower.vision_model.embeddings.class_embedding"},
        {"model.vision_tower.vision_model.post_layernorm.weight",
         "vision_tower.vision_model.post_layernorm.weight"},
        {"model.vision_tower.vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias",
         "vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias"},
        {"model.layers.3.mlp.up_proj.weight", "language_model.model.layers.3.mlp.up_proj.weight"},
        {"model.embed_tokens.weight", "language_model.model.embed_tokens.weight"},
        {"lm_head.weight", "language_model.lm_head.weight"},
        {"language_model.model.norm.weight", "language_model.model.norm.weight"},
        {"language_model.lm_head.weight", "language_model.lm_head.weight"},
        {"model.language_model.layers.0.input_layernorm.weight",
         "language_model.model.layers.0.input_layernorm.weight"},
        {"language_model.norm.weight", "language_model.model.norm.weight"},
        {"model.language_model.model.norm.weight", "language_model.model.norm.weight"},
        {"model.language_model.model.layers.1.mlp.up_proj.weight",
         "language_model.model.layers.1.mlp.up_proj.weight"},
        {"model.language_model.lm_head.weight", "language_model.lm_head.weight"},
        {"multi_modal_projector.linear_1.weight", "projector.0.weight"},
        {"model.multi_modal_projector.linear_2.bias", "projector.2.bias"},
        {"model.mm_projector.weight", "projector.0.weight"},
        {"model.mm_projector.0.bias", "projector.0.bias"},
        {"model.mm_projector.4.weight", "projector.4.weight"},
        {"mm_projector.bias", "projector.0.bias"},
        {"projector.2.weight", "projector.2.weight"},
    };
    lv_part part;
    const lv_llava_config config = fixture_llava_config("mlp2x_gelu");
    char out[LV_HF_NAME_BYTES];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(lv_hf_name_canonical(out, &part, cases[i].name, &config),
                         LV_HF_NAME_PARAM);
        assert_string_equal(out, cases[i].canonical);
    }
    const char *const ignored[] = {
        "logit_scale", "text_model.final_layer_norm.bias", "visual_projection.weight",
        "model.layers.0.self_attn.rotary_emb.inv_freq", "vision_model.embeddings.position_ids"};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
        assert_int_equal(lv_hf_name_canonical(out, &part, ignored[i], &config), LV_HF_NAME_IGNORED);
    }
    assert_int_equal(lv_hf_name_canonical(out, &part, "transformer.h.0.weight", &config),
                     LV_HF_NAME_UNKNOWN);
}

static const char *data_file(char path[512], const char *name)
{
    const char *data = getenv("LLAVA_TEST_DATA");
    snprintf(path, 512, "%s/%s", data ? data : "", name);
    return lv_file_exists(path) ? path : NULL;
}

static void all_names_of_llava_7b_map_one_to_one(void **state)
{
    lv_part part;
    const lv_llava_config config = fixture_llava_config("mlp2x_gelu");
    char path[512], canonical[LV_HF_NAME_BYTES], again[LV_HF_NAME_BYTES];
    cJSON *root = NULL;
    const cJSON *item;
    int n = 0, n_params = 0;
    if (!data_file(path, "hf_names/llava-v1.5-7b.index.json")) {
        skip();
    }
    assert_int_equal(lv_json_read(&root, path), LV_OK);
    cJSON_ArrayForEach (item, lv_json_find(root, "weight_map")) {
        n++;
        lv_hf_name_class class = lv_hf_name_canonical(canonical, &part, item->string, &config);
        if (strstr(item->string, "inv_freq")) {
            assert_int_equal(class, LV_HF_NAME_IGNORED);
            continue;
        }
        assert_int_equal(class, LV_HF_NAME_PARAM);
        lv_hf_name_for(again, LV_HF_LLAVA_ORIGINAL, NULL, canonical);
        assert_string_equal(again, item->string);
        n_params++;
    }
    assert_int_equal(n, 327);
    assert_int_equal(n_params, 295); /* 32 layers * 9, embeddings, norm, head, 4 of the projector */
    cJSON_Delete(root);
    assert_non_null(data_file(path, "hf_names/llava-v1.5-7b.config.json"));
    char *text = NULL;
    size_t bytes;
    lv_llava_config c;
    bool needs_tower = false;
    assert_int_equal(lv_file_read(&text, &bytes, path), LV_OK);
    assert_int_equal(llava_config(state, text, &c, &needs_tower), LV_OK);
    free(text);
    assert_true(needs_tower);
    assert_type(&c.connector, "mlp2x_gelu");
    assert_int_equal(c.connector.in_size, 1024);
    assert_int_equal(c.text.n_kv_heads, 32);
    assert_true(c.text.rms_norm_eps == 1e-5);
}

/* A tokenizer of n pieces: <unk>, <s>, </s> and letters. */
static void write_tokenizer(void **state, int n, const char *more_added, bool config)
{
    char *text = lv_path("%s", "");
    for (int i = 0; i < n; i++) {
        char *longer = i < 3 ? lv_path("%s%s\"%s\":%d", text, i ? "," : "",
                                       (const char *[]){"<unk>", "<s>", "</s>"}[i], i)
                             : lv_path("%s,\"%c\":%d", text, 'a' + i, i);
        free(text);
        text = longer;
    }
    char *json = lv_path("{\"version\":\"1.0\",\"added_tokens\":[{\"id\":1,\"content\":\"<s>\","
                         "\"special\":true}%s],\"model\":{\"type\":\"BPE\",\"vocab\":{%s},"
                         "\"merges\":[]}}",
                         more_added, text);
    fixture_write(state, "tokenizer/tokenizer.json", json);
    if (config) {
        fixture_write(state, "tokenizer/tokenizer_config.json",
                      "{\"bos_token\":\"<s>\",\"model_max_length\":"
                      "1000000000000000019884624838656,\"added_tokens_decoder\":"
                      "{\"1\":{\"content\":\"<s>\",\"special\":true}}}");
    }
    free(json);
    free(text);
}

static void assert_same_vision(const lv_vision_config *a, const lv_vision_config *b)
{
    assert_int_equal(a->hidden_size, b->hidden_size);
    assert_int_equal(a->intermediate_size, b->intermediate_size);
    assert_int_equal(a->n_layers, b->n_layers);
    assert_int_equal(a->n_heads, b->n_heads);
    assert_int_equal(a->image_size, b->image_size);
    assert_int_equal(a->patch_size, b->patch_size);
    assert_int_equal(a->n_channels, b->n_channels);
    assert_int_equal(a->projection_dim, b->projection_dim);
    assert_true(a->layer_norm_eps == b->layer_norm_eps);
    assert_int_equal(a->quick_gelu, b->quick_gelu);
}

static void assert_same_text(const lv_llama_config *a, const lv_llama_config *b)
{
    assert_int_equal(a->hidden_size, b->hidden_size);
    assert_int_equal(a->intermediate_size, b->intermediate_size);
    assert_int_equal(a->n_layers, b->n_layers);
    assert_int_equal(a->n_heads, b->n_heads);
    assert_int_equal(a->n_kv_heads, b->n_kv_heads);
    assert_int_equal(a->head_dim, b->head_dim);
    assert_int_equal(a->max_positions, b->max_positions);
    assert_true(a->rms_norm_eps == b->rms_norm_eps && a->rope_theta == b->rope_theta);
    assert_true(a->tied == b->tied && a->qkv_bias == b->qkv_bias && a->o_bias == b->o_bias &&
                a->mlp_bias == b->mlp_bias);
    assert_int_equal(a->bos_token_id, b->bos_token_id);
    assert_int_equal(a->eos_token_id, b->eos_token_id);
    assert_int_equal(a->pad_token_id, b->pad_token_id);
}

/* Saves a filled model, reads it back by its own config, compares. */
static lv_llava_config round_trip(void **state, lv_llava_config config, const char *tokenizer,
                                  bool expect_original)
{
    const char *dir = fixture_path(state, "out");
    lv_params *saved = fixture_declare(&config);
    lv_llava_config loaded;
    bool original = !expect_original, needs_tower = true;
    fixture_fill(saved);
    assert_int_equal(lv_hf_save_llava(saved, &config,
                                      tokenizer ? fixture_path(state, tokenizer) : NULL, NULL,
                                      false, LV_F32, dir, &original),
                     LV_OK);
    assert_int_equal(original, expect_original);
    assert_int_equal(lv_hf_llava_config(&loaded, &needs_tower, dir), LV_OK);
    assert_false(needs_tower);
    lv_params *again = fixture_declare(&loaded);
    assert_int_equal(load_all(again, &loaded, dir), LV_OK);
    fixture_assert_equal(saved, again);
    assert_same_vision(&loaded.vision, &config.vision);
    assert_same_text(&loaded.text, &config.text);
    assert_ptr_equal(loaded.connector.kind, config.connector.kind);
    char type[64];
    assert_type(&loaded.connector, lv_connector_type(type, sizeof type, &config.connector));
    assert_int_equal(loaded.connector.in_size, config.connector.in_size);
    assert_int_equal(loaded.connector.out_size, config.connector.out_size);
    assert_int_equal(loaded.vision_select_layer, config.vision_select_layer);
    assert_int_equal(loaded.vision_select_patch, config.vision_select_patch);
    assert_memory_equal(loaded.image_mean, config.image_mean, sizeof loaded.image_mean);
    assert_memory_equal(loaded.image_std, config.image_std, sizeof loaded.image_std);
    lv_params_destroy(&saved);
    lv_params_destroy(&again);
    return loaded;
}

static void every_connector_comes_back_as_it_was_saved(void **state)
{
    const struct {
        const char *projector;
        bool original;
    } cases[] = {{"mlp2x_gelu", false}, {"linear", false},  {"mlp1x_gelu", true},
                 {"mlp3x_gelu", true},  {"identity", true}, {"mlp2x_gelu", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lv_llava_config c = fixture_llava_config(cases[i].projector);
        c.text.tied = i == 1 || i == 3;
        c.vision_select_patch = i != 2;
        c.vision_select_layer = -1 - (int)i % 3;
        lv_llava_config loaded = round_trip(state, c, NULL, cases[i].original);
        assert_int_equal(loaded.image_token_id, cases[i].original ? -1 : 10);
        assert_int_equal(loaded.text.vocab_size, cases[i].original ? 10 : 64);
    }
}

static void eos_ids_are(void **state, const char *file, const char *in, const double *ids, int n)
{
    cJSON *json = NULL;
    assert_int_equal(lv_json_read(&json, fixture_path(state, file)), LV_OK);
    const cJSON *list = lv_json_find(in ? lv_json_find(json, in) : json, "eos_token_id");
    assert_int_equal(cJSON_IsArray(list) ? cJSON_GetArraySize(list) : -1, n > 1 ? n : -1);
    for (int i = 0; i < n; i++) {
        assert_true((n > 1 ? cJSON_GetArrayItem(list, i) : list)->valuedouble == ids[i]);
    }
    cJSON_Delete(json);
}

static void all_ids_that_stop_are_written_beside_the_settings_of_the_base(void **state)
{
    const char *const forms[] = {"mlp2x_gelu", "mlp3x_gelu"};
    lv_hf_ids ids = {.bos = 1, .eos = 2, .stops = {7, 2, 9}, .n_stops = 3};
    cJSON *json = NULL;
    fixture_write(state, "base/generation_config.json",
                  "{\"eos_token_id\":7,\"temperature\":0.25,\"do_sample\":true}");
    for (int i = 0; i < 3; i++) {
        lv_llava_config c = fixture_llava_config(forms[i % 2]);
        lv_params *params = fixture_declare(&c);
        bool original = false;
        fixture_fill(params);
        ids.n_stops = i < 2 ? 3 : 1;
        assert_int_equal(lv_hf_save_llava(params, &c, fixture_path(state, "base"), &ids, false,
                                          LV_F32, fixture_path(state, "out"), &original),
                         LV_OK);
        const double expected[] = {7, 2, 9};
        eos_ids_are(state, "out/generation_config.json", NULL, expected, ids.n_stops);
        eos_ids_are(state, "out/config.json", original ? NULL : "text_config", expected,
                    ids.n_stops);
        assert_int_equal(lv_json_read(&json, fixture_path(state, "out/generation_config.json")),
                         LV_OK);
        assert_true(lv_json_find(json, "temperature")->valuedouble == 0.25);
        assert_true(cJSON_IsTrue(lv_json_find(json, "do_sample")));
        cJSON_Delete(json);
        lv_params_destroy(&params);
    }
}

static void a_grown_vocabulary_gets_rows_of_the_mean(void **state)
{
    lv_llava_config loaded = round_trip(state, fixture_llava_config("mlp2x_gelu"), NULL, false);
    lv_params *params = fixture_declare(&loaded);
    assert_int_equal(lv_hf_load(params, &loaded, fixture_path(state, "out"), LV_PART_LANGUAGE),
                     LV_OK);
    const char *const grown[] = {"language_model.model.embed_tokens.weight",
                                 "language_model.lm_head.weight"};
    for (int g = 0; g < 2; g++) {
        const lv_real *x = lv_tensor_real(&lv_params_find(params, grown[g])->tensor);
        for (int k = 0; k < 8; k++) {
            double mean = 0;
            for (int r = 0; r < 10; r++) {
                mean += (double)x[r * 8 + k] / 10;
            }
            for (int r = 10; r < 64; r++) {
                assert_true(fabs((double)x[r * 8 + k] - mean) < 1e-6);
            }
        }
    }
    lv_params_destroy(&params);
}

/* The fixture's values are exact in bf16, so all of it comes back; the mean of the vocabulary is
 * taken from rows that lie in the file. */
static void a_bf16_directory_comes_back_and_its_frozen_vocabulary_grows(void **state)
{
    lv_llava_config c = fixture_llava_config("mlp2x_gelu"), loaded;
    lv_params *saved = fixture_declare(&c);
    lv_weights *weights = NULL;
    cJSON *json = NULL;
    bool original, needs_tower;
    fixture_fill(saved);
    char *dir = lv_path("%s", fixture_path(state, "half"));
    assert_int_equal(lv_hf_save_llava(saved, &c, NULL, NULL, false, LV_BF16, dir, &original),
                     LV_OK);
    assert_int_equal(lv_json_read(&json, fixture_path(state, "half/config.json")), LV_OK);
    assert_string_equal(lv_json_find(json, "torch_dtype")->valuestring, "bfloat16");
    cJSON_Delete(json);
    assert_int_equal(lv_weights_open(&weights, dir), LV_OK);
    for (size_t i = 0; i < lv_weights_count(weights); i++) {
        assert_int_equal(lv_weights_at(weights, i)->dtype, LV_BF16);
    }
    lv_weights_close(&weights);

    assert_int_equal(lv_hf_llava_config(&loaded, &needs_tower, dir), LV_OK);
    lv_params *again = fixture_declare(&loaded), *grown;
    lv_param *embedding = lv_params_find(again, "language_model.model.embed_tokens.weight");
    embedding->takes_bf16 = true;
    assert_int_equal(load_all(again, &loaded, dir), LV_OK);
    assert_true(embedding->mapped && embedding->tensor.dtype == LV_BF16);
    loaded.image_token_id = -1;
    assert_int_equal(lv_hf_save_llava(again, &loaded, NULL, NULL, false, LV_F32,
                                      fixture_path(state, "grown"), &original),
                     LV_OK);
    assert_int_equal(lv_hf_llava_config(&loaded, &needs_tower, fixture_path(state, "grown")),
                     LV_OK);
    assert_int_equal(loaded.text.vocab_size, 128);
    grown = fixture_declare(&loaded);
    assert_int_equal(load_all(grown, &loaded, fixture_path(state, "grown")), LV_OK);
    fixture_assert_equal(saved, grown);
    const lv_real *x =
        lv_tensor_real(&lv_params_find(grown, "language_model.model.embed_tokens.weight")->tensor);
    for (int k = 0; k < 8; k++) {
        double mean = 0;
        for (int r = 0; r < 64; r++) {
            mean += (double)x[r * 8 + k] / 64;
        }
        assert_true(fabs((double)x[100 * 8 + k] - mean) < 1e-6);
    }
    lv_params_destroy(&saved);
    lv_params_destroy(&again);
    lv_params_destroy(&grown);
    free(dir);
}

static void the_image_token_gets_the_tokenizers_next_id(void **state)
{
    const struct {
        int pieces;
        const char *added;
        int id, rows;
    } cases[] = {
        {10, "", 10, 64},                                    /* as many as rows */
        {8, "", 8, 10},                                      /* fewer: a row is there already */
        {10, ",{\"id\":10,\"content\":\"<pad>\"}", 11, 64},  /* more */
        {10, ",{\"id\":63,\"content\":\"<pad>\"}", 64, 128}, /* the first row of a block */
        {10, ",{\"id\":70,\"content\":\"<pad>\"}", 71, 128}, /* many more */
        {10, ",{\"id\":9,\"content\":\"<image>\"}", 9, 10},  /* there is one */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cJSON *json = NULL;
        write_tokenizer(state, cases[i].pieces, cases[i].added, true);
        lv_llava_config c = round_trip(state, fixture_llava_config("linear"), "tokenizer", false);
        assert_int_equal(c.image_token_id, cases[i].id);
        assert_int_equal(c.text.vocab_size, cases[i].rows);
        lv_hf_tokenizer written;
        assert_int_equal(lv_hf_tokenizer_read(&written, fixture_path(state, "out")), LV_OK);
        assert_int_equal(written.image_id, cases[i].id);
        assert_int_equal(lv_json_read(&json, fixture_path(state, "out/tokenizer.json")), LV_OK);
        int n = 0;
        const cJSON *item;
        cJSON_ArrayForEach (item, lv_json_find(json, "added_tokens")) {
            n += strcmp(lv_json_find(item, "content")->valuestring, "<image>") == 0;
        }
        assert_int_equal(n, 1);
        cJSON_Delete(json);
    }
}

static void the_tokenizer_config_keeps_its_numbers_and_lists_the_token(void **state)
{
    char *text = NULL;
    size_t n;
    write_tokenizer(state, 10, "", true);
    round_trip(state, fixture_llava_config("linear"), "tokenizer", false);
    assert_int_equal(lv_file_read(&text, &n, fixture_path(state, "out/tokenizer_config.json")),
                     LV_OK);
    assert_non_null(strstr(text, "1000000000000000019884624838656"));
    cJSON *root = cJSON_Parse(text);
    const cJSON *decoder = lv_json_find(root, "added_tokens_decoder");
    assert_string_equal(lv_json_find(lv_json_find(decoder, "10"), "content")->valuestring,
                        "<image>");
    assert_string_equal(lv_json_find(lv_json_find(decoder, "1"), "content")->valuestring, "<s>");
    cJSON_Delete(root);
    free(text);
}

static void a_tokenizer_without_config_gets_one_with_its_own_pieces(void **state)
{
    cJSON *json = NULL;
    write_tokenizer(state, 10, "", false);
    round_trip(state, fixture_llava_config("linear"), "tokenizer", false);
    assert_int_equal(lv_json_read(&json, fixture_path(state, "out/tokenizer_config.json")), LV_OK);
    assert_string_equal(lv_json_find(json, "bos_token")->valuestring, "<s>");
    assert_null(lv_json_find(json, "eos_token")); /* no added token has that id */
    const cJSON *decoder = lv_json_find(json, "added_tokens_decoder");
    assert_int_equal(cJSON_GetArraySize(decoder), 2);
    assert_string_equal(lv_json_find(lv_json_find(decoder, "10"), "content")->valuestring,
                        "<image>");
    cJSON_Delete(json);
}

static void a_sentencepiece_model_alone_is_counted_and_extended(void **state)
{
    /* three pieces (field 1), a trainer_spec (field 2), a varint (field 9) */
    const uint8_t model[] = {0x0a, 3, 1, 2, 3, 0x0a, 0, 0x0a, 1, 9, 0x12, 2, 7, 7, 0x48, 0x81, 1};
    lv_hf_tokenizer t;
    cJSON *json = NULL;
    fixture_write_bytes(state, "spm/tokenizer.model", model, sizeof model);
    fixture_write(state, "spm/added_tokens.json", "{\"<pad>\":3}");
    assert_int_equal(lv_hf_tokenizer_read(&t, fixture_path(state, "spm")), LV_OK);
    assert_int_equal(t.next_id, 4);
    lv_llava_config c = round_trip(state, fixture_llava_config("linear"), "spm", false);
    assert_int_equal(c.image_token_id, 4);
    assert_int_equal(lv_json_read(&json, fixture_path(state, "out/added_tokens.json")), LV_OK);
    assert_int_equal(lv_json_find(json, "<image>")->valueint, 4);
    assert_int_equal(lv_json_find(json, "<pad>")->valueint, 3);
    cJSON_Delete(json);
    assert_int_equal(lv_json_read(&json, fixture_path(state, "out/tokenizer_config.json")), LV_OK);
    const cJSON *decoder = lv_json_find(json, "added_tokens_decoder");
    assert_true(cJSON_IsTrue(lv_json_find(lv_json_find(decoder, "4"), "special")));
    assert_string_equal(lv_json_find(lv_json_find(decoder, "3"), "content")->valuestring, "<pad>");
    cJSON_Delete(json);
    for (size_t cut = 1; cut < sizeof model; cut++) { /* cut inside a field or behind one */
        fixture_write_bytes(state, "spm/tokenizer.model", model, cut);
        int rc = lv_hf_tokenizer_read(&t, fixture_path(state, "spm"));
        bool whole = cut == 5 || cut == 7 || cut == 10 || cut == 14;
        assert_int_equal(rc, whole ? LV_OK : LV_ERR_FORMAT);
    }
}

static void tokenizer_files_that_can_not_be_extended_leave_nothing(void **state)
{
    lv_llava_config c = fixture_llava_config("linear");
    lv_params *params = fixture_declare(&c);
    bool original;
    const char *huge_id =
        "{\"model\":{\"vocab\":{}},\"added_tokens\":[{\"id\":1e14,\"content\":\"x\"}]}";
    const char *const bad[] = {"{", "{\"model\":{}}",
                               "{\"model\":{\"vocab\":{}},\"added_tokens\":[7]}", huge_id};
    fixture_fill(params);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fixture_write(state, "tokenizer/tokenizer.json", bad[i]);
        assert_fails(lv_hf_save_llava(params, &c, fixture_path(state, "tokenizer"), NULL, false,
                                      LV_F32, fixture_path(state, "out"), &original),
                     LV_ERR_FORMAT, "tokenizer.json");
        assert_false(lv_file_exists(fixture_path(state, "out")));
        assert_false(lv_file_exists(fixture_path(state, "out.partial")));
    }
    lv_params_destroy(&params);
}

static void bare_models_come_back_as_they_were_saved(void **state)
{
    lv_llava_config c = fixture_llava_config("identity"), loaded = c;
    c.text.qkv_bias = c.text.o_bias = c.text.mlp_bias = true;
    c.text.head_dim = 6;
    c.vision.quick_gelu = false;
    lv_params *saved = fixture_declare(&c);
    fixture_fill(saved);
    assert_int_equal(lv_hf_save_vision(saved, &c.vision, fixture_path(state, "clip")), LV_OK);
    assert_int_equal(lv_hf_save_language(saved, &c.text, NULL, fixture_path(state, "llama")),
                     LV_OK);
    memset(&loaded.vision, 0, sizeof loaded.vision);
    memset(&loaded.text, 0, sizeof loaded.text);
    assert_int_equal(lv_hf_vision_config(&loaded.vision, fixture_path(state, "clip")), LV_OK);
    assert_int_equal(lv_hf_language_config(&loaded.text, fixture_path(state, "llama")), LV_OK);
    assert_same_vision(&loaded.vision, &c.vision);
    assert_same_text(&loaded.text, &c.text);
    assert_int_equal(loaded.text.vocab_size, c.text.vocab_size);
    lv_params *again = fixture_declare(&loaded);
    assert_int_equal(lv_hf_load(again, &c, fixture_path(state, "clip"), LV_PART_VISION), LV_OK);
    assert_int_equal(lv_hf_load(again, &c, fixture_path(state, "llama"), LV_PART_LANGUAGE), LV_OK);
    fixture_assert_equal(saved, again);
    assert_fails(lv_hf_load(again, &c, fixture_path(state, "clip"), LV_PART_LANGUAGE),
                 LV_ERR_FORMAT, "language_model.model.embed_tokens.weight");
    lv_params_destroy(&saved);
    lv_params_destroy(&again);
}

/* The model's tensors as one file under names of that kind, in that dtype, behind one odd byte. */
static void write_as(void **state, const char *name, lv_params *params, lv_hf_kind kind,
                     const char *lead, lv_dtype dtype)
{
    char *header = lv_path("{\"odd\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}");
    char *data = calloc(1, 1 << 17);
    size_t at = 1;
    for (size_t i = 0; i < lv_params_count(params); i++) {
        const lv_param *p = lv_params_at(params, i);
        char file_name[LV_HF_NAME_BYTES], shape[64] = "";
        size_t bytes = (size_t)lv_tensor_count(&p->tensor) * lv_dtype_bytes(dtype);
        for (int d = 0, n = 0; d < p->tensor.n_dims; d++) {
            n += snprintf(shape + n, sizeof shape - (size_t)n, "%s%d", d ? "," : "",
                          (int)p->tensor.shape[d]);
        }
        lv_hf_name_for(file_name, kind, NULL, p->name);
        char *longer = lv_path("%s,\"%s%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":"
                               "[%zu,%zu]}",
                               header, lead, file_name,
                               dtype == LV_F32   ? "F32"
                               : dtype == LV_F16 ? "F16"
                                                 : "BF16",
                               shape, at, at + bytes);
        free(header);
        header = longer;
        lv_convert_from_real(data + at, dtype, p->tensor.data, lv_tensor_count(&p->tensor));
        at += bytes;
    }
    char *whole = lv_path("%s}", header);
    fixture_safetensors(state, name, whole, data, at);
    free(whole);
    free(header);
    free(data);
}

static void any_dtype_at_odd_offsets_under_any_names_loads_equal(void **state)
{
    const struct {
        lv_hf_kind kind;
        const char *lead;
        lv_dtype dtype;
    } cases[] = {
        {LV_HF_LLAVA, "", LV_F16}, {LV_HF_LLAVA_ORIGINAL, "", LV_BF16}, {LV_HF_LLAVA, "", LV_F32}};
    lv_llava_config c = fixture_llava_config("mlp2x_gelu");
    lv_params *params = fixture_declare(&c);
    fixture_fill(params);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lv_params *again = fixture_declare(&c);
        write_as(state, "model.safetensors", params, cases[i].kind, cases[i].lead, cases[i].dtype);
        assert_int_equal(load_all(again, &c, *state), LV_OK);
        fixture_assert_equal(params, again);
        lv_params_destroy(&again);
    }
    lv_params_destroy(&params);
}

static void a_projector_file_fills_the_projector_alone(void **state)
{
    lv_llava_config c = fixture_llava_config("mlp3x_gelu");
    lv_params *saved = fixture_declare(&c), *again = fixture_declare(&c);
    cJSON *digests = NULL;
    fixture_fill(saved);
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(lv_hf_save_projector(saved, *state, "projector.safetensors"), LV_OK);
        assert_int_equal(lv_manifest_read(&digests, fixture_path(state, "digests.json")), LV_OK);
        assert_int_equal(cJSON_GetArraySize(lv_json_find(digests, "files")), 1);
        assert_int_equal(lv_manifest_check_files(digests, *state, NULL), LV_OK);
        cJSON_Delete(digests);
    }
    assert_int_equal(
        lv_hf_load(again, &c, fixture_path(state, "projector.safetensors"), LV_PART_CONNECTOR),
        LV_OK);
    assert_int_equal(lv_hf_load(again, &c, *state, LV_PART_CONNECTOR), LV_OK);
    lv_param *w = lv_params_find(again, "projector.4.weight");
    assert_memory_equal(w->tensor.data, lv_params_find(saved, "projector.4.weight")->tensor.data,
                        64 * sizeof(lv_real));
    assert_null(lv_params_find(again, "language_model.lm_head.weight")->tensor.data);
    lv_params_destroy(&saved);
    lv_params_destroy(&again);
}

#define T(name, shape, begin, end)                                                                 \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

static void tied_embeddings_are_one_parameter_under_either_name(void **state)
{
    lv_params *params = NULL;
    lv_llava_config c = fixture_llava_config("linear");
    const float data[4] = {1, 2, 1, 2}, other[4] = {1, 2, 1, 3};
    c.text.tied = true;
    assert_int_equal(lv_params_create(&params), LV_OK);
    lv_params_part_begin(params, LV_PART_LANGUAGE);
    lv_params_declare(params, "language_model.model.embed_tokens.weight", 2, (int64_t[]){1, 2},
                      true, true);
    assert_int_equal(lv_params_allocate(params), LV_OK);
    fixture_safetensors(state, "model.safetensors", "{" T("lm_head.weight", "[1,2]", 0, 8) "}",
                        data, 8);
    assert_int_equal(load_all(params, &c, *state), LV_OK);
    assert_true(lv_tensor_real(&lv_params_at(params, 0)->tensor)[1] == 2);
    const char *both = "{" T("lm_head.weight", "[1,2]", 0, 8) "," T("model.embed_tokens.weight",
                                                                    "[1,2]", 8, 16) "}";
    fixture_safetensors(state, "model.safetensors", both, data, 16);
    assert_int_equal(load_all(params, &c, *state), LV_OK);
    fixture_safetensors(state, "model.safetensors", both, other, 16);
    assert_fails(load_all(params, &c, *state), LV_ERR_FORMAT, "tie_word_embeddings");
    assert_int_equal(lv_hf_untie(&c, *state), LV_OK); /* as transformers 5 */
    assert_false(c.text.tied);
    assert_fails(load_all(params, &c, *state), LV_ERR_FORMAT, "lm_head.weight");
    c.text.tied = true;
    fixture_safetensors(state, "model.safetensors", both, data, 16);
    assert_int_equal(lv_hf_untie(&c, *state), LV_OK);
    assert_true(c.text.tied);
    lv_params_destroy(&params);
}

static void what_does_not_fit_the_model_is_named(void **state)
{
    lv_params *params = NULL;
    lv_llava_config c = fixture_llava_config("linear");
    const float data[12] = {1, 0, 0, 1, 0, 0, 0, 0, 1.00000012f, 0, 0, 1};
    assert_int_equal(lv_params_create(&params), LV_OK);
    lv_params_part_begin(params, LV_PART_CONNECTOR);
    lv_params_declare(params, "projector.0.weight", 2, (int64_t[]){2, 2}, true, true);
    assert_int_equal(lv_params_allocate(params), LV_OK);
    const struct {
        const char *header;
        size_t n;
        const char *part;
        int code;
    } cases[] = {
        {"{" T("projector.0.weight", "[2,2]", 0, 16) "}", 16, "", LV_OK},
        {"{" T("projector.0.weight", "[4]", 0, 16) "}", 16, "(2, 2)", LV_ERR_SHAPE},
        {"{" T("projector.0.weight", "[1,4]", 0, 16) "}", 16, "(1, 4)", LV_ERR_SHAPE},
        {"{" T("projector.0.weight", "[2,2]", 0, 16) "," T("other", "[1]", 16, 20) "}", 20,
         "\"other\"", LV_ERR_FORMAT},
        {"{" T("projector.0.weight", "[2,2]", 0, 16) "," T("projector.0.bias", "[1]", 16, 20) "}",
         20, "projector.0.bias", LV_ERR_FORMAT},
        {"{" T("projector.0.weight", "[2,2]", 0, 16) "," T("mm_projector.weight", "[1]", 16,
                                                           20) "}",
         20, "same parameter", LV_ERR_FORMAT},
        {"{}", 0, "no tensor for projector.0.weight", LV_ERR_FORMAT},
        {"{\"projector.0.weight\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,16]}}", 16,
         "dtype F64", LV_ERR_UNSUPPORTED},
        {"{" T("multi_modal_projector.linear_1.weight", "[2,2]", 0,
               16) "," T("multi_modal_projector.linear_2.bias", "[4]", 16, 32) "}",
         32, "", LV_OK},
        {"{" T("multi_modal_projector.linear_2.weight", "[2,2]", 0,
               16) "," T("multi_modal_projector.linear_1.weight", "[2,2]", 16, 32) "}",
         32, "", LV_OK},
        {"{" T("multi_modal_projector.linear_1.weight", "[2,2]", 0,
               16) "," T("multi_modal_projector.linear_2.weight", "[2,2]", 16, 32) "}",
         32, "linear_2", LV_ERR_UNSUPPORTED},
        {"{" T("multi_modal_projector.linear_1.weight", "[2,2]", 0,
               16) "," T("multi_modal_projector.linear_2.bias", "[4]", 16,
                         32) "," T("multi_modal_projector.linear_2.weight", "[2,2]", 32, 48) "}",
         48, "linear_2.weight", LV_ERR_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture_safetensors(state, "a.safetensors", cases[i].header, data, cases[i].n);
        int rc = lv_hf_load(params, &c, fixture_path(state, "a.safetensors"), LV_PART_CONNECTOR);
        if (rc != cases[i].code || (rc < 0 && !strstr(lv_error_message(), cases[i].part))) {
            fail_msg("%s: %d %s", cases[i].header, rc, lv_error_message());
        }
    }
    lv_params_destroy(&params);
}

static void a_flipped_byte_in_any_file_is_found(void **state)
{
    cJSON *digests = NULL;
    const cJSON *file;
    int n_files = 0;
    write_tokenizer(state, 10, "", true);
    round_trip(state, fixture_llava_config("mlp2x_gelu"), "tokenizer", false);
    char *dir = lv_path("%s", fixture_path(state, "out"));
    assert_int_equal(lv_manifest_read(&digests, fixture_path(state, "out/digests.json")), LV_OK);
    assert_int_equal(lv_manifest_check_files(digests, dir, NULL), LV_OK);
    cJSON_ArrayForEach (file, lv_json_find(digests, "files")) {
        char name[128];
        char *text = NULL;
        size_t n;
        snprintf(name, sizeof name, "out/%s", file->string);
        assert_int_equal(lv_file_read(&text, &n, fixture_path(state, name)), LV_OK);
        text[n - 1] ^= 1;
        fixture_write_bytes(state, name, text, n);
        assert_fails(lv_manifest_check_files(digests, dir, NULL), LV_ERR_FORMAT, file->string);
        text[n - 1] ^= 1;
        fixture_write_bytes(state, name, text, n);
        free(text);
        n_files++;
    }
    assert_int_equal(lv_manifest_check_files(digests, dir, NULL), LV_OK);
    assert_int_equal(n_files, 7);
    cJSON_Delete(digests);
    free(dir);
}

static void saving_again_replaces_its_own_model_alone(void **state)
{
    cJSON *digests = NULL;
    round_trip(state, fixture_llava_config("mlp2x_gelu"), NULL, false);
    assert_true(lv_file_exists(fixture_path(state, "out/processor_config.json")));
    round_trip(state, fixture_llava_config("mlp3x_gelu"), NULL, true);
    assert_false(lv_file_exists(fixture_path(state, "out/processor_config.json")));
    assert_false(lv_file_exists(fixture_path(state, "out.partial")));
    assert_false(lv_file_exists(fixture_path(state, "out.partial.old")));
    assert_int_equal(lv_manifest_read(&digests, fixture_path(state, "out/digests.json")), LV_OK);
    assert_int_equal(lv_manifest_check_files(digests, fixture_path(state, "out"), NULL), LV_OK);
    cJSON_Delete(digests);
    fixture_write(state, "out/notes.txt", "mine");
    assert_fails(lv_hf_check_replaceable(fixture_path(state, "out")), LV_ERR_CONFIG, "notes.txt");
}

static void the_processor_says_how_images_are_cut(void **state)
{
    for (int pad = 0; pad < 2; pad++) {
        lv_llava_config c = fixture_llava_config("mlp2x_gelu");
        lv_params *params = fixture_declare(&c);
        cJSON *json = NULL;
        bool original;
        fixture_fill(params);
        assert_int_equal(lv_hf_save_llava(params, &c, NULL, NULL, pad, LV_F32,
                                          fixture_path(state, "out"), &original),
                         LV_OK);
        assert_int_equal(lv_json_read(&json, fixture_path(state, "out/preprocessor_config.json")),
                         LV_OK);
        assert_string_equal(lv_json_find(json, "image_processor_type")->valuestring,
                            pad ? "LlavaImageProcessor" : "CLIPImageProcessor");
        assert_int_equal(cJSON_IsTrue(lv_json_find(json, "do_pad")), pad);
        lv_llava_config again;
        bool needs_tower;
        assert_int_equal(lv_hf_llava_config(&again, &needs_tower, fixture_path(state, "out")),
                         LV_OK);
        assert_int_equal(again.aspect_pad, pad);
        assert_int_equal(lv_json_find(lv_json_find(json, "crop_size"), "height")->valueint, 8);
        cJSON_Delete(json);
        assert_int_equal(lv_json_read(&json, fixture_path(state, "out/processor_config.json")),
                         LV_OK);
        assert_int_equal(lv_json_find(json, "patch_size")->valueint, 4);
        assert_int_equal(lv_json_find(json, "num_additional_image_tokens")->valueint, 1);
        cJSON_Delete(json);
        lv_params_destroy(&params);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_open, fixture_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_family_is_recognised),
        TEST(llama_keys_that_are_left_out_have_their_defaults),
        TEST(llama_keys_that_change_the_mathematics_stop_by_name),
        TEST(clip_is_read_bare_and_as_half_of_a_clip_model),
        TEST(hf_llava_has_the_defaults_of_its_parts),
        TEST(pretraining_tp_changes_nothing),
        TEST(a_tensor_that_is_not_finite_is_named),
        TEST(either_object_of_a_llava_ties_the_head),
        TEST(hf_llava_refuses_what_it_can_not_do),
        TEST(original_llava_needs_a_tower_unless_it_has_one),
        TEST(image_norms_come_from_either_processor_file),
        TEST(projector_types_have_one_spelling),
        TEST(names_of_all_families_become_canonical),
        TEST(all_names_of_llava_7b_map_one_to_one),
        TEST(every_connector_comes_back_as_it_was_saved),
        TEST(all_ids_that_stop_are_written_beside_the_settings_of_the_base),
        TEST(a_grown_vocabulary_gets_rows_of_the_mean),
        TEST(a_bf16_directory_comes_back_and_its_frozen_vocabulary_grows),
        TEST(the_image_token_gets_the_tokenizers_next_id),
        TEST(the_tokenizer_config_keeps_its_numbers_and_lists_the_token),
        TEST(a_tokenizer_without_config_gets_one_with_its_own_pieces),
        TEST(a_sentencepiece_model_alone_is_counted_and_extended),
        TEST(tokenizer_files_that_can_not_be_extended_leave_nothing),
        TEST(bare_models_come_back_as_they_were_saved),
        TEST(any_dtype_at_odd_offsets_under_any_names_loads_equal),
        TEST(a_projector_file_fills_the_projector_alone),
        TEST(tied_embeddings_are_one_parameter_under_either_name),
        TEST(what_does_not_fit_the_model_is_named),
        TEST(a_flipped_byte_in_any_file_is_found),
        TEST(saving_again_replaces_its_own_model_alone),
        TEST(the_processor_says_how_images_are_cut),
    };
    return cmocka_run_group_tests_name("hf", tests, NULL, NULL);
}
