/* SPDX-License-Identifier: Apache-2.0 */
#include "train/cluster/frozen_weights.h"

#include "autograd/error.h"

#include <stdlib.h>

/* The socket of this rank's CPUs, -1 if there are several. */
static int find_socket(int *out, const lv_cpu_set *cpus)
{
    lv_topology *topology = malloc(sizeof *topology);
    if (!topology) {
        return lv_fail(LV_ERR_MEMORY, "no memory for the cores of a host");
    }
    lv_topology_read(topology, "/sys/devices/system");
    *out = lv_socket_of(cpus, topology);
    free(topology);
    return LV_OK;
}

/* Collective: the group of this rank: its socket if all ranks of its host have one, else 0. */
static int find_socket_group(int *group, const lv_comm *comm, const lv_cpu_set *cpus)
{
    int socket = 0, *sockets = malloc((size_t)comm->n_local_ranks * sizeof *sockets);
    int rc = sockets ? find_socket(&socket, cpus)
                     : lv_fail(LV_ERR_MEMORY, "no memory for the ranks of a host");
    rc = lv_comm_agree(comm, rc);
    if (rc == LV_OK) rc = lv_comm_gather_host(comm, sockets, &socket, sizeof socket);
    int64_t n_unbound_hosts = 0;
    *group = socket;
    for (int r = 0; rc == LV_OK && r < comm->n_local_ranks; r++) {
        if (sockets[r] < 0) {
            *group = 0;
            n_unbound_hosts = comm->local_rank == 0;
        }
    }
    free(sockets);
    if (rc == LV_OK) rc = lv_comm_sum_int64(comm, &n_unbound_hosts, 1);
    if (rc == LV_OK && comm->rank == 0 && n_unbound_hosts > 0) {
        lv_warn("model.weights copy-per-socket: on %lld host%s there are ranks that run on several "
                "sockets: one copy a node there; mpirun --map-by socket, or srun "
                "--cpu-bind=sockets, keeps each to its own",
                (long long)n_unbound_hosts, n_unbound_hosts == 1 ? "" : "s");
    }
    return rc;
}

int lv_frozen_weights_place(lv_shared_copy *copy, const lv_comm *comm, lv_weights_place place,
                            const lv_cpu_set *cpus, lv_params *params)
{
    const int64_t n_bytes = lv_params_copy_bytes(params);
    int group = 0;
    if (n_bytes == 0) {
        return LV_OK;
    }
    int rc = place == LV_WEIGHTS_COPY_PER_SOCKET ? find_socket_group(&group, comm, cpus) : LV_OK;
    if (rc == LV_OK) rc = lv_shared_copy_create(copy, comm, group, n_bytes);
    if (rc == LV_ERR_MEMORY) {
        return lv_fail(rc,
                       "model.weights: memory for copies of the frozen weights: %s; with \"map\" "
                       "they are read where they lie",
                       lv_error_message());
    }
    if (rc < 0) {
        return rc;
    }
    rc = lv_comm_agree(comm, lv_params_copy_frozen(params, copy->data, copy->part, copy->n_parts));
    return rc < 0 ? rc : lv_comm_agree(comm, lv_shared_copy_seal(copy));
}
