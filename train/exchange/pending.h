/* SPDX-License-Identifier: Apache-2.0
 *
 * One bucket on its way between all ranks: what lv_exchange is made of. MPI calls that do not wait.
 */
#ifndef LV_TRAIN_EXCHANGE_PENDING_H
#define LV_TRAIN_EXCHANGE_PENDING_H

#include "train/exchange/sparse_rows.h"

typedef enum { LV_MOVE_GRADS, LV_MOVE_WEIGHTS } lv_move;

typedef struct {
    lv_params *params;
    const lv_shard *shard;
    const lv_touched_rows *rows;
    MPI_Comm comm;
    lv_dtype wire;
} lv_route;

typedef struct {
    bool flying;
    lv_move move;
    int64_t bucket;
    int64_t n_own;         /* gradients: elements of the own piece that travel */
    MPI_Request *requests; /* [2 n_ranks] */
    int n_requests;
    char *received; /* n_ranks times the largest piece, in the wire's dtype */
    char *packed;   /* a bucket in the wire's dtype; NULL if all is sent from where it lies */
} lv_flight;

/* lv_flight_create: room for any bucket of the shard.
 * fails  LV_ERR_MEMORY; destroy it all the same */
int lv_flight_create(lv_flight *flight, const lv_route *route);
void lv_flight_destroy(lv_flight *flight);

/* lv_flight_bytes: its buffers. by_rows: there are touched rows. */
int64_t lv_flight_bytes(const lv_shard *shard, lv_dtype wire, bool by_rows);

/* lv_flight_start: send and receive a bucket. Every rank starts the same ones in the same order; a
 * bucket of gradients that touched rows concern when they are known. fails  LV_ERR_COMM */
int lv_flight_start(lv_flight *flight, const lv_route *route, lv_move move, int64_t bucket);

/* lv_flight_test: move on; *landed if that was all: gradients are added up, weights in their place.
 * fails  LV_ERR_COMM */
int lv_flight_test(lv_flight *flight, const lv_route *route, bool *landed);

#endif
