/* SPDX-License-Identifier: Apache-2.0
 *
 * The facts of a job: the hosts of its ranks and what each of them runs, gathered on rank 0 at the
 * start. Ranks that differ make a run slow, or its losses wrong.
 */
#ifndef LV_TRAIN_CLUSTER_JOB_H
#define LV_TRAIN_CLUSTER_JOB_H

#include "autograd/tensor.h"
#include "train/cluster/comm.h"
#include "train/cluster/threads.h"

#include <cjson/cJSON.h>

enum { LV_JOB_TEXT_BYTES = 128, LV_JOB_N_RESERVED = 6 };

typedef enum {
    LV_JOB_HOST,
    LV_JOB_VERSION,     /* of llava */
    LV_JOB_CONFIG,      /* "" on rank 0; elsewhere the differences from it, "optim.lr=0.01" */
    LV_JOB_BUILD,       /* a hash of the program's file */
    LV_JOB_MPI,         /* the library, "" without a launcher */
    LV_JOB_CPU,         /* "2 sockets of AMD EPYC 7763 64-Core Processor" */
    LV_JOB_COMPUTE,     /* instructions and BLAS in use */
    LV_JOB_THREADS,     /* "16" */
    LV_JOB_ENVIRONMENT, /* the variables that change how a rank computes */
    LV_JOB_BINDING,     /* of a host's first rank: cores that threads are not bound to; "" */
    LV_JOB_N_FACTS
} lv_job_fact;

/* The facts of a rank. Its size and the offsets of host and version are the same in every version
 * of llava, so that a mixture of versions is recognised. */
typedef struct {
    char fact[LV_JOB_N_FACTS + LV_JOB_N_RESERVED][LV_JOB_TEXT_BYTES];
} lv_job_rank;
_Static_assert(sizeof(lv_job_rank) == 2048, "ranks of another version send as much");

/* lv_job_start: collective, after lv_threads_start. Rank 0 prints one line: version and build of
 * llava, MPI, hosts, sockets and CPUs, and the type in which gradients are sent; and a warning for
 * each fact that differs: a few lines, however many ranks there are.
 * in     config: all values in force; resume: as in lv_train; products: from lv_gemm_start; wire: of
 *        gradients
 * fails  LV_ERR_CONFIG on all ranks if versions, or configs with their overrides and --resume, are
 *        not the same, or if the launcher started several ranks that MPI takes for jobs of one:
 *        LV_ERR_COMM, LV_ERR_MEMORY */
int lv_job_start(const lv_comm *comm, const cJSON *config, const char *resume,
                 const lv_threads *threads, const char *products, lv_dtype wire);

/* lv_job_compare: the facts that differ. Two builds of one version are a warning: a cluster of several
 * systems may need them. Two versions or two configs are refused.
 * out    *report: lines, "" if nothing differs; free() it
 * fails  LV_ERR_CONFIG with what differs, and on which ranks; LV_ERR_MEMORY */
int lv_job_compare(char **report, const lv_job_rank *ranks, int n_ranks);

/* lv_job_line: the line that lv_job_start prints; free() it. NULL if there is no memory. */
char *lv_job_line(const lv_job_rank *ranks, int n_ranks, lv_dtype wire);

/* lv_job_config: LV_JOB_CONFIG of a rank: where its configuration `own` differs from rank 0's. */
void lv_job_config(char out[LV_JOB_TEXT_BYTES], const cJSON *own, const cJSON *first);

/* lv_job_cpu: LV_JOB_CPU from a file, which is "/proc/cpuinfo" but for tests; the architecture's
 * name if there is no model in it. */
void lv_job_cpu(char out[LV_JOB_TEXT_BYTES], const char *path);

/* lv_job_launcher_size: the number of ranks by the launcher's environment variables, 0 if none is
 * set.
 * out    *variable: the one that was used */
int lv_job_launcher_size(const char **variable);

/* lv_compute_text: precision, instructions and libraries in use, "in bf16 on avx512_bf16; bf16
 * products: avx512_bf16; f32: OpenBLAS 0.3.21 SkylakeX"; free() it.
 * in     dtype: of activations; products: from lv_gemm_start */
char *lv_compute_text(lv_dtype dtype, const char *products);

/* lv_compute_rate: the sum over ranks of the FLOP/s of bf16 matrix products, measured on all ranks
 * at the same time. Collective.
 * out    *flop_per_s, the same on all ranks
 * fails  LV_ERR_COMM */
int lv_compute_rate(double *flop_per_s, const lv_comm *comm);

#endif
