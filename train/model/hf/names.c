/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensor names: in the files of each kind of directory, and as parameters. A part's names in files
 * begin with one of the prefixes below, or with none in a directory of its own; what follows is
 * changed by the rules of the vision tower or of the connector. [..] may be absent.
 *
 * vision_tower.X
 *   bare            X
 *   LLaVA, HF       [model.]vision_tower.X
 *   LLaVA           [model.]vision_tower.vision_tower.X
 *
 * projector.X
 *   LLaVA, HF       [model.]multi_modal_projector.X
 *   LLaVA           [model.]mm_projector.X
 *
 * language_model.model.X, language_model.lm_head.X
 *   bare, LLaVA     model.X, lm_head.X
 *   LLaVA, HF       [model.]language_model.[model.]X, [[model.]language_model.]lm_head.X
 */
#include "train/model/hf/internal.h"

#include <stdio.h>
#include <string.h>

/* The first that fits is taken: longer prefixes stand before their beginnings. */
static const struct {
    const char *prefix;
    lv_part part;
    bool hf; /* in the form of transformers' LlavaForConditionalGeneration */
} containers[] = {
    {"model.vision_tower.vision_tower.", LV_PART_VISION, false},
    {"vision_tower.vision_tower.", LV_PART_VISION, false},
    {"model.vision_tower.", LV_PART_VISION, false},
    {"vision_tower.", LV_PART_VISION, false},
    {"model.multi_modal_projector.", LV_PART_CONNECTOR, true},
    {"multi_modal_projector.", LV_PART_CONNECTOR, true},
    {"model.mm_projector.", LV_PART_CONNECTOR, false},
    {"mm_projector.", LV_PART_CONNECTOR, false},
    {"projector.", LV_PART_CONNECTOR, false},
};
enum { N_CONTAINERS = sizeof containers / sizeof *containers };

static const lv_name_rule language_names[] = {
    {"model.language_model.lm_head.", "lm_head."},
    {"language_model.lm_head.", "lm_head."},
    {"lm_head.", "lm_head."},
    {"model.language_model.model.", "model."},
    {"model.language_model.", "model."},
    {"language_model.model.", "model."},
    {"language_model.", "model."},
    {"model.", "model."},
    {NULL, NULL},
};

static const char *const buffer_suffixes[] = {".inv_freq", ".position_ids"};

static const char *after(const char *name, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(name, prefix, n) == 0 ? name + n : NULL;
}

static bool is_ignored(const char *name, const lv_tower *tower)
{
    for (size_t i = 0; tower && tower->ignored && tower->ignored[i]; i++) {
        if (after(name, tower->ignored[i])) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof buffer_suffixes / sizeof *buffer_suffixes; i++) {
        size_t n = strlen(name), m = strlen(buffer_suffixes[i]);
        if (n > m && strcmp(name + n - m, buffer_suffixes[i]) == 0) {
            return true;
        }
    }
    return false;
}

static lv_hf_name_class put_name(char out[LV_HF_NAME_BYTES], lv_part part, const char *beginning,
                                 const char *rest)
{
    int n = snprintf(out, LV_HF_NAME_BYTES, "%s.%s%s", lv_part_name(part), beginning, rest);
    return n < LV_HF_NAME_BYTES ? LV_HF_NAME_PARAM : LV_HF_NAME_UNKNOWN;
}

/* LV_HF_NAME_UNKNOWN if no rule fits. */
static lv_hf_name_class apply_rules(char out[LV_HF_NAME_BYTES], lv_part part,
                                    const lv_name_rule *rules, const char *name)
{
    for (; rules && rules->file; rules++) {
        const char *rest = after(name, rules->file);
        if (rest) {
            return put_name(out, part, rules->canonical, rest);
        }
    }
    return LV_HF_NAME_UNKNOWN;
}

lv_hf_name_class lv_hf_name_canonical(char out[LV_HF_NAME_BYTES], lv_part *part, const char *name,
                                      const lv_llava_config *config)
{
    const lv_tower *tower = config->vision.tower;
    const lv_connector_kind *connector = config->connector.kind;
    const char *rest = NULL;
    int i = 0;
    if (is_ignored(name, tower)) {
        return LV_HF_NAME_IGNORED;
    }
    while (i < N_CONTAINERS && !(rest = after(name, containers[i].prefix))) {
        i++;
    }
    if (rest) {
        const bool of_tower = containers[i].part == LV_PART_VISION, hf = containers[i].hf;
        const char *identity = !of_tower && hf && connector ? connector->hf_identity : NULL;
        const char *of_identity = identity ? after(rest, identity) : NULL;
        const lv_name_rule *rules = of_tower     ? (tower ? tower->names : NULL)
                                    : !connector ? NULL
                                    : hf         ? connector->hf_names
                                                 : connector->names;
        *part = containers[i].part;
        if (of_identity && *of_identity == '.') {
            return LV_HF_NAME_IDENTITY;
        }
        lv_hf_name_class class = apply_rules(out, *part, rules, rest);
        return class == LV_HF_NAME_PARAM ? class : put_name(out, *part, "", rest);
    }
    *part = LV_PART_VISION;
    if (tower && apply_rules(out, *part, tower->names, name) == LV_HF_NAME_PARAM) {
        return LV_HF_NAME_PARAM;
    }
    *part = LV_PART_LANGUAGE;
    return apply_rules(out, *part, language_names, name);
}

void lv_hf_name_for(char out[LV_HF_NAME_BYTES], lv_hf_kind kind, const lv_connector_kind *connector,
                    const char *canonical)
{
    static const struct {
        lv_hf_kind kind;
        const char *from, *to;
    } names[] = {
        {LV_HF_VISION, "vision_tower.", ""},
        {LV_HF_LANGUAGE, "language_model.", ""},
        {LV_HF_LLAVA_ORIGINAL, "vision_tower.", "model.vision_tower.vision_tower."},
        {LV_HF_LLAVA_ORIGINAL, "projector.", "model.mm_projector."},
        {LV_HF_LLAVA_ORIGINAL, "language_model.", ""},
    };
    const char *of_connector = connector ? after(canonical, "projector.") : NULL;
    for (const lv_name_rule *rule = of_connector ? connector->hf_names : NULL; rule && rule->file;
         rule++) {
        const char *rest = after(of_connector, rule->canonical);
        if (rest) {
            snprintf(out, LV_HF_NAME_BYTES, "multi_modal_projector.%s%s", rule->file, rest);
            return;
        }
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *rest = names[i].kind == kind ? after(canonical, names[i].from) : NULL;
        if (rest) {
            snprintf(out, LV_HF_NAME_BYTES, "%s%s", names[i].to, rest);
            return;
        }
    }
    snprintf(out, LV_HF_NAME_BYTES, "%s", canonical);
}
