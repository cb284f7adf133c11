/* SPDX-License-Identifier: Apache-2.0
 *
 * Named points at which a test can kill the program or make an operation fail. They do nothing
 * without LLAVA_FAIL_POINT=name[:n]=kill|error|full|stall in the environment, which applies to the
 * n-th passing (from 1, the default; every process counts its own):
 *   kill   the process ends by SIGKILL, with nothing flushed
 *   error  the operation at this point fails as on an I/O error
 *   full   the same as on a full disk
 *   stall  the thread sleeps for ever
 */
#ifndef LV_DATA_BASE_FAIL_POINT_H
#define LV_DATA_BASE_FAIL_POINT_H

/* The whole list, which tests read. X(name, state of the work there) */
#define LV_FAIL_POINTS(X)                                                                          \
    X("pack.begin", "the pack's folder is locked, nothing is written")                             \
    X("pack.tokenizer.copied", "the tokenizer's files are there under a temporary name")           \
    X("pack.tokenizer.renamed", "they have their name")                                            \
    X("pack.shard.dataset", "one dataset of a shard is written")                                   \
    X("pack.shard.closed", "HDF5 has closed the shard")                                            \
    X("pack.shard.sealed", "the shard's checksum is in it, nothing is synced")                     \
    X("pack.shard.synced", "the shard is on the disk under its temporary name")                    \
    X("pack.shard.renamed", "the shard has its name")                                              \
    X("pack.rejects.begin", "all shards are there, rejects.jsonl is not")                          \
    X("pack.rejects.written", "rejects.jsonl is there")                                            \
    X("pack.manifest.begin", "only the manifest is missing")                                       \
    X("pack.manifest.written", "the pack is whole, its lock still held")                           \
    X("checkpoint.begin", "the folder for a checkpoint is made, under a temporary name")           \
    X("checkpoint.copy", "memory for a copy is about to be allocated; failed: there is none")      \
    X("checkpoint.dataset", "one dataset of a rank's file is written")                             \
    X("checkpoint.file.written", "HDF5 has closed a rank's file, nothing is synced")               \
    X("checkpoint.file.synced", "a rank's file is on the disk")                                    \
    X("checkpoint.manifest.begin", "all ranks' files are on the disk, the manifest is not")        \
    X("checkpoint.manifest.written", "all is on the disk under a temporary name")                  \
    X("checkpoint.renamed", "the checkpoint has its name")                                         \
    X("checkpoint.prune.begin", "old checkpoints are about to be removed")                         \
    X("checkpoint.prune.renamed", "one of them has lost its name, its files are there")            \
    X("weights.piece", "a piece of frozen weights is copied to memory that ranks share")           \
    X("batch.begin", "a micro-batch is about to be read")                                          \
    X("model.piece", "a piece of a file of weights is written")                                    \
    X("model.written", "a model's directory is complete under its temporary name")                 \
    X("model.moved", "the one that was there has lost its name, the new one has none yet")

/* lv_fail_point: pass one of these names.
 * fails  LV_ERR_IO if the environment asks for it; LV_ERR_CONFIG if its value is not valid */
int lv_fail_point(const char *name);

#endif
