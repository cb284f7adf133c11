/* SPDX-License-Identifier: Apache-2.0 */
#include "data/pack/manifest.h"

#include "autograd/error.h"
#include "data/json/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char lv_pack_format_name[] = "llava.c pack";

static int check_added(const void *item)
{
    return item ? LV_OK : lv_fail(LV_ERR_MEMORY, "no memory for the manifest");
}

static int manifest_add_number(cJSON *object, const char *name, int64_t value)
{
    return check_added(cJSON_AddNumberToObject(object, name, (double)value));
}

static int manifest_add_text(cJSON *object, const char *name, const char *value)
{
    return check_added(cJSON_AddStringToObject(object, name, value));
}

int lv_pack_manifest_create(cJSON **out, const lv_pack_identity *identity, const char *source_name)
{
    cJSON *m = cJSON_CreateObject();
    int rc = check_added(m);
    if (rc == LV_OK) rc = manifest_add_text(m, "format", lv_pack_format_name);
    if (rc == LV_OK) rc = manifest_add_number(m, "format_version", LV_PACK_FORMAT_VERSION);
    if (rc == LV_OK) rc = manifest_add_text(m, "source_name", source_name);
    for (int i = 0; rc == LV_OK && i < LV_PACK_N_ATTRIBUTES; i++) {
        const lv_pack_attribute *a = &LV_PACK_ATTRIBUTE_TABLE[i];
        const void *value = (const char *)identity + a->place;
        rc = a->is_text ? manifest_add_text(m, a->name, value)
                        : manifest_add_number(m, a->name, *(const int64_t *)value);
    }
    if (rc == LV_OK) rc = check_added(cJSON_AddArrayToObject(m, "sample_shards"));
    if (rc == LV_OK) rc = check_added(cJSON_AddArrayToObject(m, "image_shards"));
    if (rc < 0) {
        cJSON_Delete(m);
        return rc;
    }
    *out = m;
    return LV_OK;
}

int lv_pack_manifest_add_shard(cJSON *manifest, const char *list, int64_t n)
{
    cJSON *item = cJSON_CreateNumber((double)n);
    if (!item) {
        return check_added(item);
    }
    cJSON_AddItemToArray(cJSON_GetObjectItemCaseSensitive(manifest, list), item);
    return LV_OK;
}

int lv_pack_manifest_add_totals(cJSON *manifest, const lv_pack_summary *s)
{
    cJSON *totals = cJSON_AddObjectToObject(manifest, "totals");
    int rc = check_added(totals);
    if (rc == LV_OK) rc = manifest_add_number(totals, "records", s->n_records);
    if (rc == LV_OK) rc = manifest_add_number(totals, "samples", s->n_samples);
    if (rc == LV_OK) rc = manifest_add_number(totals, "rejects", s->n_rejects);
    if (rc == LV_OK) rc = manifest_add_number(totals, "images", s->n_images);
    if (rc == LV_OK) rc = manifest_add_number(totals, "tokens", s->n_tokens);
    return rc < 0 ? rc : manifest_add_number(totals, "supervised_tokens", s->n_supervised);
}

int lv_pack_manifest_identity(lv_pack_identity *out, const cJSON *manifest)
{
    lv_pack_identity id = {0};
    const char *format = "";
    int64_t version = 0;
    int rc = lv_json_string(manifest, "format", true, &format);
    if (rc < 0 || strcmp(format, lv_pack_format_name) != 0) {
        return lv_fail(LV_ERR_FORMAT, "this is not the manifest of a pack");
    }
    rc = lv_json_int(manifest, "format_version", true, &version);
    if (rc == LV_OK) rc = lv_pack_check_version(version);
    for (int i = 0; rc == LV_OK && i < LV_PACK_N_ATTRIBUTES; i++) {
        const lv_pack_attribute *a = &LV_PACK_ATTRIBUTE_TABLE[i];
        char *value = (char *)&id + a->place;
        const char *text = NULL;
        if (!a->is_text) {
            rc = lv_json_int(manifest, a->name, true, (int64_t *)(void *)value);
            continue;
        }
        rc = lv_json_string(manifest, a->name, true, &text);
        if (rc == LV_OK && strlen(text) >= LV_PACK_TEXT_BYTES) {
            rc = lv_fail(LV_ERR_FORMAT, "\"%s\" is too long", a->name);
        }
        if (rc == LV_OK) {
            strcpy(value, text);
        }
    }
    if (rc == LV_OK && (id.shard_records < 1 || id.shard_records > LV_PACK_MAX_SHARD_RECORDS ||
                        id.shard_images < 1 || id.shard_images > LV_PACK_MAX_SHARD_IMAGES)) {
        rc = lv_fail(LV_ERR_FORMAT,
                     "impossible shards of %" PRId64 " records and %" PRId64 " images",
                     id.shard_records, id.shard_images);
    }
    if (rc == LV_OK) {
        *out = id;
    }
    return rc;
}

int lv_pack_manifest_totals(lv_pack_summary *out, const cJSON *manifest)
{
    lv_pack_summary s = {0};
    const cJSON *totals = lv_json_find(manifest, "totals");
    int rc = lv_json_int(totals, "records", true, &s.n_records);
    if (rc == LV_OK) rc = lv_json_int(totals, "samples", true, &s.n_samples);
    if (rc == LV_OK) rc = lv_json_int(totals, "rejects", true, &s.n_rejects);
    if (rc == LV_OK) rc = lv_json_int(totals, "images", true, &s.n_images);
    if (rc == LV_OK) rc = lv_json_int(totals, "tokens", true, &s.n_tokens);
    if (rc == LV_OK) rc = lv_json_int(totals, "supervised_tokens", true, &s.n_supervised);
    if (rc < 0) {
        return lv_fail_within("\"totals\"");
    }
    *out = s;
    return LV_OK;
}

int lv_pack_manifest_shards(int64_t **out, int64_t *n, const cJSON *manifest, const char *list,
                            int64_t max)
{
    const cJSON *array = lv_json_find(manifest, list);
    const cJSON *item;
    int64_t i = 0;
    if (!cJSON_IsArray(array)) {
        return lv_fail(LV_ERR_FORMAT, "\"%s\": expected an array, found %s", list,
                       lv_json_kind(array));
    }
    int64_t *numbers = malloc(((size_t)cJSON_GetArraySize(array) + 1) * sizeof *numbers);
    if (!numbers) {
        return lv_fail(LV_ERR_MEMORY, "out of memory");
    }
    cJSON_ArrayForEach (item, array) {
        double value = cJSON_IsNumber(item) ? item->valuedouble : -1.0;
        if (!(value >= 0.0 && value <= (double)max) || value != (double)(int64_t)value) {
            free(numbers);
            return lv_fail(LV_ERR_FORMAT, "\"%s\": expected whole numbers from 0 to %" PRId64, list,
                           max);
        }
        numbers[i++] = (int64_t)value;
    }
    *out = numbers;
    *n = i;
    return LV_OK;
}
