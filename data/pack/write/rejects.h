/* SPDX-License-Identifier: Apache-2.0
 *
 * rejects.jsonl: a line a rejected record, in the order of the source.
 */
#ifndef LV_DATA_PACK_WRITE_REJECTS_H
#define LV_DATA_PACK_WRITE_REJECTS_H

#include "data/pack/write/job.h"

/* lv_pack_write_rejects: from the sample shards of the job, which are all there. The file appears
 * whole or not at all. */
int lv_pack_write_rejects(const lv_pack_job *job);

/* lv_pack_list_first_rejects: goes through the source until there are more rejects than allowed;
 * images that no rank has looked at yet count as good. The file appears whole or not at all.
 * out    *n: of rejects listed */
int lv_pack_list_first_rejects(const lv_pack_job *job, int64_t *n);

/* lv_pack_check_rejects: too many, or nothing left. The message has the most frequent reason.
 * in     at_least: not all records were looked at
 * fails  LV_ERR_FORMAT */
int lv_pack_check_rejects(const lv_pack_summary *summary, const lv_pack_options *options,
                          bool at_least);

#endif
