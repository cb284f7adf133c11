/* SPDX-License-Identifier: Apache-2.0 */
#include "data/pack/write/source.h"

#include "autograd/error.h"
#include "data/json/scan.h"
#include "data/json/stream.h"

#include <stdlib.h>

struct lv_pack_source {
    lv_json_stream *stream;
    cJSON *record; /* the last one, or the value of its "image" */
    const char **names;
    size_t names_capacity;
};

int lv_pack_source_open(lv_pack_source **out, const char *path)
{
    lv_pack_source *source = calloc(1, sizeof *source);
    if (!source) {
        return lv_fail(LV_ERR_MEMORY, "%s: no memory to read it", path);
    }
    int rc = lv_json_stream_open(&source->stream, path, 0);
    if (rc < 0) {
        lv_pack_source_close(&source);
        return rc;
    }
    *out = source;
    return LV_OK;
}

void lv_pack_source_close(lv_pack_source **source)
{
    if (*source) {
        lv_json_stream_close(&(*source)->stream);
        cJSON_Delete((*source)->record);
        free((*source)->names);
        free(*source);
    }
    *source = NULL;
}

int64_t lv_pack_source_n_records(const lv_pack_source *source)
{
    return lv_json_stream_n_records(source->stream);
}

int64_t lv_pack_source_n_bytes(const lv_pack_source *source)
{
    return lv_json_stream_n_bytes(source->stream);
}

uint32_t lv_pack_source_crc32(const lv_pack_source *source)
{
    return lv_json_stream_crc32(source->stream);
}

void lv_pack_source_seek(lv_pack_source *source, int64_t index)
{
    lv_json_stream_seek(source->stream, index);
}

/* The text of the next record, the last one being done with. */
static int next_text(lv_pack_source *source, int64_t *index, const char **text, size_t *n)
{
    cJSON_Delete(source->record);
    source->record = NULL;
    return lv_json_stream_next(source->stream, index, text, n);
}

int lv_pack_source_next(lv_pack_source *source, int64_t *index, const cJSON **record)
{
    const char *text = NULL;
    size_t n = 0, at = 0;
    int more = next_text(source, index, &text, &n);
    if (more <= 0) {
        return more;
    }
    int rc = text ? lv_json_parse_part(&source->record, text, n, &at)
                  : lv_fail(LV_ERR_FORMAT, "the record is larger than %d MB, and so not read",
                            LV_JSON_MAX_RECORD_BYTES >> 20);
    if (rc == LV_ERR_FORMAT) {
        lv_json_fail_at(lv_json_stream_place(source->stream, at));
    }
    *record = source->record;
    return rc == LV_OK || rc == LV_ERR_FORMAT ? 1 : rc;
}

/* The names in an "image" that is a string or a list. */
static int collect_names(lv_pack_source *source, const cJSON *image, size_t *n)
{
    size_t n_items = cJSON_IsArray(image) ? (size_t)cJSON_GetArraySize(image) : 1;
    if (n_items > source->names_capacity) {
        const char **names = realloc(source->names, n_items * sizeof *names);
        if (!names) {
            return lv_fail(LV_ERR_MEMORY, "no memory for a record's names of images");
        }
        source->names = names;
        source->names_capacity = n_items;
    }
    *n = 0;
    for (const cJSON *item = cJSON_IsArray(image) ? image->child : image; item;
         item = item == image ? NULL : item->next) {
        if (cJSON_IsString(item) && *item->valuestring) {
            source->names[(*n)++] = item->valuestring;
        }
    }
    return LV_OK;
}

int lv_pack_source_next_images(lv_pack_source *source, int64_t *index, size_t *n,
                               const char *const **names)
{
    const char *text = NULL, *value = NULL;
    size_t n_bytes = 0, value_bytes = 0, at = 0;
    int more = next_text(source, index, &text, &n_bytes);
    if (more <= 0) {
        return more;
    }
    *n = 0;
    int rc = LV_OK;
    int found = text ? lv_json_scan_member(&value, &value_bytes, text, n_bytes, "image") : 0;
    if (found != 0) {
        rc = found > 0 ? lv_json_parse_part(&source->record, value, value_bytes, &at)
                       : lv_json_parse_part(&source->record, text, n_bytes, &at);
    }
    if (rc == LV_OK && source->record) {
        rc = collect_names(source,
                           found > 0 ? source->record : lv_json_find(source->record, "image"), n);
    }
    *names = source->names;
    return rc == LV_OK || rc == LV_ERR_FORMAT ? 1 : rc;
}
