/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening a pack, and the state of its shards: which files are open, which indexes are loaded.
 */
#include "data/pack/reader.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "data/json/manifest.h"
#include "data/pack/manifest.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Files of one pack that are open at a time; a process may have 1024 by default. */
enum { MAX_OPEN = 256 };

/* ---- files ---- */

static lv_pack_shard_state *least_used(lv_pack_shard_list *list, lv_pack_shard_state *best)
{
    for (int64_t k = 0; k < list->n_shards; k++) {
        lv_pack_shard_state *s = &list->shards[k];
        if (s->file >= 0 && (!best || s->last_use < best->last_use)) {
            best = s;
        }
    }
    return best;
}

static void close_shard(lv_pack *pack, lv_pack_shard_state *shard)
{
    if (shard->file >= 0) {
        lv_pack_shard_close(&shard->file);
        pack->n_open--;
    }
}

/* Opens the shard unless it is; with the lock held. */
static int open_shard(lv_pack *pack, const lv_pack_shard_list *list, lv_pack_shard_state *shard)
{
    lv_pack_identity found;
    shard->last_use = ++pack->clock;
    if (shard->file >= 0) {
        return LV_OK;
    }
    if (pack->n_open >= MAX_OPEN) {
        close_shard(pack, least_used(&pack->images, least_used(&pack->samples, NULL)));
    }
    int rc =
        lv_pack_shard_open(&shard->file, &found, shard->path, list->kind, shard - list->shards);
    if (rc < 0) {
        return rc;
    }
    pack->n_open++;
    if (lv_pack_identity_compare(&found, &pack->identity) < 0) {
        close_shard(pack, shard);
        lv_fail(LV_ERR_FORMAT, "does not belong to this manifest: %s", lv_error_message());
        return lv_fail_within("%s", shard->path);
    }
    return LV_OK;
}

static int load_columns(lv_pack_shard_state *shard, const int *fields, size_t n)
{
    int rc = LV_OK;
    for (size_t i = 0; rc == LV_OK && i < n; i++) {
        rc = lv_pack_shard_load(&shard->index, shard->file, shard->path, fields[i]);
    }
    return rc;
}

/* Offsets in the index against the length of the column in the file that they point into. */
static int check_offsets(const lv_pack_shard_state *shard, int offset_field, int owned_field)
{
    int64_t n_owned = shard->index.columns[owned_field].n;
    int rc = LV_OK;
    if (!shard->index.columns[owned_field].data) {
        rc = lv_pack_shard_n_rows(&n_owned, shard->file, shard->path, shard->index.kind,
                                  owned_field);
    }
    return rc < 0
               ? rc
               : lv_pack_check_offsets(&shard->index, shard->path, offset_field, shard->n, n_owned);
}

static int check_rows(const lv_pack_shard_state *shard, const int *fields, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (shard->index.columns[fields[i]].n != shard->n) {
            return lv_fail(LV_ERR_FORMAT, "%s: %s has %" PRId64 " rows, the manifest says %" PRId64,
                           shard->path, shard->index.kind->fields[fields[i]].name,
                           shard->index.columns[fields[i]].n, shard->n);
        }
    }
    return LV_OK;
}

static int load_sample_index(lv_pack_shard_state *shard, const lv_sample_counts *counts)
{
    static const int fields[] = {LV_PACK_SAMPLE_OFFSET, LV_PACK_SAMPLE_IMAGE_OFFSET,
                                 LV_PACK_ID_OFFSET, LV_PACK_ID_BYTES, LV_PACK_SAMPLE_CRC};
    static const int per_sample[] = {LV_PACK_SAMPLE_CRC};
    int rc = load_columns(shard, fields, sizeof fields / sizeof *fields);
    if (rc == LV_OK) rc = check_rows(shard, per_sample, 1);
    if (rc == LV_OK) rc = check_offsets(shard, LV_PACK_SAMPLE_OFFSET, LV_PACK_TOKENS);
    if (rc == LV_OK) rc = check_offsets(shard, LV_PACK_SAMPLE_OFFSET, LV_PACK_SUPERVISED);
    if (rc == LV_OK) rc = check_offsets(shard, LV_PACK_SAMPLE_IMAGE_OFFSET, LV_PACK_SAMPLE_IMAGE);
    if (rc == LV_OK) rc = check_offsets(shard, LV_PACK_ID_OFFSET, LV_PACK_ID_BYTES);
    if (rc < 0) {
        return rc;
    }
    const int64_t *token = lv_pack_int64(&shard->index, LV_PACK_SAMPLE_OFFSET);
    const int64_t *image = lv_pack_int64(&shard->index, LV_PACK_SAMPLE_IMAGE_OFFSET);
    for (int64_t i = 0; i < shard->n; i++) {
        if (token[i + 1] - token[i] != counts[i].n_tokens ||
            image[i + 1] - image[i] != counts[i].n_images) {
            return lv_fail(LV_ERR_FORMAT, "%s: sample %" PRId64 ": offsets and counts differ",
                           shard->path, shard->first + i);
        }
    }
    return LV_OK;
}

static int load_image_index(lv_pack_shard_state *shard)
{
    static const int fields[] = {LV_PACK_FORMAT,       LV_PACK_WIDTH,       LV_PACK_HEIGHT,
                                 LV_PACK_IMAGE_CRC,    LV_PACK_NAME_BYTES,  LV_PACK_REASON_BYTES,
                                 LV_PACK_IMAGE_OFFSET, LV_PACK_NAME_OFFSET, LV_PACK_REASON_OFFSET};
    int rc = load_columns(shard, fields, sizeof fields / sizeof *fields);
    if (rc == LV_OK) rc = check_rows(shard, fields, 4);
    if (rc == LV_OK) rc = check_offsets(shard, LV_PACK_IMAGE_OFFSET, LV_PACK_BYTES);
    if (rc == LV_OK) rc = check_offsets(shard, LV_PACK_NAME_OFFSET, LV_PACK_NAME_BYTES);
    return rc < 0 ? rc : check_offsets(shard, LV_PACK_REASON_OFFSET, LV_PACK_REASON_BYTES);
}

/* The shard with file and index ready; with the lock held. */
int lv_pack_use_shard(lv_pack *pack, lv_pack_shard_list *list, lv_pack_shard_state *shard)
{
    int rc = open_shard(pack, list, shard);
    if (rc < 0 || shard->is_indexed) {
        return rc;
    }
    rc = list == &pack->samples ? load_sample_index(shard, pack->counts + shard->first)
                                : load_image_index(shard);
    if (rc < 0) {
        lv_pack_shard_free(&shard->index);
        return rc;
    }
    shard->is_indexed = true;
    return LV_OK;
}

/* ---- opening ---- */

static int check_size(const lv_pack *pack, const char *dir, const char *name)
{
    const cJSON *files = lv_json_find(pack->manifest, "files");
    const cJSON *entry = cJSON_IsObject(files) ? lv_json_find(files, name) : NULL;
    int64_t want = -1;
    struct stat st;
    if (!entry || lv_json_int(entry, "bytes", true, &want) < 0) {
        return lv_fail(LV_ERR_FORMAT, "%s: the manifest does not list %s", dir, name);
    }
    char *path = lv_path("%s/%s", dir, name);
    int rc = LV_OK;
    if (stat(path, &st) < 0) {
        rc = lv_fail_errno(LV_ERR_FORMAT, "%s: a file of the pack", path);
    } else if (!S_ISREG(st.st_mode) || st.st_size != want) {
        rc = lv_fail(LV_ERR_FORMAT, "%s: %lld bytes, the manifest says %" PRId64, path,
                     (long long)st.st_size, want);
    }
    free(path);
    return rc;
}

static int open_list(lv_pack_shard_list *list, lv_pack *pack, const char *dir, const char *name,
                     int64_t max)
{
    int64_t *sizes = NULL, n_shards = 0;
    int rc = lv_pack_manifest_shards(&sizes, &n_shards, pack->manifest, name, max);
    if (rc < 0) {
        return rc;
    }
    list->shards = calloc((size_t)n_shards + 1, sizeof *list->shards);
    if (!list->shards) {
        free(sizes);
        return lv_fail(LV_ERR_MEMORY, "out of memory");
    }
    list->n_shards = n_shards;
    for (int64_t k = 0; k < n_shards; k++) {
        char *file = lv_pack_shard_name(list->kind, k);
        list->shards[k] = (lv_pack_shard_state){.path = lv_path("%s/%s", dir, file),
                                                .file = H5I_INVALID_HID,
                                                .index = {.kind = list->kind},
                                                .first = list->n,
                                                .n = sizes[k]};
        list->n += sizes[k];
        if (rc == LV_OK) rc = check_size(pack, dir, file);
        free(file);
    }
    free(sizes);
    return rc;
}

static int check_counts(const lv_sample_counts *c, const char *path, int64_t sample)
{
    bool good = c->n_tokens > 0 && c->n_supervised > 0 && c->n_supervised <= c->n_tokens &&
                c->n_images >= 0 && c->n_images <= c->n_tokens && c->n_words >= 0;
    return good ? LV_OK
                : lv_fail(LV_ERR_FORMAT, "%s: sample %" PRId64 ": impossible counts", path, sample);
}

static int load_counts(lv_pack *pack)
{
    static const int fields[] = {LV_PACK_COUNTS};
    int rc = LV_OK;
    pack->counts = malloc(((size_t)pack->samples.n + 1) * sizeof *pack->counts);
    if (!pack->counts) {
        return lv_fail(LV_ERR_MEMORY, "no memory for the counts of %" PRId64 " samples",
                       pack->samples.n);
    }
    for (int64_t k = 0; rc == LV_OK && k < pack->samples.n_shards; k++) {
        lv_pack_shard_state *s = &pack->samples.shards[k];
        lv_pack_column *column = &s->index.columns[LV_PACK_COUNTS];
        rc = open_shard(pack, &pack->samples, s);
        if (rc == LV_OK) rc = load_columns(s, fields, 1);
        if (rc == LV_OK) rc = check_rows(s, fields, 1);
        if (rc == LV_OK) {
            memcpy(pack->counts + s->first, column->data, (size_t)s->n * sizeof *pack->counts);
        }
        for (int64_t i = 0; rc == LV_OK && i < s->n; i++) {
            rc = check_counts(&pack->counts[s->first + i], s->path, s->first + i);
        }
        lv_pack_shard_free(&s->index);
    }
    return rc;
}

/* The counts of the samples against the manifest's totals. */
static int check_totals(const lv_pack *pack, const lv_pack_summary *totals)
{
    int64_t n_tokens = 0, n_supervised = 0;
    for (int64_t i = 0; i < pack->samples.n; i++) {
        n_tokens += pack->counts[i].n_tokens;
        n_supervised += pack->counts[i].n_supervised;
    }
    if (totals->n_rejects < 0 || totals->n_rejects > totals->n_records ||
        totals->n_records - totals->n_rejects != totals->n_samples || totals->n_images < 0 ||
        totals->n_images > pack->images.n) {
        return lv_fail(LV_ERR_FORMAT,
                       "%" PRId64 " samples and %" PRId64 " rejects of %" PRId64
                       " records, %" PRId64 " good images of %" PRId64 ": impossible totals",
                       totals->n_samples, totals->n_rejects, totals->n_records, totals->n_images,
                       pack->images.n);
    }
    return n_tokens == totals->n_tokens && n_supervised == totals->n_supervised
               ? LV_OK
               : lv_fail(LV_ERR_FORMAT,
                         "%" PRId64 " tokens, %" PRId64 " supervised in all, %" PRId64
                         " and %" PRId64 " in its shards",
                         totals->n_tokens, totals->n_supervised, n_tokens, n_supervised);
}

static int check_store(const lv_pack_identity *id)
{
    bool rgb = strcmp(id->store, "rgb") == 0;
    bool good = rgb ? id->image_size > 0 && id->image_size <= LV_PACK_MAX_IMAGE_SIZE
                    : strcmp(id->store, "original") == 0;
    return good ? LV_OK
                : lv_fail(LV_ERR_FORMAT, "impossible store \"%s\" of size %" PRId64, id->store,
                          id->image_size);
}

static int open_all(lv_pack *pack, const char *dir)
{
    lv_pack_summary totals = {0};
    int rc = lv_pack_manifest_identity(&pack->identity, pack->manifest);
    if (rc == LV_OK) rc = check_store(&pack->identity);
    if (rc == LV_OK) rc = lv_pack_manifest_totals(&totals, pack->manifest);
    if (rc == LV_OK) {
        rc = open_list(&pack->samples, pack, dir, "sample_shards", pack->identity.shard_records);
    }
    if (rc == LV_OK) {
        rc = open_list(&pack->images, pack, dir, "image_shards", pack->identity.shard_images);
    }
    if (rc == LV_OK) rc = check_size(pack, dir, LV_PACK_REJECTS_NAME);
    if (rc == LV_OK && totals.n_samples != pack->samples.n) {
        rc = lv_fail(LV_ERR_FORMAT, "%" PRId64 " samples in all, %" PRId64 " in its shards",
                     totals.n_samples, pack->samples.n);
    }
    for (int64_t k = 0; rc == LV_OK && k + 1 < pack->images.n_shards; k++) {
        if (pack->images.shards[k].n != pack->identity.shard_images) {
            rc = lv_fail(LV_ERR_FORMAT, "image shard %" PRId64 " is not full", k);
        }
    }
    if (rc == LV_OK) rc = load_counts(pack);
    return rc < 0 ? rc : check_totals(pack, &totals);
}

/* Whether there is a shard in the folder, whole or begun. */
static bool has_shards(DIR *folder)
{
    bool found = false;
    const struct dirent *entry;
    while (!found && (entry = readdir(folder)) != NULL) {
        found = strstr(entry->d_name, ".h5") != NULL;
    }
    return found;
}

/* A folder without a manifest is an unfinished pack, or none. */
static int check_finished(const char *dir, const char *manifest_path)
{
    if (lv_file_exists(manifest_path)) {
        return LV_OK;
    }
    DIR *folder = opendir(dir);
    if (!folder) {
        return lv_fail_errno(LV_ERR_IO, "%s: opening the pack, a folder", dir);
    }
    bool begun = has_shards(folder);
    closedir(folder);
    return begun
               ? lv_fail(LV_ERR_FORMAT,
                         "%s: packing was not finished (there are shards, but no %s): run the "
                         "same llava pack again, it continues from them",
                         dir, LV_PACK_MANIFEST_NAME)
               : lv_fail(LV_ERR_FORMAT, "%s: not a pack: it has no %s", dir, LV_PACK_MANIFEST_NAME);
}

int lv_pack_open(lv_pack **out, const char *dir)
{
    char *path = lv_path("%s/" LV_PACK_MANIFEST_NAME, dir);
    lv_pack *pack = calloc(1, sizeof *pack);
    int rc = pack ? LV_OK : lv_fail(LV_ERR_MEMORY, "out of memory");
    if (rc == LV_OK) {
        pack->samples.kind = &LV_PACK_SAMPLES;
        pack->images.kind = &LV_PACK_IMAGES;
        pthread_mutex_init(&pack->lock, NULL);
        pack->dir = lv_path("%s", dir);
        rc = check_finished(dir, path);
        if (rc == LV_OK) rc = lv_manifest_read(&pack->manifest, path);
    }
    if (rc == LV_OK && open_all(pack, dir) < 0) {
        rc = lv_fail_within("pack %s", dir);
    }
    free(path);
    if (rc < 0) {
        lv_pack_close(&pack);
        return rc;
    }
    *out = pack;
    return LV_OK;
}

static void close_list(lv_pack_shard_list *list)
{
    for (int64_t k = 0; k < list->n_shards; k++) {
        lv_pack_shard_close(&list->shards[k].file);
        lv_pack_shard_free(&list->shards[k].index);
        free(list->shards[k].path);
    }
    free(list->shards);
}

void lv_pack_close(lv_pack **pack)
{
    if (*pack) {
        close_list(&(*pack)->samples);
        close_list(&(*pack)->images);
        cJSON_Delete((*pack)->manifest);
        free((*pack)->counts);
        free((*pack)->dir);
        pthread_mutex_destroy(&(*pack)->lock);
        free(*pack);
    }
    *pack = NULL;
}

int lv_pack_verify(const lv_pack *pack, void (*progress)(int64_t done_bytes, int64_t all_bytes))
{
    return lv_manifest_check_files(pack->manifest, pack->dir, progress);
}

const char *lv_pack_dir(const lv_pack *pack)
{
    return pack->dir;
}

int64_t lv_pack_n_samples(const lv_pack *pack)
{
    return pack->samples.n;
}

const lv_sample_counts *lv_pack_counts(const lv_pack *pack)
{
    return pack->counts;
}

const cJSON *lv_pack_manifest(const lv_pack *pack)
{
    return pack->manifest;
}

const char *lv_pack_template(const lv_pack *pack)
{
    return pack->identity.template_name;
}

const char *lv_pack_tokenizer_fingerprint(const lv_pack *pack)
{
    return pack->identity.fingerprint;
}

int lv_pack_stored_size(const lv_pack *pack, lv_aspect *aspect)
{
    if (strcmp(pack->identity.store, "rgb") != 0) {
        return 0;
    }
    *aspect = strcmp(pack->identity.aspect, "pad") == 0 ? LV_ASPECT_PAD : LV_ASPECT_SQUARE;
    return (int)pack->identity.image_size;
}
