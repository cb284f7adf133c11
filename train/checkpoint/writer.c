/* SPDX-License-Identifier: Apache-2.0 */
#include "train/checkpoint/writer.h"

#include "autograd/error.h"
#include "data/base/clock.h"
#include "data/base/fail_point.h"
#include "data/base/file.h"
#include "data/base/thread.h"
#include "train/host/memory.h"

#include <stdlib.h>
#include <string.h>

/* ---- the file ---- */

static int write_rank_file(lv_rank_writer *writer)
{
    int rc = lv_rank_file_write(writer->path, &writer->values);
    if (rc == LV_OK) rc = lv_fail_point("checkpoint.file.written");
    if (rc == LV_OK) rc = lv_file_sync(writer->path);
    if (rc == LV_OK) rc = lv_fail_point("checkpoint.file.synced");
    return rc < 0 ? rc : lv_file_crc32(&writer->crc, &writer->n_bytes, writer->path);
}

static void write_now(lv_rank_writer *writer)
{
    lv_failure_take(&writer->result, write_rank_file(writer));
    writer->took_s = lv_clock_s() - writer->begin_s;
    atomic_store(&writer->done, true);
}

static void *write_on_thread(void *context)
{
    write_now(context);
    return NULL;
}

/* ---- the copy ---- */

/* Do the copies of all ranks of this host fit into three quarters of its free memory? Collective. */
static int check_host_memory(const lv_comm *comm, int64_t own_bytes, bool *fits)
{
    int64_t *bytes = calloc((size_t)comm->n_local_ranks, sizeof *bytes), all_bytes = 0;
    LV_CHECK(bytes, "out of memory");
    int rc = lv_comm_gather_host(comm, bytes, &own_bytes, sizeof own_bytes);
    for (int i = 0; i < comm->n_local_ranks; i++) {
        all_bytes += bytes[i];
    }
    *fits = all_bytes <= lv_memory_available("/proc", "/sys/fs/cgroup") / 4 * 3;
    free(bytes);
    return rc;
}

/* Sets writer->copy on all ranks, or on none. Collective. */
static int allocate_copy(lv_rank_writer *writer, const lv_comm *comm, int64_t bytes)
{
    bool fits;
    int rc = check_host_memory(comm, bytes, &fits);
    if (rc == LV_OK && fits && lv_fail_point("checkpoint.copy") == LV_OK) {
        writer->copy = malloc((size_t)bytes + 1);
    }
    double lacking = !writer->copy;
    if (rc == LV_OK) rc = lv_comm_max_double(comm, &lacking, 1);
    if (rc < 0 || lacking > 0) {
        free(writer->copy);
        writer->copy = NULL;
    }
    return rc;
}

static void copy_values(lv_rank_writer *writer, const lv_shard *shard)
{
    lv_rank_values copied = {.params = writer->values.params, .moments = writer->values.moments};
    char *next = writer->copy;
    for (int i = 0; i < LV_RANK_BUFFERS; i++) {
        const lv_dtype dtype = lv_rank_values_dtype(&copied, i);
        copied.buffers[i] = next;
        next += (size_t)shard->own_count * lv_dtype_bytes(dtype);
#pragma omp parallel for schedule(static)
        for (int64_t k = 0; k < shard->n_buckets; k++) {
            const lv_bucket_shard *own = &shard->own[k];
            memcpy(lv_rank_values_at(&copied, i, own), lv_rank_values_at(&writer->values, i, own),
                   (size_t)(own->end - own->begin) * lv_dtype_bytes(dtype));
        }
    }
    writer->values = copied;
}

int lv_rank_writer_start(lv_rank_writer *writer, const lv_comm *comm, const char *path,
                         const lv_rank_values *values, bool *copied)
{
    const lv_shard *shard = lv_params_shard(values->params);
    writer->path = lv_path("%s", path);
    writer->values = *values;
    writer->begin_s = lv_clock_s();
    atomic_store(&writer->done, false);
    int rc = allocate_copy(writer, comm, shard->own_count * lv_rank_values_element_bytes(values));
    if (rc < 0) {
        return rc;
    }
    *copied = writer->copy;
    if (writer->copy) {
        copy_values(writer, shard);
    }
    writer->has_thread =
        writer->copy && lv_thread_start(&writer->thread, write_on_thread, writer) == LV_OK;
    if (!writer->has_thread) {
        write_now(writer);
    }
    return LV_OK;
}

void lv_rank_writer_fail(lv_rank_writer *writer, int rc)
{
    lv_failure_take(&writer->result, rc);
    atomic_store(&writer->done, true);
}

bool lv_rank_writer_is_done(const lv_rank_writer *writer)
{
    return atomic_load(&writer->done);
}

void lv_rank_writer_end(lv_rank_writer *writer)
{
    if (writer->has_thread) {
        pthread_join(writer->thread, NULL);
    }
    free(writer->path);
    free(writer->copy);
    writer->path = NULL;
    writer->copy = NULL;
    writer->has_thread = false;
}
