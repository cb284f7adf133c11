/* SPDX-License-Identifier: Apache-2.0
 *
 * The job that the files of lv_pack_write share, and its phases.
 */
#ifndef LV_DATA_PACK_WRITE_JOB_H
#define LV_DATA_PACK_WRITE_JOB_H

#include "data/chat/template.h"
#include "data/pack/pack.h"
#include "data/pack/shard.h"
#include "data/pack/write/names.h"
#include "data/pack/write/source.h"

/* lv_pack_entry: facts about a shard that is there, all zero for one that is not. Numbers of one
 * type, so that the ranks' tables can be added. */
typedef struct {
    int64_t n_bytes, crc32; /* of the file */
    int64_t n_samples, n_tokens, n_supervised;
    int64_t n_bad; /* rejected records, or images that cannot be used */
} lv_pack_entry;

/* lv_pack_notes: this rank's bad images: of each its number (int64) and the reason with its 0, one
 * after another; start it with {0}. */
typedef struct {
    int64_t n, capacity; /* bytes */
    char *bytes;
} lv_pack_notes;

typedef struct {
    const lv_pack_options *options;
    lv_pack_team team;
    lv_pack_identity identity;
    lv_pack_source *source;
    lv_tokenizer *tokenizer;
    lv_template *template;
    lv_pack_names names;    /* all image names of the source, if a folder was given */
    int lock;               /* rank 0's, of out_dir; -1: not taken */
    lv_pack_entry *images;  /* the image shards of all ranks, once they are written */
    lv_pack_entry *samples; /* the sample shards */
    int64_t n_images_written;
    lv_pack_notes notes;
    char *all_notes;     /* of all ranks; owns the reasons in names */
    lv_record_keys keys; /* of the records that this rank has read */
    int64_t n_rejects; /* found by this rank in this phase: a lower bound of those of its records */
    lv_pack_progress progress;
} lv_pack_job;

/* ---- collective ---- */

/* lv_pack_phase: all shards of a kind. */
typedef struct {
    const lv_pack_kind *kind;
    const char *what;     /* its things, for the progress */
    int64_t n, per_shard; /* things */

    /* A whole shard of an earlier run, things [first, first + n): does it hold what would be
     * written now? Fills entry but for n_bytes and crc32. returns 1 or 0, or an error */
    int (*check)(lv_pack_job *job, lv_pack_entry *entry, hid_t file, const char *path,
                 int64_t first, int64_t n);
    /* Writes shard index and fills entry; leaves entry alone when there are too many rejects. */
    int (*write)(lv_pack_job *job, lv_pack_entry *entry, const char *path, int64_t index,
                 int64_t first, int64_t n);

    /* When every rank has done its part; collective. */
    int (*finish)(lv_pack_job *job);
} lv_pack_phase;

/* lv_pack_run_phase: keeps what is there and deals the rest to the ranks.
 * out    *entries: of all shards, malloc'ed; *n_written: things in the shards that were not kept;
 *        *missing: the path, malloc'ed, of a shard that is not there, as ranks stop early
 *        when there are too many rejects; NULL if all are
 * fails  with the error of the lowest rank that failed */
int lv_pack_run_phase(lv_pack_job *job, const lv_pack_phase *phase, lv_pack_entry **entries,
                      int64_t *n_written, char **missing);

lv_pack_phase lv_pack_image_phase(const lv_pack_job *job); /* sets the reasons in job->names */
lv_pack_phase lv_pack_sample_phase(const lv_pack_job *job);

/* As in lv_pack_team, whose functions may be NULL. */
int lv_pack_barrier(const lv_pack_job *job, int rc);
int lv_pack_broadcast(const lv_pack_job *job, void *data, int64_t n);
int lv_pack_sum(const lv_pack_job *job, int64_t *x, int64_t n);
int lv_pack_gather(const lv_pack_job *job, void *all, const void *own, int64_t n);

/* ---- for one rank ---- */

/* lv_pack_prepare_folder: on rank 0: lock it, check that its content is of this pack, remove what
 * killed runs left, put the tokenizer's files there; for a finished pack only the check.
 * fails  LV_ERR_CONFIG, LV_ERR_UNSUPPORTED, LV_ERR_IO */
int lv_pack_prepare_folder(lv_pack_job *job);

/* lv_pack_finish: rejects.jsonl, the check of its length, and the manifest; rank 0. */
int lv_pack_finish(const lv_pack_job *job);

/* ---- rejects.jsonl: a line a rejected record, in the order of the source ---- */

/* lv_pack_write_rejects: from the sample shards of the job, which are all there. The file appears
 * whole or not at all. */
int lv_pack_write_rejects(const lv_pack_job *job);

/* lv_pack_list_first_rejects: goes through the source until there are more rejects than allowed;
 * images that no rank has read yet count as usable. The file appears whole or not at all.
 * out    *n: of rejects listed */
int lv_pack_list_first_rejects(const lv_pack_job *job, int64_t *n);

/* lv_pack_check_rejects: too many, or nothing left. The message has the most frequent reason.
 * in     at_least: not all records were read
 * fails  LV_ERR_FORMAT */
int lv_pack_check_rejects(const lv_pack_summary *summary, const lv_pack_options *options,
                          bool at_least);

/* ---- shards and records ---- */

/* lv_pack_open_whole: the shard at path if it is there, of this pack and undamaged: 1, and file is
 * the caller's; 0 if it must be written. Fills n_bytes and crc32 of entry.
 * fails  LV_ERR_CONFIG if it is of another pack */
int lv_pack_open_whole(hid_t *file, lv_pack_entry *entry, const lv_pack_job *job, const char *path,
                       const lv_pack_kind *kind, int64_t index);

/* lv_pack_too_many: more rejects than the options allow, and enough to stop early. */
bool lv_pack_too_many(const lv_pack_job *job, int64_t n_rejects);

/* lv_pack_add_record: one record to a sample shard, as a sample or as a reject. json may be NULL:
 * it could not be read, the reason is the last failure.
 * fails  LV_ERR_IO, LV_ERR_MEMORY; under strict LV_ERR_FORMAT of a reject */
int lv_pack_add_record(const lv_pack_job *job, lv_pack_shard *shard, lv_prompt *prompt,
                       int64_t index, const cJSON *json);

/* lv_pack_begin_phase, lv_pack_tick: the progress is at 0; one thing more is done. */
void lv_pack_begin_phase(lv_pack_job *job, const char *what, int64_t own, int64_t all);
void lv_pack_tick(lv_pack_job *job, int64_t n_bytes);

#endif
