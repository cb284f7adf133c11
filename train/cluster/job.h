/* SPDX-License-Identifier: Apache-2.0
 *
 * What a job is made of: on which hosts its ranks are and what each of them runs, told to rank 0
 * once, at the start. Ranks that are not alike make a run slow, or its losses wrong.
 */
#ifndef LV_TRAIN_CLUSTER_JOB_H
#define LV_TRAIN_CLUSTER_JOB_H

#include "autograd/tensor.h"
#include "train/cluster/comm.h"
#include "train/cluster/threads.h"
#include "train/config/config.h"

enum { LV_JOB_TEXT_BYTES = 128, LV_JOB_N_RESERVED = 6 };

typedef enum {
    LV_JOB_HOST,
    LV_JOB_VERSION,     /* of llava */
    LV_JOB_CONFIG,      /* "" on rank 0; elsewhere what is not as there, "optim.lr=0.01" */
    LV_JOB_BUILD,       /* a hash of the program's file */
    LV_JOB_MPI,         /* the library, "" without a launcher */
    LV_JOB_CPU,         /* "2 sockets of AMD EPYC 7763 64-Core Processor" */
    LV_JOB_COMPUTE,     /* instructions and BLAS in use */
    LV_JOB_THREADS,     /* "16" */
    LV_JOB_ENVIRONMENT, /* the variables that change how a rank computes */
    LV_JOB_COMPLAINT,   /* of a host's first rank: how threads are bound badly; "" */
    LV_JOB_N_FACTS
} lv_job_fact;

/* What a rank tells. Its size and the places of host and version are the same in every version of
 * llava, so that ranks of several can find that out. */
typedef struct {
    char fact[LV_JOB_N_FACTS + LV_JOB_N_RESERVED][LV_JOB_TEXT_BYTES];
} lv_job_rank;
_Static_assert(sizeof(lv_job_rank) == 2048, "ranks of another version send as much");

/* lv_job_start: collective, after lv_threads_start. Rank 0 prints one line: version and build of
 * llava, MPI, hosts, sockets and CPUs, and what gradients travel as; and a warning for each thing
 * that is not alike on all ranks: a few lines, however many ranks there are.
 * in     resume: as lv_train has it; products: as lv_gemm_start says it; wire: of gradients
 * fails  LV_ERR_CONFIG on all ranks if versions, or configs with their overrides and --resume, are
 *        not the same, or if the launcher started several ranks that MPI takes for jobs of one:
 *        LV_ERR_COMM, LV_ERR_MEMORY */
int lv_job_start(const lv_comm *comm, const lv_config *config, const char *resume,
                 const lv_threads *threads, const char *products, lv_dtype wire);

/* lv_job_compare: what is not alike. Two builds of one version are a warning: a cluster of several
 * systems may need them. Two versions or two configs are refused: the losses would be of neither.
 * out    *report: lines, "" if there is nothing to say; free() it
 * fails  LV_ERR_CONFIG with what all ranks must have alike, and who has what; LV_ERR_MEMORY */
int lv_job_compare(char **report, const lv_job_rank *ranks, int n_ranks);

/* lv_job_line: the line that lv_job_start prints; free() it. NULL if there is no memory. */
char *lv_job_line(const lv_job_rank *ranks, int n_ranks, lv_dtype wire);

/* lv_job_config: LV_JOB_CONFIG of a rank whose configuration is own, where rank 0 has first. */
void lv_job_config(char out[LV_JOB_TEXT_BYTES], const cJSON *own, const cJSON *first);

/* lv_job_cpu: LV_JOB_CPU from a file, which is "/proc/cpuinfo" but for tests; the architecture's
 * name where it tells no model. */
void lv_job_cpu(char out[LV_JOB_TEXT_BYTES], const char *path);

/* lv_job_launcher_size: how many ranks the launcher says that it started, 0 if it does not.
 * out    *variable: the environment variable that says so */
int lv_job_launcher_size(const char **variable);

#endif
