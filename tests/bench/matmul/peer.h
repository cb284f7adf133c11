/* SPDX-License-Identifier: Apache-2.0
 *
 * The same product by oneDNN's matmul primitive.
 */
#ifndef LV_TESTS_BENCH_MATMUL_PEER_H
#define LV_TESTS_BENCH_MATMUL_PEER_H

#include "autograd/kernels/gemm.h"

typedef struct peer peer;

/* peer_create: for products of these sizes, layouts and dtypes; bias and residual are not used.
 * in     own_weights: B in the layout that oneDNN likes best, made beforehand by peer_prepare
 * returns NULL if this build has no oneDNN or it has no such product */
peer *peer_create(const lv_gemm_args *like, bool own_weights);
void peer_destroy(peer **p);

/* peer_prepare: B in the layout of own_weights, to be freed. */
void *peer_prepare(peer *p, const void *B);

void peer_multiply(peer *p, void *C, const void *A, const void *B);

/* peer_version: "oneDNN 2.6.3", or NULL if this build has none. */
const char *peer_version(void);

#endif
