/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensor names: what each family calls them, and what this program does. No prefix means two
 * things, so one table serves all families. [..] may be absent.
 *
 * canonical: vision_tower.vision_model.X
 *   CLIP       [vision_model.]X
 *   LLaVA, HF  [model.]vision_tower.[vision_model.]X
 *   LLaVA      [model.]vision_tower.vision_tower.vision_model.X
 *
 * canonical: projector.0.X, projector.2.X, ...
 *   LLaVA, HF  [model.]multi_modal_projector.linear_1.X, linear_2.X
 *   LLaVA      [model.]mm_projector.N.X, N as in torch's Sequential: the activations count; without
 *              N for a linear projector
 *
 * canonical: language_model.model.X, language_model.lm_head.X
 *   LLaMA      model.X, lm_head.X
 *   LLaVA, HF  [model.]language_model.[model.]X, [language_model.]lm_head.X
 *   LLaVA      model.X, lm_head.X
 */
#include "train/model/hf/internal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* The first that fits holds: longer prefixes stand before their beginnings. */
static const struct {
    const char *from, *to;
    lv_part part;
} prefixes[] = {
    {"model.vision_tower.vision_tower.", "vision_tower.", LV_PART_VISION},
    {"vision_tower.vision_tower.", "vision_tower.", LV_PART_VISION},
    {"model.vision_tower.", "vision_tower.", LV_PART_VISION},
    {"vision_tower.", "vision_tower.", LV_PART_VISION},
    {"vision_model.", "vision_tower.vision_model.", LV_PART_VISION},
    {"embeddings.", "vision_tower.vision_model.embeddings.", LV_PART_VISION},
    {"pre_layrnorm.", "vision_tower.vision_model.pre_layrnorm.", LV_PART_VISION},
    {"encoder.", "vision_tower.vision_model.encoder.", LV_PART_VISION},
    {"post_layernorm.", "vision_tower.vision_model.post_layernorm.", LV_PART_VISION},
    {"model.multi_modal_projector.linear_1.", "projector.0.", LV_PART_CONNECTOR},
    {"model.multi_modal_projector.linear_2.", "projector.2.", LV_PART_CONNECTOR},
    {"multi_modal_projector.linear_1.", "projector.0.", LV_PART_CONNECTOR},
    {"multi_modal_projector.linear_2.", "projector.2.", LV_PART_CONNECTOR},
    {"model.mm_projector.", "projector.", LV_PART_CONNECTOR},
    {"mm_projector.", "projector.", LV_PART_CONNECTOR},
    {"projector.", "projector.", LV_PART_CONNECTOR},
    {"language_model.lm_head.", "language_model.lm_head.", LV_PART_LANGUAGE},
    {"lm_head.", "language_model.lm_head.", LV_PART_LANGUAGE},
    {"model.language_model.", "language_model.model.", LV_PART_LANGUAGE},
    {"language_model.model.", "language_model.model.", LV_PART_LANGUAGE},
    {"language_model.", "language_model.model.", LV_PART_LANGUAGE},
    {"model.", "language_model.model.", LV_PART_LANGUAGE},
};

static const char *const ignored_prefixes[] = {"text_model.", "text_projection.",
                                               "visual_projection.", "logit_scale"};
static const char *const ignored_suffixes[] = {".inv_freq", ".position_ids"};

static const char VISION[] = "vision_tower.";
static const char VISION_MODEL[] = "vision_model.";
static const char PROJECTOR[] = "projector.";

static const char *after(const char *name, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(name, prefix, n) == 0 ? name + n : NULL;
}

static bool is_ignored(const char *name)
{
    for (size_t i = 0; i < sizeof ignored_prefixes / sizeof *ignored_prefixes; i++) {
        if (after(name, ignored_prefixes[i])) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof ignored_suffixes / sizeof *ignored_suffixes; i++) {
        size_t n = strlen(name), m = strlen(ignored_suffixes[i]);
        if (n > m && strcmp(name + n - m, ignored_suffixes[i]) == 0) {
            return true;
        }
    }
    return false;
}

lv_hf_name_class lv_hf_name_canonical(char out[LV_HF_NAME_BYTES], lv_part *part, const char *name)
{
    const char *rest = NULL;
    size_t i = 0;
    if (is_ignored(name)) {
        return LV_HF_NAME_IGNORED;
    }
    while (i < sizeof prefixes / sizeof *prefixes && !(rest = after(name, prefixes[i].from))) {
        i++;
    }
    if (!rest) {
        return LV_HF_NAME_UNKNOWN;
    }
    const char *between = "";
    *part = prefixes[i].part;
    if (strcmp(prefixes[i].to, VISION) == 0 && !after(rest, VISION_MODEL)) {
        between = VISION_MODEL; /* transformers 5 leaves it out */
    } else if (strcmp(prefixes[i].to, PROJECTOR) == 0 && !isdigit((unsigned char)rest[0])) {
        between = "0.";
    }
    int n = snprintf(out, LV_HF_NAME_BYTES, "%s%s%s", prefixes[i].to, between, rest);
    return n < LV_HF_NAME_BYTES ? LV_HF_NAME_PARAM : LV_HF_NAME_UNKNOWN;
}

void lv_hf_name_for(char out[LV_HF_NAME_BYTES], lv_hf_kind kind, const char *canonical)
{
    static const struct {
        lv_hf_kind kind;
        const char *from, *to;
    } names[] = {
        {LV_HF_CLIP, "vision_tower.", ""},
        {LV_HF_LLAMA, "language_model.", ""},
        {LV_HF_LLAVA, "projector.0.", "multi_modal_projector.linear_1."},
        {LV_HF_LLAVA, "projector.2.", "multi_modal_projector.linear_2."},
        {LV_HF_LLAVA_ORIGINAL, "vision_tower.", "model.vision_tower.vision_tower."},
        {LV_HF_LLAVA_ORIGINAL, "projector.", "model.mm_projector."},
        {LV_HF_LLAVA_ORIGINAL, "language_model.", ""},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *rest = names[i].kind == kind ? after(canonical, names[i].from) : NULL;
        if (rest) {
            snprintf(out, LV_HF_NAME_BYTES, "%s%s", names[i].to, rest);
            return;
        }
    }
    snprintf(out, LV_HF_NAME_BYTES, "%s", canonical);
}
