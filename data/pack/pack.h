/* SPDX-License-Identifier: Apache-2.0
 *
 * The pack: a folder with manifest.json, sample shards and image shards (HDF5).
 *
 * A sample shard holds the records [k*n, (k+1)*n) of the source, an image shard the distinct
 * images [k*m, (k+1)*m) in the order in which the source first names them; n and m follow from
 * their numbers. So the contents of a shard depend on the source alone. format.h lists the
 * datasets.
 */
#ifndef LV_DATA_PACK_PACK_H
#define LV_DATA_PACK_PACK_H

#include "data/image/image.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

/* ---- writing ---- */

typedef struct {
    const char *data_path; /* LLaVA's JSON */
    const char *image_dir; /* NULL: a record with images is rejected */
    const char *tokenizer_path;
    const char *template_name;
    const char *out_dir;
    bool store_rgb; /* false: encoded bytes as found */
    int image_size; /* of rgb; 0 otherwise */
    lv_aspect aspect;
    bool strict;        /* stop at the first reject */
    double max_rejects; /* fraction of the records */
} lv_pack_options;

/* lv_pack_progress: how far this rank is in a phase of the work. */
typedef struct {
    const char *what; /* counted things; borrowed, the same pointer all through a phase */
    int64_t done;     /* by this rank */
    int64_t own;      /* this rank's part of all; 0: it and all are not known */
    int64_t all;      /* of all ranks, which run at about the same pace */
    int64_t n_bytes;  /* of the image files read by this rank, or of the data to be read */
} lv_pack_progress;

/* lv_pack_team: the ranks that write one pack together, and their collective functions, from the
 * caller; NULL for one process. barrier: each passes its error (or LV_OK), all get that of the
 * lowest rank that failed. The others fail with LV_ERR_COMM. */
typedef struct {
    int rank, n_ranks;
    int (*barrier)(void *context, int error);
    int (*broadcast)(void *context, void *data, int64_t n); /* n bytes of rank 0 to all */
    int (*sum)(void *context, int64_t *x, int64_t n);       /* x[i] = its sum over the ranks */
    /* all[rank] = the n bytes of each rank, on all ranks */
    int (*gather)(void *context, void *all, const void *own, int64_t n);
    void *context;
    void (*warn)(void *context, const char *message); /* on rank 0; may be NULL */
    /* called at the begin of a phase (done is 0) and for every image and record; may be NULL */
    void (*progress)(void *context, const lv_pack_progress *progress);
} lv_pack_team;

typedef struct {
    int64_t n_records, n_samples, n_rejects, n_images;
    int64_t n_tokens, n_supervised;
    int64_t n_bytes;          /* of all files but the manifest */
    int64_t n_images_written; /* by this call, on all ranks; bad ones too */
    int64_t was_complete;     /* 1: there was nothing left to do */
} lv_pack_summary;

/* lv_pack_write: make a pack, or finish one that was begun with the same options; collective over
 * the team. Shards that are there and whole are kept, others are dealt out to the ranks. Rejected
 * samples are listed in out_dir/rejects.jsonl: {"index","id","image","reason"}. The manifest is
 * written last: a folder without one is not a pack. out_dir is locked meanwhile.
 * Memory: a shard's small columns (16 MiB of each at most), one image, and up to 64 bytes and its
 * name for each distinct image, on each rank; beside that of the source.
 * When there are 1000 rejects or more and they can no longer stay within max_rejects, it stops, and
 * rejects.jsonl lists the first of them.
 * out    summary, on every rank
 * fails  LV_ERR_CONFIG (options, out_dir holds another pack or is in use), LV_ERR_UNSUPPORTED (it
 *        holds one of another format version), LV_ERR_FORMAT (too many rejects, or the first under
 *        strict; the JSON is broken), LV_ERR_IO */
int lv_pack_write(lv_pack_summary *summary, const lv_pack_options *options,
                  const lv_pack_team *team);

/* lv_pack_reject_reasons: the most frequent reasons in dir/rejects.jsonl, file names, numbers and
 * quoted words left out, so that like counts as like. Fills up to max of out, most frequent first;
 * only the first 64 different ones are counted. The texts may hold control characters.
 * returns how many
 * fails  LV_ERR_IO, LV_ERR_MEMORY */
enum { LV_REJECT_REASON_BYTES = 128, LV_REJECT_FIRST_BYTES = 256 };
typedef struct {
    char text[LV_REJECT_REASON_BYTES];
    int64_t n;
    char first[LV_REJECT_FIRST_BYTES]; /* "record K: " and its whole reason, of the first of them */
} lv_reject_reason;
int lv_pack_reject_reasons(lv_reject_reason *out, int max, const char *dir);

/* ---- reading ---- */

extern const char lv_pack_format_name[]; /* "format" of its manifest */

typedef struct lv_pack lv_pack;

typedef struct {
    int32_t n_tokens; /* with one LV_IMAGE_TOKEN an image */
    int32_t n_supervised;
    int32_t n_images;
    int32_t n_words;
} lv_sample_counts;

/* lv_pack_open: manifest and the counts of all samples; checks sizes of the shards, not their
 * contents (lv_pack_verify does).
 * fails  LV_ERR_IO, LV_ERR_FORMAT with the reason, also for a folder that is no pack or whose
 *        packing was not finished */
int lv_pack_open(lv_pack **out, const char *dir);
void lv_pack_close(lv_pack **pack);

/* lv_pack_verify: read every byte of every file and compare with the manifest's checksums.
 * in     progress: called after each file with the bytes done and of all; may be NULL
 * fails  LV_ERR_FORMAT naming the first file that is not as it was written */
int lv_pack_verify(const lv_pack *pack, void (*progress)(int64_t done_bytes, int64_t all_bytes));

const char *lv_pack_dir(const lv_pack *pack); /* as it was opened; borrowed */
int64_t lv_pack_n_samples(const lv_pack *pack);
const lv_sample_counts *lv_pack_counts(const lv_pack *pack);    /* [n_samples], borrowed */
const cJSON *lv_pack_manifest(const lv_pack *pack);             /* borrowed */
const char *lv_pack_template(const lv_pack *pack);              /* borrowed */
const char *lv_pack_tokenizer_fingerprint(const lv_pack *pack); /* borrowed */

/* lv_pack_read_sample: tokens and mask of sample i, and the ids of its images, into the caller's
 * arrays of counts[i] elements each. id: malloc'ed, or NULL. Safe from several
 * threads.
 * fails  LV_ERR_IO, LV_ERR_FORMAT naming shard and sample */
int lv_pack_read_sample(lv_pack *pack, int64_t i, int32_t *tokens, uint8_t *supervised,
                        int64_t *image_ids, char **id);

/* lv_pack_read_image: stored bytes of one image, CRC checked, decoded to RGB (not yet resized,
 * unless the pack stores it so). Safe from several threads; only the read itself is under the
 * HDF5 lock.
 * fails  LV_ERR_IO, LV_ERR_FORMAT naming shard and image */
int lv_pack_read_image(lv_pack *pack, int64_t image_id, lv_image *out);

/* lv_pack_source_index: the place in the source, from 0, of the record that sample i was made of.
 * fails  LV_ERR_IO, LV_ERR_FORMAT naming the shard */
int lv_pack_source_index(lv_pack *pack, int64_t i, int64_t *source_index);

/* lv_pack_find_id: the first sample with that id, -1 if there is none, and how many have it.
 * Reads the ids of the whole pack. Not while another thread uses the pack.
 * fails  LV_ERR_IO, LV_ERR_FORMAT naming the shard */
int lv_pack_find_id(lv_pack *pack, const char *id, int64_t *first, int64_t *n_found);

int64_t lv_pack_n_images(const lv_pack *pack); /* those that could not be used count, too */

/* Facts about an image, without its bytes. */
typedef struct {
    const char *name; /* as in the source, not terminated; borrowed until lv_pack_release */
    size_t name_bytes;
    lv_image_format format;
    int width, height; /* 0 if the image could not be used when it was packed */
    int64_t n_bytes;   /* as stored */
} lv_image_facts;

/* lv_pack_image_facts: as above. fails  LV_ERR_IO, LV_ERR_FORMAT naming the shard */
int lv_pack_image_facts(lv_pack *pack, int64_t image_id, lv_image_facts *out);

/* lv_pack_release: free the index of every shard used so far; it is loaded again when needed. For
 * one pass over a large pack. Not while another thread uses the pack. */
void lv_pack_release(lv_pack *pack);

/* lv_pack_stored_size: N if the pack stores N x N pixels (and *aspect how), 0 if it stores the
 * files as found. */
int lv_pack_stored_size(const lv_pack *pack, lv_aspect *aspect);

#endif
