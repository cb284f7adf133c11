/* SPDX-License-Identifier: Apache-2.0 */
#include "train/config/fields.h"

#include <stdio.h>
#include <string.h>

#define MAX_SEED 1e15 /* what cJSON writes back to the digit */

#define STORED(name, kind_, member, resume, preset_, ...)                                          \
    {                                                                                              \
        .key = name, .kind = kind_, .offset = offsetof(lv_config, member),                         \
        .size = sizeof(((lv_config *)0)->member), .on_resume = resume, .preset = preset_,          \
        __VA_ARGS__                                                                                \
    }
#define BOUNDS(least, most) .min = least, .max = most
#define CHOICES(...) .choices = {__VA_ARGS__}

/* clang-format off: a key a line */
const lv_config_field lv_config_fields[] = {
    STORED("run.dir", KIND_PATH, run.dir, MAY_DIFFER, NULL),
    STORED("model.llava", KIND_PATH, model.llava, MAY_DIFFER, "null"),
    STORED("model.vision_tower", KIND_PATH, model.vision_tower, MAY_DIFFER, "null"),
    STORED("model.language_model", KIND_PATH, model.language_model, MAY_DIFFER, "null"),
    STORED("model.projector.type", KIND_TEXT, model.projector_type, MUST_MATCH, "null"),
    STORED("model.projector.weights", KIND_PATH, model.projector_weights, MAY_DIFFER, "null"),
    STORED("model.vision_select_layer", KIND_LAYER, model.vision_select_layer, MUST_MATCH, "null",
           BOUNDS(-1000, 1000)),
    STORED("model.vision_select_feature", KIND_CHOICE, model.vision_select_feature, MUST_MATCH,
           "null", CHOICES("null", "patch", "cls_patch")),
    STORED("model.weights", KIND_CHOICE, model.weights, MAY_DIFFER, "\"map\"",
           CHOICES("map", "copy-per-node", "copy-per-socket")),
    STORED("data.packs", KIND_PACKS, data.packs, MUST_MATCH, NULL, BOUNDS(1e-6, 1e3)),
    STORED("data.val_packs", KIND_PACKS, data.val_packs, MAY_DIFFER, "[]"),
    STORED("data.shuffle", KIND_BOOL, data.shuffle, MUST_MATCH, "true"),
    STORED("data.max_length", KIND_INT, data.max_length, MUST_MATCH, "2048", BOUNDS(1, 1 << 24)),
    STORED("data.image_aspect", KIND_CHOICE, data.image_aspect, MUST_MATCH, "\"square\"",
           CHOICES("square", "pad")),
    STORED("data.group_by_modality_length", KIND_BOOL, data.group_by_modality_length, MUST_MATCH,
           "false"),
    STORED("data.workers", KIND_INT, data.workers, MAY_DIFFER, "2", BOUNDS(1, 64)),
    STORED("train.trainable", KIND_TEXTS, train.trainable, MUST_MATCH, NULL),
    STORED("train.epochs", KIND_INT, train.epochs, MAY_DIFFER, "1", BOUNDS(1, 1000000)),
    STORED("train.max_steps", KIND_INT, train.max_steps, MAY_DIFFER, "null",
           BOUNDS(1, LV_CONFIG_NO_MAX)),
    STORED("train.global_batch_size", KIND_INT, train.global_batch_size, MUST_MATCH, "256",
           BOUNDS(1, 1 << 24)),
    STORED("train.micro_batch_tokens", KIND_INT, train.micro_batch_tokens, MAY_DIFFER, "4096",
           BOUNDS(1, 1 << 30)),
    STORED("train.precision", KIND_CHOICE, train.precision, MUST_MATCH, "\"f32\"",
           CHOICES("f32", "bf16")),
    STORED("train.recompute", KIND_CHOICE, train.recompute, MAY_DIFFER, "\"none\"",
           CHOICES("none", "layer")),
    STORED("train.val_every_steps", KIND_INT, train.val_every_steps, MAY_DIFFER, "0",
           BOUNDS(0, LV_CONFIG_NO_MAX)),
    STORED("train.seed", KIND_INT, train.seed, MUST_MATCH, "42", BOUNDS(0, MAX_SEED)),
    STORED("train.output", KIND_CHOICE, train.output_full, MAY_DIFFER, "\"full\"",
           CHOICES("projector", "full")),
    STORED("train.output_dtype", KIND_CHOICE, train.output_dtype, MAY_DIFFER, "\"auto\"",
           CHOICES("auto", "bf16", "f32")),
    STORED("optim.lr", KIND_REAL, optim.lr, MUST_MATCH, NULL, BOUNDS(0, 1e3)),
    STORED("optim.projector_lr", KIND_REAL, optim.projector_lr, MUST_MATCH, "null", BOUNDS(0, 1e3)),
    STORED("optim.betas", KIND_BETAS, optim.beta1, MUST_MATCH, "[0.9, 0.999]",
           BOUNDS(0, 0.9999999)),
    STORED("optim.eps", KIND_REAL, optim.eps, MUST_MATCH, "1e-8", BOUNDS(1e-30, 1)),
    STORED("optim.weight_decay", KIND_REAL, optim.weight_decay, MUST_MATCH, "0", BOUNDS(0, 1e3)),
    STORED("optim.schedule", KIND_CHOICE, optim.schedule, MUST_MATCH, "\"cosine\"",
           CHOICES("cosine", "linear", "constant")),
    STORED("optim.moments", KIND_CHOICE, optim.moments, MUST_MATCH, "\"f32\"",
           CHOICES("f32", "bf16")),
    STORED("optim.warmup_ratio", KIND_REAL, optim.warmup_ratio, MUST_MATCH, "0.03", BOUNDS(0, 1)),
    STORED("optim.max_grad_norm", KIND_REAL, optim.max_grad_norm, MUST_MATCH, "1.0",
           BOUNDS(0, 1e30)),
    STORED("checkpoint.every_steps", KIND_INT, checkpoint.every_steps, MAY_DIFFER, "500",
           BOUNDS(0, LV_CONFIG_NO_MAX)),
    STORED("checkpoint.every_minutes", KIND_REAL, checkpoint.every_minutes, MAY_DIFFER, "30",
           BOUNDS(0, 1e6)),
    STORED("checkpoint.keep", KIND_INT, checkpoint.keep, MAY_DIFFER, "3", BOUNDS(1, 1e6)),
    STORED("checkpoint.before_end_minutes", KIND_REAL, checkpoint.before_end_minutes, MAY_DIFFER,
           "5", BOUNDS(0, 1e6)),
    STORED("checkpoint.on_error", KIND_CHOICE, checkpoint.stop_on_error, MAY_DIFFER, "\"continue\"",
           CHOICES("continue", "stop")),
    STORED("comm.wire", KIND_CHOICE, comm.wire_bf16, MAY_DIFFER, "\"f32\"", CHOICES("f32", "bf16")),
    STORED("comm.overlap", KIND_BOOL, comm.overlap, MAY_DIFFER, "true"),
    STORED("comm.bucket_mb", KIND_REAL, comm.bucket_mb, MAY_DIFFER, "0", BOUNDS(0, 1024)),
    STORED("comm.stall_minutes", KIND_REAL, comm.stall_minutes, MAY_DIFFER, "10", BOUNDS(0, 1e6)),
    STORED("comm.on_stall", KIND_CHOICE, comm.stop_on_stall, MAY_DIFFER, "\"report\"",
           CHOICES("report", "stop")),
    STORED("log.every_steps", KIND_INT, log.every_steps, MAY_DIFFER, "1",
           BOUNDS(1, LV_CONFIG_NO_MAX)),
};
/* clang-format on */
const size_t lv_config_n_fields = sizeof lv_config_fields / sizeof lv_config_fields[0];

const lv_config_field *lv_config_find(const char *key)
{
    for (size_t i = 0; i < lv_config_n_fields; i++) {
        if (strcmp(lv_config_fields[i].key, key) == 0) {
            return &lv_config_fields[i];
        }
    }
    return NULL;
}

bool lv_config_is_section(const char *key)
{
    size_t n = strlen(key);
    for (size_t i = 0; i < lv_config_n_fields; i++) {
        if (strncmp(lv_config_fields[i].key, key, n) == 0 && lv_config_fields[i].key[n] == '.') {
            return true;
        }
    }
    return false;
}

void lv_config_list_keys(char list[LV_CONFIG_LIST_BYTES], const char *section)
{
    const size_t n_section = strlen(section), skip = n_section + (n_section > 0);
    const char *last = "";
    size_t n_last = 0, used = 0;
    list[0] = '\0';
    for (size_t i = 0; i < lv_config_n_fields && used < LV_CONFIG_LIST_BYTES; i++) {
        const char *key = lv_config_fields[i].key;
        if (strncmp(key, section, n_section) != 0 || (n_section > 0 && key[n_section] != '.')) {
            continue;
        }
        const char *name = key + skip;
        size_t n = strcspn(name, ".");
        if (n == n_last && strncmp(name, last, n) == 0) {
            continue; /* a section has a line for each of its keys */
        }
        used += (size_t)snprintf(list + used, LV_CONFIG_LIST_BYTES - used, "%s%.*s",
                                 used ? ", " : "", (int)n, name);
        last = name;
        n_last = n;
    }
}
