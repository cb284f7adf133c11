/* SPDX-License-Identifier: Apache-2.0
 *
 * The sample shards: records to tokens, or to a line of rejects.
 */
#include "data/pack/write/job.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The record's id for a message, null for a record that could not be read; a new item. */
static cJSON *id_of(const cJSON *json)
{
    const cJSON *id = cJSON_IsObject(json) ? lv_json_find(json, "id") : NULL;
    return cJSON_IsString(id) || cJSON_IsNumber(id) ? cJSON_Duplicate(id, false)
                                                    : cJSON_CreateNull();
}

/* Notes the record as rejected for the last failure; json and image may be NULL. */
static int reject(const lv_pack_job *job, lv_pack_shard *shard, int64_t index, const cJSON *json,
                  const char *image)
{
    cJSON *line = cJSON_CreateObject();
    cJSON *id = id_of(json);
    char *text = NULL;
    if (line && id && cJSON_AddNumberToObject(line, "index", (double)index) &&
        cJSON_AddItemToObject(line, "id", id) &&
        (image ? cJSON_AddStringToObject(line, "image", image)
               : cJSON_AddNullToObject(line, "image")) &&
        cJSON_AddStringToObject(line, "reason", lv_error_message())) {
        text = lv_json_print_line(line);
    }
    int rc = text ? LV_OK : lv_fail(LV_ERR_MEMORY, "out of memory");
    if (rc == LV_OK && job->options->strict) {
        char *id_text = lv_json_print_line(id);
        rc = lv_fail_within("%s: record %" PRId64 ", id %s", job->options->data_path, index,
                            id_text);
        free(id_text);
    }
    if (rc == LV_OK) rc = lv_pack_append(shard, LV_PACK_REJECT_BYTES, text, (int64_t)strlen(text));
    if (rc == LV_OK) {
        rc = lv_pack_append(shard, LV_PACK_REJECT_BYTES, "\n", 1);
    }
    if (rc == LV_OK) {
        rc = lv_pack_append_int64(shard, LV_PACK_REJECT_OFFSET,
                                  shard->columns[LV_PACK_REJECT_BYTES].n);
    }
    free(text);
    cJSON_Delete(line);
    return rc;
}

static int append_sample(lv_pack_shard *shard, int64_t index, const lv_record *record,
                         const lv_prompt *prompt, const int64_t *image_ids)
{
    int64_t n = (int64_t)prompt->n_tokens, n_images = (int64_t)record->n_images;
    lv_sample_counts counts = {(int32_t)n, (int32_t)prompt->n_supervised, (int32_t)n_images,
                               (int32_t)prompt->n_words};
    uint32_t crc = lv_pack_sample_crc(prompt->tokens, prompt->supervised, n, image_ids, n_images);
    const lv_pack_column *c = shard->columns;
    int rc = lv_pack_append(shard, LV_PACK_TOKENS, prompt->tokens, n);
    if (rc == LV_OK) rc = lv_pack_append(shard, LV_PACK_SUPERVISED, prompt->supervised, n);
    if (rc == LV_OK) rc = lv_pack_append_int64(shard, LV_PACK_SAMPLE_OFFSET, c[LV_PACK_TOKENS].n);
    if (rc == LV_OK) rc = lv_pack_append(shard, LV_PACK_SAMPLE_IMAGE, image_ids, n_images);
    if (rc == LV_OK) {
        rc = lv_pack_append_int64(shard, LV_PACK_SAMPLE_IMAGE_OFFSET, c[LV_PACK_SAMPLE_IMAGE].n);
    }
    if (rc == LV_OK) {
        rc = lv_pack_append(shard, LV_PACK_ID_BYTES, record->id, (int64_t)strlen(record->id));
    }
    if (rc == LV_OK) rc = lv_pack_append_int64(shard, LV_PACK_ID_OFFSET, c[LV_PACK_ID_BYTES].n);
    if (rc == LV_OK) rc = lv_pack_append_int64(shard, LV_PACK_SOURCE_INDEX, index);
    if (rc == LV_OK) rc = lv_pack_append(shard, LV_PACK_COUNTS, &counts, 1);
    return rc < 0 ? rc : lv_pack_append(shard, LV_PACK_SAMPLE_CRC, &crc, 1);
}

/* The ids of the record's images. *bad is the name of one that cannot be used.
 * fails  LV_ERR_FORMAT: the record is rejected */
static int find_images(int64_t *ids, const char **bad, const lv_pack_job *job,
                       const lv_record *record)
{
    for (size_t i = 0; i < record->n_images; i++) {
        *bad = record->images[i];
        if (!job->options->image_dir) {
            return lv_fail(LV_ERR_FORMAT, "has an image, but no folder of images was given");
        }
        ids[i] = lv_pack_names_find(&job->names, record->images[i]);
        if (ids[i] < 0) {
            return lv_fail(LV_ERR_IO, "%s: changes while it is read: image \"%s\" is new",
                           job->options->data_path, record->images[i]);
        }
        const char *reason = lv_pack_names_reason(&job->names, ids[i]);
        if (reason) {
            return lv_fail(LV_ERR_FORMAT, "%s", reason);
        }
    }
    *bad = NULL;
    return LV_OK;
}

static int encode_record(lv_prompt *prompt, const lv_pack_job *job, const lv_record *record)
{
    int rc = lv_template_encode(prompt, job->template, job->tokenizer, record);
    if (rc < 0) {
        return rc;
    }
    if (prompt->n_images != record->n_images) {
        return lv_fail(LV_ERR_FORMAT, "%zu <image> marks for %zu images", prompt->n_images,
                       record->n_images);
    }
    if (prompt->n_tokens > INT32_MAX || prompt->n_words > INT32_MAX) {
        return lv_fail(LV_ERR_FORMAT, "%zu tokens are too many", prompt->n_tokens);
    }
    return prompt->n_supervised ? LV_OK : lv_fail(LV_ERR_FORMAT, "no token is supervised");
}

int lv_pack_add_record(const lv_pack_job *job, lv_pack_shard *shard, lv_prompt *prompt,
                       int64_t index, const cJSON *json)
{
    lv_record record = {0};
    const char *bad_image = NULL;
    int64_t *image_ids = NULL;
    int rc = json ? lv_record_parse(&record, json) : LV_ERR_FORMAT;
    if (rc == LV_OK) {
        image_ids = malloc((record.n_images + 1) * sizeof *image_ids);
        rc = image_ids ? find_images(image_ids, &bad_image, job, &record)
                       : lv_fail(LV_ERR_MEMORY, "out of memory");
    }
    if (rc == LV_OK) {
        bad_image = record.n_images ? record.images[0] : NULL;
        rc = encode_record(prompt, job, &record);
    }
    if (rc == LV_OK) {
        rc = append_sample(shard, index, &record, prompt, image_ids);
    } else if (rc == LV_ERR_FORMAT) {
        rc = reject(job, shard, index, json, bad_image);
    }
    free(image_ids);
    lv_record_free(&record);
    return rc < 0 && !job->options->strict ? lv_fail_within("record %" PRId64, index) : rc;
}

static int64_t n_rejects_of(const lv_pack_shard *shard)
{
    return shard->columns[LV_PACK_REJECT_OFFSET].n - 1;
}

/* Fills entry from the shard's counts, which are in memory. */
static void count_samples(lv_pack_entry *entry, const lv_pack_shard *shard)
{
    const lv_pack_column *column = &shard->columns[LV_PACK_COUNTS];
    const lv_sample_counts *counts = column->data;
    entry->n_samples = column->n;
    for (int64_t i = 0; i < column->n; i++) {
        entry->n_tokens += counts[i].n_tokens;
        entry->n_supervised += counts[i].n_supervised;
    }
}

static int write_sample_shard(lv_pack_job *job, lv_pack_entry *entry, const char *path,
                              int64_t index, int64_t first, int64_t n)
{
    static const int offsets[] = {LV_PACK_SAMPLE_OFFSET, LV_PACK_SAMPLE_IMAGE_OFFSET,
                                  LV_PACK_ID_OFFSET, LV_PACK_REJECT_OFFSET};
    lv_pack_shard shard = {.kind = &LV_PACK_SAMPLES, .path = path};
    lv_pack_entry made = {0};
    lv_prompt prompt = {0};
    const int64_t n_before = job->n_rejects;
    int rc = LV_OK;
    for (size_t i = 0; rc == LV_OK && i < sizeof offsets / sizeof *offsets; i++) {
        rc = lv_pack_append_int64(&shard, offsets[i], 0);
    }
    lv_pack_source_seek(job->source, first);
    for (int64_t i = 0; rc == LV_OK && i < n; i++) {
        const cJSON *json = NULL;
        int64_t at = 0;
        int more = lv_pack_source_next(job->source, &at, &json);
        if (more <= 0) {
            rc = more < 0 ? more
                          : lv_fail(LV_ERR_IO, "%s: has fewer records than it had",
                                    job->options->data_path);
            break;
        }
        lv_record_keys_add(&job->keys, json);
        rc = lv_pack_add_record(job, &shard, &prompt, at, json);
        job->n_rejects = n_before + n_rejects_of(&shard);
        if (lv_pack_too_many(job, job->n_rejects)) {
            goto done;
        }
        lv_pack_tick(job, 0);
    }
    if (rc == LV_OK) {
        rc = lv_pack_shard_write(&made.n_bytes, &made.crc32, &shard, index, &job->identity);
    }
    if (rc == LV_OK) {
        count_samples(&made, &shard);
        made.n_bad = n_rejects_of(&shard);
        *entry = made;
    }
done:
    lv_prompt_free(&prompt);
    lv_pack_shard_free(&shard);
    return rc;
}

/* A shard of an earlier run. One with rejects is always written again, as their cause may be
 * gone. */
static int check_sample_shard(lv_pack_job *job, lv_pack_entry *entry, hid_t file, const char *path,
                              int64_t first, int64_t n)
{
    lv_pack_shard shard = {.kind = &LV_PACK_SAMPLES};
    int64_t n_offsets = 0;
    (void)first;
    int rc = lv_pack_shard_n_rows(&n_offsets, file, path, &LV_PACK_SAMPLES, LV_PACK_REJECT_OFFSET);
    bool current = rc == LV_OK && n_offsets == 1 &&
                   lv_pack_shard_load(&shard, file, path, LV_PACK_COUNTS) == LV_OK &&
                   lv_pack_shard_load(&shard, file, path, LV_PACK_SAMPLE_IMAGE) == LV_OK &&
                   shard.columns[LV_PACK_COUNTS].n == n;
    for (int64_t i = 0; current && i < shard.columns[LV_PACK_SAMPLE_IMAGE].n; i++) {
        int64_t id = lv_pack_int64(&shard, LV_PACK_SAMPLE_IMAGE)[i];
        current = id >= 0 && id < job->names.n && !lv_pack_names_reason(&job->names, id);
    }
    if (current) {
        count_samples(entry, &shard);
    }
    lv_pack_shard_free(&shard);
    return current;
}

/* One warning for the file about keys that are not read but may be meant. */
static int warn_about_keys(lv_pack_job *job)
{
    lv_record_keys *all = calloc((size_t)job->team.n_ranks, sizeof *all);
    int rc = lv_pack_barrier(job, all ? LV_OK : lv_fail(LV_ERR_MEMORY, "out of memory"));
    if (rc == LV_OK) rc = lv_pack_gather(job, all, &job->keys, sizeof *all);
    for (int r = 1; rc == LV_OK && r < job->team.n_ranks; r++) {
        lv_record_keys_merge(&all[0], &all[r]);
    }
    char *warning = rc == LV_OK ? lv_record_keys_warning(&all[0]) : NULL;
    if (warning && job->team.rank == 0 && job->team.warn) {
        char *message = lv_path("%s: %s", job->options->data_path, warning);
        job->team.warn(job->team.context, message);
        free(message);
    }
    free(warning);
    free(all);
    return rc;
}

lv_pack_phase lv_pack_sample_phase(const lv_pack_job *job)
{
    return (lv_pack_phase){.kind = &LV_PACK_SAMPLES,
                           .what = "records",
                           .n = lv_pack_source_n_records(job->source),
                           .per_shard = job->identity.shard_records,
                           .check = check_sample_shard,
                           .write = write_sample_shard,
                           .finish = warn_about_keys};
}
