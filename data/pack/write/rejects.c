/* SPDX-License-Identifier: Apache-2.0 */
#include "data/pack/write/job.h"

#include "autograd/error.h"
#include "data/base/fail_point.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "data/pack/manifest.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- the file ---- */

static int open_list(lv_new_file *out, const lv_pack_job *job)
{
    char *path = lv_path("%s/" LV_PACK_REJECTS_NAME, job->options->out_dir);
    int rc = lv_new_file_open(out, path);
    free(path);
    return rc;
}

static int append_lines(lv_new_file *out, const lv_pack_column *lines)
{
    return lv_new_file_write(out, lines->data, (size_t)lines->n);
}

static int append_shard(lv_new_file *out, const lv_pack_job *job, int64_t k)
{
    lv_pack_shard shard = {.kind = &LV_PACK_SAMPLES};
    lv_pack_identity identity;
    hid_t file = H5I_INVALID_HID;
    char *name = lv_pack_shard_name(&LV_PACK_SAMPLES, k);
    char *path = lv_path("%s/%s", job->options->out_dir, name);
    int rc = lv_pack_shard_open(&file, &identity, path, &LV_PACK_SAMPLES, k);
    if (rc == LV_OK) rc = lv_pack_shard_load(&shard, file, path, LV_PACK_REJECT_BYTES);
    if (rc == LV_OK) rc = append_lines(out, &shard.columns[LV_PACK_REJECT_BYTES]);
    lv_pack_shard_close(&file);
    lv_pack_shard_free(&shard);
    free(path);
    free(name);
    return rc;
}

int lv_pack_write_rejects(const lv_pack_job *job)
{
    int64_t n =
        lv_pack_n_shards(lv_pack_source_n_records(job->source), job->identity.shard_records);
    lv_new_file out = {0};
    int rc = lv_fail_point("pack.rejects.begin");
    rc = rc < 0 ? lv_fail_within("%s", job->options->out_dir) : open_list(&out, job);
    for (int64_t k = 0; rc == LV_OK && k < n; k++) {
        rc = job->samples[k].n_bad ? append_shard(&out, job, k) : LV_OK;
    }
    rc = lv_new_file_close(&out, rc);
    if (rc == LV_OK) rc = lv_fail_point("pack.rejects.written");
    return rc < 0 ? lv_fail_within("%s/" LV_PACK_REJECTS_NAME, job->options->out_dir) : rc;
}

int lv_pack_list_first_rejects(const lv_pack_job *job, int64_t *n)
{
    lv_prompt prompt = {0};
    lv_new_file out = {0};
    const cJSON *json = NULL;
    int64_t index = 0;
    int more = 1;
    int rc = open_list(&out, job);
    *n = 0;
    lv_pack_source_seek(job->source, 0);
    while (rc == LV_OK && more > 0 && !lv_pack_too_many(job, *n)) {
        char *path = lv_path("%s/" LV_PACK_REJECTS_NAME, job->options->out_dir);
        lv_pack_shard one = {.kind = &LV_PACK_SAMPLES, .path = path};
        more = lv_pack_source_next(job->source, &index, &json);
        rc = more < 0 ? more : LV_OK;
        if (more > 0) {
            rc = lv_pack_add_record(job, &one, &prompt, index, json);
        }
        if (rc == LV_OK && one.columns[LV_PACK_REJECT_BYTES].n > 0) {
            (*n)++;
            rc = append_lines(&out, &one.columns[LV_PACK_REJECT_BYTES]);
        }
        lv_pack_shard_free(&one);
        free(path);
    }
    lv_prompt_free(&prompt);
    return lv_new_file_close(&out, rc);
}

/* ---- the most frequent reasons ---- */

enum { MAX_KINDS = 64 }; /* further ones are not counted */

typedef struct {
    int n;
    lv_reject_reason kinds[MAX_KINDS];
} reason_counts;

/* The part of the reason that records may share: the text after the image's name, digits as N,
 * quoted words as "..."; a quoted key at the beginning stays. */
static void generalise(char out[LV_REJECT_REASON_BYTES], const char *reason, const char *image)
{
    const char *name = image && *image ? strstr(reason, image) : NULL;
    size_t n = 0;
    if (name && strncmp(name + strlen(image), ": ", 2) == 0) {
        reason = name + strlen(image) + 2;
    }
    const char *key_end = *reason == '"' ? strchr(reason + 1, '"') : NULL;
    const char *after_key = key_end && key_end[1] == ':' ? key_end + 1 : reason;
    while (*reason && n < LV_REJECT_REASON_BYTES - 6) {
        const char *quote = *reason == '"' && reason >= after_key ? strchr(reason + 1, '"') : NULL;
        if (quote) {
            memcpy(out + n, "\"...\"", 5);
            n += 5;
            reason = quote + 1;
        } else if (isdigit((unsigned char)*reason)) {
            out[n++] = 'N';
            reason += strspn(reason, "0123456789");
        } else {
            out[n++] = *reason++;
        }
    }
    while (*reason && n > 0 && ((unsigned char)out[n - 1] & 0x80)) {
        n--; /* not in the middle of a UTF-8 sequence */
    }
    out[n] = '\0';
}

static void add_kind(reason_counts *t, const char *text, double index, const char *reason)
{
    int i = 0;
    while (i < t->n && strcmp(t->kinds[i].text, text) != 0) {
        i++;
    }
    if (i == t->n && t->n < MAX_KINDS) {
        snprintf(t->kinds[i].text, LV_REJECT_REASON_BYTES, "%s", text);
        snprintf(t->kinds[i].first, LV_REJECT_FIRST_BYTES, "record %.0f: %s", index, reason);
        t->n++;
    }
    if (i < t->n) {
        t->kinds[i].n++;
    }
}

static void add_line(reason_counts *t, const char *line, size_t n)
{
    char kind[LV_REJECT_REASON_BYTES];
    cJSON *json = NULL;
    const char *reason = NULL, *image = NULL;
    if (lv_json_parse(&json, line, n) == LV_OK &&
        lv_json_string(json, "reason", true, &reason) == LV_OK) {
        image = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "image"));
        generalise(kind, reason, image);
        add_kind(t, kind, cJSON_GetNumberValue(lv_json_find(json, "index")), reason);
    }
    cJSON_Delete(json);
}

static int by_number(const void *a, const void *b)
{
    const lv_reject_reason *x = a, *y = b;
    return x->n != y->n ? (x->n < y->n ? 1 : -1) : strcmp(x->text, y->text);
}

int lv_pack_reject_reasons(lv_reject_reason *out, int max, const char *dir)
{
    char *path = lv_path("%s/" LV_PACK_REJECTS_NAME, dir);
    reason_counts *t = calloc(1, sizeof *t);
    FILE *file = fopen(path, "rb");
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n;
    int rc = !t      ? lv_fail(LV_ERR_MEMORY, "out of memory")
             : !file ? lv_fail_errno(LV_ERR_IO, "%s: opening", path)
                     : LV_OK;
    while (rc == LV_OK && (n = getline(&line, &capacity, file)) >= 0) {
        add_line(t, line, (size_t)n);
    }
    if (rc == LV_OK && ferror(file)) {
        rc = lv_fail_errno(LV_ERR_IO, "%s: reading", path);
    }
    if (rc == LV_OK) {
        qsort(t->kinds, (size_t)t->n, sizeof *t->kinds, by_number);
        rc = t->n < max ? t->n : max;
        memcpy(out, t->kinds, (size_t)rc * sizeof *out);
    }
    if (file) {
        fclose(file);
    }
    free(line);
    free(t);
    free(path);
    return rc;
}

/* ---- the limit ---- */

int lv_pack_check_rejects(const lv_pack_summary *summary, const lv_pack_options *options,
                          bool at_least)
{
    lv_reject_reason most = {.text = ""};
    char why[LV_REJECT_REASON_BYTES + LV_REJECT_FIRST_BYTES + 64] = "", limit[64];
    snprintf(limit, sizeof limit, "more than the allowed fraction (--max-rejects %g)",
             options->max_rejects);
    if (summary->n_records == 0) {
        return lv_fail(LV_ERR_FORMAT, "%s: holds no samples", options->data_path);
    }
    const char *failure =
        options->strict && summary->n_rejects > 0 ? "none may be in a strict run"
        : (double)summary->n_rejects > options->max_rejects * (double)summary->n_records ? limit
        : summary->n_samples == 0 ? "nothing is left to train on"
                                  : NULL;
    if (!failure) {
        return LV_OK;
    }
    if (lv_pack_reject_reasons(&most, 1, options->out_dir) == 1) {
        snprintf(why, sizeof why, ", most often for \"%s\" (%" PRId64 "; the first is %s)",
                 most.text, most.n, most.first);
    }
    return lv_fail(LV_ERR_FORMAT,
                   "%s: %s%" PRId64 " of %" PRId64 " records were rejected%s: %s; see "
                   "%s/" LV_PACK_REJECTS_NAME "%s",
                   options->data_path, at_least ? "at least " : "", summary->n_rejects,
                   summary->n_records, why, failure, options->out_dir,
                   at_least ? ", which lists the first of them" : "");
}
