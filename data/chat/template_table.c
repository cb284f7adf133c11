/* SPDX-License-Identifier: Apache-2.0
 *
 * The built-in templates, each a table entry. Which text is learnt is what LLaVA's preprocess_*
 * learn wherever their token counts add up.
 */
#include "data/chat/template_table.h"

#include <stdio.h>
#include <string.h>

/* clang-format off */
#define TEXT(words) {.kind = LV_PART_TEXT, .text = (words)}
#define PIECE(name) {.kind = LV_PART_PIECE, .text = (name)}
#define PART(what) {.kind = LV_PART_##what}
#define LEARN_TEXT(words) {.kind = LV_PART_TEXT, .text = (words), .learnt = true}
#define LEARN_FIRST(n, words)                                                                      \
    {.kind = LV_PART_TEXT, .text = (words), .learnt = true, .learnt_tokens = (n)}
#define LEARN_PIECE(name) {.kind = LV_PART_PIECE, .text = (name), .learnt = true}
#define LEARN(what) {.kind = LV_PART_##what, .learnt = true}
/* clang-format on */

#define IM_START PIECE("<|im_start|>")
#define IM_END PIECE("<|im_end|>")

static const lv_template templates[] = {
    {
        .name = "plain",
        .is_caption = true,
        .human = {PART(MARKS)},
        .gpt = {LEARN(TURN), LEARN_TEXT("\n")},
        .question = {PART(TURN)},
    },
    {
        .name = "v1",
        .system = "A chat between a curious user and an artificial intelligence assistant. The "
                  "assistant gives helpful, detailed, and polite answers to the user's questions.",
        .opening = {PART(SYSTEM), TEXT(" ")},
        .human = {TEXT("USER: "), PART(TURN), TEXT(" ")},
        .human_empty = {TEXT("USER:")},
        .gpt = {TEXT("ASSISTANT:"), LEARN_TEXT(" "), LEARN(TURN), LEARN(EOS)},
        .question = {PART(SYSTEM), TEXT(" USER: "), PART(TURN), TEXT(" ASSISTANT:")},
    },
    {
        .name = "v0",
        .system = "A chat between a curious human and an artificial intelligence assistant. The "
                  "assistant gives helpful, detailed, and polite answers to the human's questions.",
        .stop = "###",
        .free_turns = true,
        .opening = {PART(SYSTEM), TEXT("\n\n")},
        .human = {LEARN_FIRST(2, "### Human: "), PART(TURN), TEXT("\n")},
        .gpt = {LEARN_TEXT("### Assistant: "), LEARN(TURN), LEARN_TEXT("\n")},
        .closing = {LEARN_TEXT("### ")},
        .question = {PART(SYSTEM), TEXT("###Human: "), PART(TURN), TEXT("###Assistant:")},
    },
    {
        .name = "llama_2",
        .system = "You are a helpful language and vision assistant. You are able to understand the "
                  "visual content that the user provides, and assist the user with a variety of "
                  "tasks using natural language.",
        .opening = {TEXT("[INST] <<SYS>>\n"), PART(SYSTEM), TEXT("\n<</SYS>>\n\n")},
        .human = {PART(TURN), TEXT(" [/INST]")},
        .gpt = {LEARN_TEXT(" "), LEARN(TURN), LEARN_TEXT(" "), LEARN(EOS)},
        .between = {PART(BOS), TEXT("[INST] ")},
        .question = {TEXT("[INST] <<SYS>>\n"), PART(SYSTEM), TEXT("\n<</SYS>>\n\n"), PART(TURN),
                     TEXT(" [/INST]")},
    },
    {
        .name = "chatml",
        .system =
            "A conversation between a user and an LLM-based AI assistant. The assistant gives "
            "helpful and honest answers.",
        .stop = "<|im_end|>",
        .opening = {IM_START, TEXT("system\n"), PART(SYSTEM), IM_END},
        .human = {IM_START, TEXT("user\n"), PART(TURN), IM_END},
        .gpt = {IM_START, TEXT("assistant\n"), LEARN(TURN), LEARN_PIECE("<|im_end|>")},
        .question = {IM_START, TEXT("system\n"), PART(SYSTEM), IM_END, IM_START, TEXT("user\n"),
                     PART(TURN), IM_END, IM_START, TEXT("assistant\n")},
    },
};
enum { N_TEMPLATES = sizeof templates / sizeof *templates };

const lv_part_list LV_TEMPLATE_LISTS[LV_TEMPLATE_N_LISTS] = {
    {"opening", offsetof(lv_template, opening)},
    {"human", offsetof(lv_template, human)},
    {"human_empty", offsetof(lv_template, human_empty)},
    {"gpt", offsetof(lv_template, gpt)},
    {"between", offsetof(lv_template, between)},
    {"closing", offsetof(lv_template, closing)},
    {"question", offsetof(lv_template, question)},
};

const lv_template *lv_template_builtin(const char *name)
{
    for (size_t i = 0; i < N_TEMPLATES; i++) {
        if (strcmp(templates[i].name, name) == 0) {
            return &templates[i];
        }
    }
    return NULL;
}

void lv_template_builtin_names(char *text, size_t n)
{
    size_t at = 0;
    for (size_t i = 0; i < N_TEMPLATES && at < n; i++) {
        at += (size_t)snprintf(text + at, n - at, "%s%s", i ? ", " : "", templates[i].name);
    }
}
