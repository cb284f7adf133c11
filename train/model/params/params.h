/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_params: a model's parameters by name. A model declares them, the configuration chooses the
 * trainable ones, then memory is allocated: for trainable ones flat buffers (values, gradients;
 * first those that ops read in bf16, then those that they read in f32, each in the order of
 * declaration), for frozen ones separate memory or the mapped file.
 *
 * In a bf16 run every parameter that takes bf16 is bf16 where the ops read it (lv_param.tensor).
 * For a trained one that is the working copy: the flat values are its f32 master, which the
 * optimiser updates and which is saved. A frozen one has no f32 values in memory.
 *
 * Ranks share the masters (see shard.h): each has those of its own shards, and the working copies
 * of all. A parameter that ops read in f32 is its own master: all ranks have all of it, and each
 * updates its shards.
 */
#ifndef LV_TRAIN_MODEL_PARAMS_PARAMS_H
#define LV_TRAIN_MODEL_PARAMS_PARAMS_H

#include "autograd/tensor.h"
#include "train/model/params/shard.h"
#include "train/model/weights/weights.h"

/* The part of the model that a parameter belongs to. */
typedef enum {
    LV_PART_VISION,
    LV_PART_CONNECTOR,
    LV_PART_LANGUAGE,
    LV_PART_ADAPTER,
    LV_N_PARTS
} lv_part;

/* The initial values of a parameter of a new part. */
typedef struct {
    enum {
        LV_INIT_NONE, /* none: a file has to give them */
        LV_INIT_ZERO,
        LV_INIT_ONE,
        LV_INIT_NORMAL, /* of mean 0 and standard deviation scale */
        LV_INIT_UNIFORM /* in [-scale, scale) */
    } kind;
    double scale;
} lv_init;

typedef struct {
    char *name;            /* canonical: vision_tower..., projector..., language_model... */
    lv_tensor tensor;      /* what the ops read */
    lv_part part;          /* see lv_params_part_begin */
    lv_init init;          /* LV_INIT_NONE unless whoever declares it sets another */
    bool decay;            /* weight decay applies: neither a bias nor a norm's weight */
    bool used;             /* false: in the files, but no part of the computation */
    bool trainable;        /* = tensor.requires_grad */
    bool takes_bf16;       /* every op that reads it takes bf16 */
    bool by_rows;          /* only lv_embedding reads it */
    bool mapped;           /* tensor.data is in a file that the lv_params keeps open */
    bool copied;           /* tensor.data is in the memory of lv_params_copy_frozen */
    const void *file_data; /* a frozen one's values in such a file, mapped or not; NULL: in none */
    lv_dtype file_dtype;
    int64_t offset; /* first element in the flat buffers, if trainable */
} lv_param;

/* The memory of frozen weights: their mapped files, or a copy that ranks share. */
typedef enum {
    LV_WEIGHTS_MAP,
    LV_WEIGHTS_COPY_PER_NODE,
    LV_WEIGHTS_COPY_PER_SOCKET,
} lv_weights_place;

typedef struct lv_params lv_params;

/* lv_moments: AdamW's m and v of what a rank owns: [own_count] each, bucket after bucket. */
typedef struct {
    lv_dtype dtype; /* LV_F32 or LV_BF16 */
    void *exp_avg, *exp_avg_sq;
} lv_moments;

int lv_params_create(lv_params **out);
void lv_params_destroy(lv_params **params);

/* lv_params_dtype_set: LV_BF16 for a bf16 run, LV_F32 (the default) for an f32 one, in which only
 * mapped parameters are bf16. Before lv_params_allocate. */
void lv_params_dtype_set(lv_params *params, lv_dtype dtype);

/* lv_params_part_begin: parameters declared after it belong to the part; before the first call, to
 * the vision tower. lv_part_name: the first component of their names. */
void lv_params_part_begin(lv_params *params, lv_part part);
const char *lv_part_name(lv_part part);

/* lv_params_declare: a new f32 parameter without memory. The tensor's address stays.
 * in     used: false for one that only export needs: it can not be trained */
lv_tensor *lv_params_declare(lv_params *params, const char *name, int n_dims, const int64_t *shape,
                             bool decay, bool used);

size_t lv_params_count(const lv_params *params);
lv_param *lv_params_at(lv_params *params, size_t i);
lv_param *lv_params_find(lv_params *params, const char *name);      /* NULL if there is none */
lv_param *lv_params_of(lv_params *params, const lv_tensor *tensor); /* that declare returned */

/* lv_params_set_trainable: by globs over names (*, ?, [..]; without these, a prefix that ends
 * at a dot). Before lv_params_allocate.
 * fails  LV_ERR_CONFIG naming a glob that fits no trainable parameter, and their groups */
int lv_params_set_trainable(lv_params *params, const char *const *globs, size_t n_globs);

/* lv_params_count_of: the parameters of a part. lv_params_trains: whether one of them is
 * trainable. */
size_t lv_params_count_of(const lv_params *params, lv_part part);
bool lv_params_trains(const lv_params *params, lv_part part);

/* lv_params_share_set: the trainable elements are divided among n_ranks, in buckets of at most
 * bucket_count elements; without it a single rank has all. Before lv_params_allocate. */
void lv_params_share_set(lv_params *params, int rank, int n_ranks, int64_t bucket_count);

/* lv_params_dry_set: for a plan: allocations take addresses but no memory, and no value is read or
 * written. Before lv_params_allocate.
 * fails  LV_ERR_MEMORY */
int lv_params_dry_set(lv_params *params);

/* lv_params_allocate: flat buffers (64-byte aligned, gradients cleared) for trainable
 * parameters; a frozen one gets memory when it is loaded.
 * fails  LV_ERR_MEMORY with the number of bytes */
int lv_params_allocate(lv_params *params);

/* lv_params_map: the values of one parameter from a mapped file. A trainable one's are copied (bf16
 * as the same bits). The ops read a frozen one in the file, if its dtype and alignment allow: then
 * its memory is the page cache's, shared by all ranks of a node; else it gets memory of its own.
 * in     weight: its data at any alignment; the caller gives the file to lv_params_keep
 * fails  LV_ERR_SHAPE with name, both shapes; LV_ERR_MEMORY */
int lv_params_map(lv_params *params, lv_param *param, const lv_weight *weight);

/* lv_params_copy_set: frozen parameters that a step reads are not read in their files:
 * lv_params_map records where their values are, lv_params_copy_frozen copies them later. Before
 * they are loaded. */
void lv_params_copy_set(lv_params *params);

/* lv_params_copy_bytes: the memory that lv_params_copy_frozen needs; 0: there is nothing to do. */
int64_t lv_params_copy_bytes(const lv_params *params);

/* lv_params_copy_frozen: read these parameters from their files to memory that n_parts processes
 * share, each one part of them: in the dtype that the ops would read without a copy, or that of a
 * conversion. Values are valid when all processes have returned.
 * in     memory: lv_params_copy_bytes, 64-byte aligned; the caller's, until params is destroyed
 * fails  LV_ERR_IO with the path, LV_ERR_MEMORY; no parameter has values then */
int lv_params_copy_frozen(lv_params *params, void *memory, int part, int n_parts);

/* lv_params_assume: for a dry lv_params: the same as if a file had the parameter in dtype. */
int lv_params_assume(lv_params *params, lv_param *param, lv_dtype dtype);

/* lv_params_keep: take over weights that parameters came from; closed with the lv_params.
 * *weights is NULL afterwards. */
void lv_params_keep(lv_params *params, lv_weights **weights);

/* lv_params_fill: element i = value(context, i), called by several threads; a frozen parameter gets
 * memory of its own.
 * fails  LV_ERR_MEMORY */
typedef double lv_params_value(const void *context, int64_t i);
int lv_params_fill(lv_params *params, lv_param *param, lv_params_value *value, const void *context);

/* lv_params_init: initial values; element i depends on (seed, name, i) alone.
 * lv_params_init_part: those of all parameters of a part, as they were declared.
 * fails  LV_ERR_MEMORY; LV_ERR_CONFIG naming a parameter whose init is LV_INIT_NONE */
int lv_params_init(lv_params *params, lv_param *param, lv_init init, uint64_t seed);
int lv_params_init_part(lv_params *params, lv_part part, uint64_t seed);

/* lv_params_exact: a parameter as it is to be saved: a trained one's f32 master, a frozen one as
 * its file has it, whatever the ops read. Borrowed. On a single rank: others have parts alone. */
lv_tensor lv_params_exact(const lv_params *params, const lv_param *param);

/* lv_params_refresh: after masters changed: the working copies of the rank's own shards are their
 * rounded values again. */
void lv_params_refresh(lv_params *params);

/* lv_params_checksum: of the bits of all trainable parameters as the ops read them: equal on all
 * ranks between two steps. One pass over that memory, by all threads. */
uint64_t lv_params_checksum(const lv_params *params);

/* lv_params_grad_begin: before a step: the first gradients are written, not added.
 * lv_params_grad_end: after its last backward pass: gradients that none wrote are zero. */
void lv_params_grad_begin(lv_params *params);
void lv_params_grad_end(lv_params *params);

/* lv_params_shard: the owners of the flat elements; no buckets, if nothing is trainable.
 * NULL before lv_params_allocate. */
const lv_shard *lv_params_shard(const lv_params *params);

/* lv_params_master: the f32 values of the rank's shard of one bucket. */
lv_real *lv_params_master(const lv_params *params, const lv_bucket_shard *own);

/* lv_params_read_at: flat elements as the ops read them, from i on; of one bucket they are all of
 * one dtype. */
void *lv_params_read_at(const lv_params *params, int64_t i, lv_dtype *dtype);

/* The gradients: count elements; NULL if nothing is trainable. */
int64_t lv_params_flat_count(const lv_params *params);
lv_real *lv_params_flat_grad(lv_params *params);

/* lv_params_memory: what the parameters take. */
typedef struct {
    int64_t trained_bytes; /* flat values */
    int64_t grad_bytes;
    int64_t working_bytes; /* of trained parameters */
    int64_t frozen_bytes;  /* frozen, in memory of their own */
    int64_t mapped_bytes;  /* frozen, read in their files */
    int64_t copied_bytes;  /* frozen, in memory that ranks share */
} lv_params_memory;
lv_params_memory lv_params_memory_of(const lv_params *params);

#endif
