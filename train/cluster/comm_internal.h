/* SPDX-License-Identifier: Apache-2.0
 *
 * For the files of train/ that call MPI themselves.
 */
#ifndef LV_TRAIN_CLUSTER_COMM_INTERNAL_H
#define LV_TRAIN_CLUSTER_COMM_INTERNAL_H

/* lv_comm_checked: LV_OK, or LV_ERR_COMM with what was being done and MPI's message. */
int lv_comm_checked(int mpi_rc, const char *what);

#endif
