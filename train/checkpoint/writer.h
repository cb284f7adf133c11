/* SPDX-License-Identifier: Apache-2.0
 *
 * One rank's part of a checkpoint: its file, written by a thread from a copy of what the rank owns
 * (12 bytes an element) while training goes on, or at once where the memory for that is not there.
 * For checkpoint_save.c.
 */
#ifndef LV_TRAIN_CHECKPOINT_WRITER_H
#define LV_TRAIN_CHECKPOINT_WRITER_H

#include "train/checkpoint/file.h"
#include "train/cluster/comm.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* How something went, kept beyond its thread and the next failure. */
typedef struct {
    int rc;
    char message[2048];
} lv_outcome;
void lv_outcome_note(lv_outcome *out, int rc); /* rc < 0: with lv_error_message() */
int lv_outcome_told(const lv_outcome *from);   /* lv_fail, or LV_OK */

/* Start it with {0}. */
typedef struct {
    char *path;
    lv_rank_values values;
    lv_real *copy; /* of the values; NULL: they are the run's own */
    pthread_t thread;
    bool has_thread;
    double begin_s;
    atomic_bool done; /* what follows is there */
    lv_outcome result;
    int64_t n_bytes; /* of the file, and its CRC-32 */
    uint32_t crc;
    double took_s;
} lv_rank_writer;

/* lv_rank_writer_start: write a file to `path`. Collective: all ranks take a copy or none does.
 * in     values: the caller may change them when it returns
 * out    *copied: if not, the file is written when it returns
 * fails  LV_ERR_COMM; whatever else happens is the writer's result */
int lv_rank_writer_start(lv_rank_writer *writer, const lv_comm *comm, const char *path,
                         const lv_rank_values *values, bool *copied);

/* lv_rank_writer_fail: instead of a start: the last failure is the result. */
void lv_rank_writer_fail(lv_rank_writer *writer, int rc);

/* lv_rank_writer_is_done: never waits. */
bool lv_rank_writer_is_done(const lv_rank_writer *writer);

/* lv_rank_writer_end: waits for it and frees what it took; result, n_bytes, crc and took_s stay. */
void lv_rank_writer_end(lv_rank_writer *writer);

#endif
