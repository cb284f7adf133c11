/* SPDX-License-Identifier: Apache-2.0
 *
 * One rank's file of a checkpoint, written by a thread from a copy of what the rank owns (12 bytes
 * an element, 8 with moments of bf16) while training continues, or at once where there is no memory for the copy.
 */
#ifndef LV_TRAIN_CHECKPOINT_WRITER_H
#define LV_TRAIN_CHECKPOINT_WRITER_H

#include "autograd/error.h"
#include "train/checkpoint/file.h"
#include "train/cluster/comm.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Start it with {0}. */
typedef struct {
    char *path;
    lv_rank_values values;
    void *copy; /* the values; NULL: they are the run's own */
    pthread_t thread;
    bool has_thread;
    double begin_s;
    atomic_bool done; /* the fields below are set */
    lv_failure result;
    int64_t n_bytes; /* of the file */
    uint32_t crc;    /* its CRC-32 */
    double took_s;
} lv_rank_writer;

/* lv_rank_writer_start: write a file to `path`. Collective: all ranks take a copy or none does.
 * in     values: may change after the return
 * out    *copied: if false, the file is written before the return
 * fails  LV_ERR_COMM; any other failure is the writer's result */
int lv_rank_writer_start(lv_rank_writer *writer, const lv_comm *comm, const char *path,
                         const lv_rank_values *values, bool *copied);

/* lv_rank_writer_fail: instead of a start: the last failure is the result. */
void lv_rank_writer_fail(lv_rank_writer *writer, int rc);

/* lv_rank_writer_is_done: never waits. */
bool lv_rank_writer_is_done(const lv_rank_writer *writer);

/* lv_rank_writer_end: waits for the file and frees the copy; result, n_bytes, crc and took_s stay. */
void lv_rank_writer_end(lv_rank_writer *writer);

#endif
