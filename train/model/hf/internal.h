/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of hf/ share.
 */
#ifndef LV_TRAIN_MODEL_HF_INTERNAL_H
#define LV_TRAIN_MODEL_HF_INTERNAL_H

#include "train/model/connector/connector.h"
#include "train/model/hf/hf.h"
#include "train/model/vision/vision.h"

#include <cjson/cJSON.h>
#include <stddef.h>

enum { LV_HF_NAME_BYTES = 512 };

/* names.c: a tensor's canonical name and its part, in files of any kind of a model of these parts;
 * a part of config that is zero has no rules. */
typedef enum {
    LV_HF_NAME_PARAM,
    LV_HF_NAME_IDENTITY, /* of a connector's layer that has to be an identity: see hf_identity */
    LV_HF_NAME_IGNORED,  /* a buffer without weights, or no part of the tower */
    LV_HF_NAME_UNKNOWN
} lv_hf_name_class;
lv_hf_name_class lv_hf_name_canonical(char out[LV_HF_NAME_BYTES], lv_part *part, const char *name,
                                      const lv_llava_config *config);

/* The other way: the name in a directory of that kind; connector: whose names transformers
 * has (LV_HF_LLAVA); NULL: none. */
void lv_hf_name_for(char out[LV_HF_NAME_BYTES], lv_hf_kind kind, const lv_connector_kind *connector,
                    const char *canonical);

/* ---- tokenizer.c ---- */

/* lv_hf_tokenizer_copy: the files from one directory into another, with <image> added as image_id;
 * -1: unchanged.
 * in     ids, or if NULL text: whose special pieces a new tokenizer_config.json names; from was read without error
 *        by lv_hf_tokenizer_read if a token is added */
int lv_hf_tokenizer_copy(const char *to, const char *from, int64_t image_id,
                         const lv_llama_config *text, const lv_hf_ids *ids);

/* staging.c: a directory that is written beside its place, by one process at a time.
 * lv_hf_staging_begin makes it, empty; lv_hf_staging_end, called if that went well, writes its
 * digests.json and moves it to dir, or removes it if rc is an error. A dir that is already there is
 * replaced as a whole; a link to one stays.
 * fails  LV_ERR_CONFIG if another process writes there, a folder of that name is not ours, or as
 *        lv_hf_check_replaceable
 * returns rc, or the error of moving */
typedef struct {
    char *dir;
    char *path;      /* dir.partial */
    char *old;       /* dir.partial.old: what was at dir, between two renames */
    char *lock_path; /* dir.partial.lock: both are ours to remove */
    int lock;
} lv_hf_staging;
int lv_hf_staging_begin(lv_hf_staging *out, const char *dir);
int lv_hf_staging_end(int rc, lv_hf_staging *staging);

/* staging.c: all names in a directory but for hidden ones, sorted. Start it with {0}. */
typedef struct {
    char **names;
    size_t n;
} lv_hf_files;
int lv_hf_files_list(lv_hf_files *list, const char *dir);
void lv_hf_files_free(lv_hf_files *list);

extern const int64_t lv_hf_max_file_bytes; /* of a file of weights: more make several */

/* convert.c: a config.json's text with "torch_dtype" and "dtype" naming dtype, there and in the
 * objects in it; "torch_dtype" is added where there is neither. All else is as it was, to the byte.
 * in     text: valid JSON, an object
 * out    free() it */
char *lv_hf_config_with_dtype(const char *text, lv_dtype dtype);

#endif
