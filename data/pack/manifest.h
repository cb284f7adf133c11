/* SPDX-License-Identifier: Apache-2.0
 *
 * A pack's manifest.json:
 *   format: "llava.c pack", format_version, source_name, the attributes of LV_PACK_ATTRIBUTES,
 *   sample_shards: [samples of each], image_shards: [images of each, bad ones too],
 *   totals: {records, samples, rejects, images, tokens, supervised_tokens}, images without bad
 *   ones, files: as in manifest.h
 */
#ifndef LV_DATA_PACK_MANIFEST_H
#define LV_DATA_PACK_MANIFEST_H

#include "data/pack/format.h"
#include "data/pack/pack.h"

#define LV_PACK_MANIFEST_NAME "manifest.json"
#define LV_PACK_REJECTS_NAME "rejects.jsonl"
#define LV_PACK_TOKENIZER_NAME "tokenizer"

/* lv_pack_manifest_create: with empty lists of shards; cJSON_Delete. fails  LV_ERR_MEMORY */
int lv_pack_manifest_create(cJSON **out, const lv_pack_identity *identity, const char *source_name);

/* lv_pack_manifest_add_shard: list is "sample_shards" or "image_shards". fails  LV_ERR_MEMORY */
int lv_pack_manifest_add_shard(cJSON *manifest, const char *list, int64_t n);

/* lv_pack_manifest_add_totals: fails  LV_ERR_MEMORY */
int lv_pack_manifest_add_totals(cJSON *manifest, const lv_pack_summary *summary);

/* Reading. All fail with LV_ERR_FORMAT; the identity with LV_ERR_UNSUPPORTED if the pack is of
 * another format version. */
int lv_pack_manifest_identity(lv_pack_identity *out, const cJSON *manifest);
int lv_pack_manifest_totals(lv_pack_summary *out, const cJSON *manifest);

/* lv_pack_manifest_shards: the list's numbers, each 0 to max; *out is malloc'ed. */
int lv_pack_manifest_shards(int64_t **out, int64_t *n, const cJSON *manifest, const char *list,
                            int64_t max);

#endif
