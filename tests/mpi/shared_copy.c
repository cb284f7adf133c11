/* SPDX-License-Identifier: Apache-2.0
 *
 * shared_copy BYTES GROUP...: to be run by mpirun; rank r is in the r-th group. All ranks of a
 * group have the same memory, each writes a part of it and reads all of it; other groups' is
 * another.
 */
#include "train/cluster/shared_copy.h"

#include "autograd/error.h"

#include <stdio.h>
#include <stdlib.h>

/* Byte i of a group's memory. */
static uint8_t value_of(int group, int64_t i)
{
    return (uint8_t)(group * 31 + i % 251);
}

/* Part p has bytes p, p + n_parts, ... */
static void write_part(const lv_shared_copy *copy, int group)
{
    uint8_t *data = copy->data;
    for (int64_t i = copy->part; i < copy->n_bytes; i += copy->n_parts) {
        data[i] = value_of(group, i);
    }
}

static int check_all(const lv_shared_copy *copy, int group)
{
    const uint8_t *data = copy->data;
    for (int64_t i = 0; i < copy->n_bytes; i++) {
        if (data[i] != value_of(group, i)) {
            return lv_fail(LV_ERR_FORMAT, "byte %lld is %d", (long long)i, data[i]);
        }
    }
    return LV_OK;
}

int main(int argc, char **argv)
{
    lv_comm comm;
    lv_shared_copy copy = {0};
    int rc = lv_comm_start(&comm);
    if (rc < 0 || argc != 2 + comm.n_ranks) {
        fprintf(stderr, "shared_copy: %s\n", rc < 0 ? lv_error_message() : "a group for each rank");
        return 2;
    }
    const int group = atoi(argv[2 + comm.rank]);
    rc = lv_shared_copy_create(&copy, &comm, group, atoll(argv[1]));
    if (rc == LV_OK) {
        write_part(&copy, group);
        rc = lv_comm_agree(&comm, lv_shared_copy_seal(&copy));
    }
    rc = rc == LV_OK ? lv_comm_agree(&comm, check_all(&copy, group)) : rc;
    if (rc < 0) {
        fprintf(stderr, "shared_copy: rank %d: %s\n", comm.rank, lv_error_message());
    } else {
        printf("rank %d: part %d of %d, %d on this host\n", comm.rank, copy.part, copy.n_parts,
               copy.n_copies);
    }
    lv_shared_copy_destroy(&copy);
    lv_comm_stop(&comm);
    return rc < 0;
}
