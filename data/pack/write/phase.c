/* SPDX-License-Identifier: Apache-2.0
 *
 * A phase: the shards of one kind, checked, dealt out to the ranks and written.
 */
#include "data/pack/write/job.h"

#include "autograd/error.h"
#include "data/base/file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    ENTRY_NUMBERS = sizeof(lv_pack_entry) / sizeof(int64_t),
    ENOUGH_REJECTS = 1000, /* a shorter list of rejects is written to its end */
};

int lv_pack_barrier(const lv_pack_job *job, int rc)
{
    return job->team.barrier ? job->team.barrier(job->team.context, rc) : rc;
}

int lv_pack_broadcast(const lv_pack_job *job, void *data, int64_t n)
{
    return job->team.broadcast ? job->team.broadcast(job->team.context, data, n) : LV_OK;
}

int lv_pack_sum(const lv_pack_job *job, int64_t *x, int64_t n)
{
    return job->team.sum ? job->team.sum(job->team.context, x, n) : LV_OK;
}

int lv_pack_gather(const lv_pack_job *job, void *all, const void *own, int64_t n)
{
    if (!job->team.gather) {
        memcpy(all, own, (size_t)n);
        return LV_OK;
    }
    return job->team.gather(job->team.context, all, own, n);
}

void lv_pack_begin_phase(lv_pack_job *job, const char *what, int64_t own, int64_t all)
{
    job->progress = (lv_pack_progress){.what = what, .own = own, .all = all};
    if (job->team.progress) {
        job->team.progress(job->team.context, &job->progress);
    }
}

void lv_pack_tick(lv_pack_job *job, int64_t n_bytes)
{
    job->progress.done++;
    job->progress.n_bytes += n_bytes;
    if (job->team.progress) {
        job->team.progress(job->team.context, &job->progress);
    }
}

bool lv_pack_too_many(const lv_pack_job *job, int64_t n_rejects)
{
    return n_rejects >= ENOUGH_REJECTS &&
           (double)n_rejects >
               job->options->max_rejects * (double)lv_pack_source_n_records(job->source);
}

/* The file that a rank which must stop makes; the others check for it between shards. */
static char *stop_path(const lv_pack_job *job)
{
    return lv_path("%s/stop.tmp", job->options->out_dir);
}

static bool others_stop(const lv_pack_job *job)
{
    char *path = stop_path(job);
    bool stop = job->team.n_ranks > 1 && lv_file_exists(path);
    free(path);
    return stop;
}

/* Where the file cannot be made, the others stop later. */
static void stop_others(const lv_pack_job *job)
{
    char *path = stop_path(job);
    int fd = job->team.n_ranks > 1 ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666) : -1;
    if (fd >= 0) {
        close(fd);
    }
    free(path);
}

static int64_t n_things(const lv_pack_phase *phase, int64_t k)
{
    int64_t left = phase->n - k * phase->per_shard;
    return left < phase->per_shard ? left : phase->per_shard;
}

static char *shard_path(const lv_pack_job *job, const lv_pack_phase *phase, int64_t k)
{
    char *name = lv_pack_shard_name(phase->kind, k);
    char *path = lv_path("%s/%s", job->options->out_dir, name);
    free(name);
    return path;
}

static int check_one(lv_pack_job *job, const lv_pack_phase *phase, lv_pack_entry *entry, int64_t k)
{
    char *path = shard_path(job, phase, k);
    lv_pack_entry found = {0};
    hid_t file = H5I_INVALID_HID;
    int rc = lv_pack_open_whole(&file, &found, job, path, phase->kind, k);
    if (rc == 1) {
        rc = phase->check(job, &found, file, path, k * phase->per_shard, n_things(phase, k));
    }
    lv_pack_shard_close(&file);
    free(path);
    if (rc == 1) {
        *entry = found;
    }
    return rc;
}

/* Every rank checks its part of what is there. */
static int check_shards(lv_pack_job *job, const lv_pack_phase *phase, lv_pack_entry *entries,
                        int64_t n_shards)
{
    int64_t own = (n_shards - job->team.rank + job->team.n_ranks - 1) / job->team.n_ranks;
    int rc = LV_OK;
    lv_pack_begin_phase(job, "shards checked", own, n_shards);
    for (int64_t k = job->team.rank; rc >= 0 && k < n_shards && !others_stop(job);
         k += job->team.n_ranks) {
        rc = check_one(job, phase, &entries[k], k);
        lv_pack_tick(job, 0);
    }
    return rc < 0 ? rc : LV_OK;
}

/* The j-th missing shard goes to rank j modulo n_ranks.
 * out    things in this rank's and in all of them */
static void deal(const lv_pack_job *job, const lv_pack_phase *phase, const lv_pack_entry *all,
                 int64_t n_shards, bool *is_own, int64_t *n_own, int64_t *n_all)
{
    int64_t j = 0;
    *n_own = *n_all = 0;
    for (int64_t k = 0; k < n_shards; k++) {
        if (all[k].n_bytes == 0) {
            is_own[k] = j++ % job->team.n_ranks == job->team.rank;
            *n_own += is_own[k] ? n_things(phase, k) : 0;
            *n_all += n_things(phase, k);
        }
    }
}

/* Stops early, without an error, when there are too many rejects or another rank has stopped. */
static int write_shards(lv_pack_job *job, const lv_pack_phase *phase, lv_pack_entry *entries,
                        int64_t n_shards, const bool *is_own)
{
    int rc = LV_OK;
    for (int64_t k = 0; rc == LV_OK && k < n_shards; k++) {
        if (!is_own[k]) {
            continue;
        }
        if (lv_pack_too_many(job, job->n_rejects) || others_stop(job)) {
            break;
        }
        char *path = shard_path(job, phase, k);
        rc = phase->write(job, &entries[k], path, k, k * phase->per_shard, n_things(phase, k));
        free(path);
    }
    return rc;
}

/* Adds up the ranks' entries, if none of them has failed. */
static int add_entries(const lv_pack_job *job, int rc, lv_pack_entry *entries, int64_t n_shards)
{
    if (rc < 0) {
        stop_others(job);
    }
    rc = lv_pack_barrier(job, rc);
    return rc < 0 ? rc : lv_pack_sum(job, &entries->n_bytes, n_shards * ENTRY_NUMBERS);
}

static char *missing_path(const lv_pack_job *job, const lv_pack_phase *phase,
                          const lv_pack_entry *all, int64_t n_shards)
{
    int64_t k = 0;
    while (k < n_shards && all[k].n_bytes > 0) {
        k++;
    }
    return k < n_shards ? shard_path(job, phase, k) : NULL;
}

int lv_pack_run_phase(lv_pack_job *job, const lv_pack_phase *phase, lv_pack_entry **entries,
                      int64_t *n_written, char **missing)
{
    int64_t n_shards = lv_pack_n_shards(phase->n, phase->per_shard), n_own = 0;
    /* one more, so that there is one */
    lv_pack_entry *kept = calloc((size_t)n_shards + 1, sizeof *kept);
    lv_pack_entry *made = calloc((size_t)n_shards + 1, sizeof *made);
    bool *is_own = calloc((size_t)n_shards + 1, sizeof *is_own);
    job->n_rejects = 0;
    int rc = kept && made && is_own ? check_shards(job, phase, kept, n_shards)
                                    : lv_fail(LV_ERR_MEMORY, "no memory for a list of shards");
    rc = add_entries(job, rc, kept, n_shards);
    if (rc == LV_OK) {
        deal(job, phase, kept, n_shards, is_own, &n_own, n_written);
        lv_pack_begin_phase(job, phase->what, n_own, *n_written);
        rc = write_shards(job, phase, made, n_shards, is_own);
        if (lv_pack_too_many(job, job->n_rejects)) {
            stop_others(job);
        }
        rc = add_entries(job, rc, made, n_shards);
    }
    for (int64_t k = 0; rc == LV_OK && k < n_shards; k++) {
        kept[k] = kept[k].n_bytes ? kept[k] : made[k];
    }
    if (rc == LV_OK) rc = phase->finish(job);
    free(made);
    free(is_own);
    if (rc < 0) {
        free(kept);
        return rc;
    }
    *entries = kept;
    *missing = missing_path(job, phase, kept, n_shards);
    return LV_OK;
}
