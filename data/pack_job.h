/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files that write a pack share: lv_pack_write in its phases. Nothing here is collective;
 * lv_pack_write meets between the phases.
 */
#ifndef LV_DATA_PACK_JOB_H
#define LV_DATA_PACK_JOB_H

#include "data/pack.h"
#include "data/pack_names.h"
#include "data/pack_shard.h"
#include "data/pack_source.h"
#include "data/template.h"

typedef struct {
    const lv_pack_options *options;
    lv_pack_team team;
    lv_pack_identity identity;
    lv_pack_source *source;
    lv_tokenizer *tokenizer;
    lv_template *template;
    lv_pack_names names; /* of all images that the source names, if a folder was given */
} lv_pack_job;

/* lv_pack_write_images: this rank's image shards; then lv_pack_load_reasons, once all are there,
 * notes in job->names which images cannot be used. */
int lv_pack_write_images(lv_pack_job *job);
int lv_pack_load_reasons(lv_pack_job *job);

/* lv_pack_write_samples: this rank's sample shards. */
int lv_pack_write_samples(lv_pack_job *job);

/* lv_pack_finish: rejects.jsonl, the check of its length, and the manifest; one rank. */
int lv_pack_finish(const lv_pack_job *job);

/* lv_pack_check_rejects: too many, or nothing left.
 * fails  LV_ERR_FORMAT */
int lv_pack_check_rejects(const lv_pack_summary *summary, const lv_pack_options *options);

/* lv_pack_open_whole: the shard at path if it is there, of this pack and undamaged: 1, and file is
 * the caller's; 0 if it has to be written.
 * fails  LV_ERR_CONFIG if it is of another pack */
int lv_pack_open_whole(hid_t *file, const lv_pack_job *job, const char *path,
                       const lv_pack_kind *kind, int64_t index);

static inline void lv_pack_progress(const lv_pack_job *job, const char *what, int64_t done,
                                    int64_t all)
{
    if (job->team.progress) {
        job->team.progress(job->team.context, what, done, all);
    }
}

/* lv_pack_share: how many of n things in shards belong to this rank's shards. */
static inline int64_t lv_pack_share(const lv_pack_job *job, int64_t n, int64_t per_shard)
{
    int64_t share = 0;
    for (int64_t first = job->team.rank * per_shard; first < n;
         first += job->team.n_ranks * per_shard) {
        share += n - first < per_shard ? n - first : per_shard;
    }
    return share;
}

#endif
