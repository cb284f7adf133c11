/* SPDX-License-Identifier: Apache-2.0
 *
 * The same product by torch's own linear, in a process of its own: torch_linear.py.
 */
#ifndef LV_TESTS_BENCH_MATMUL_TORCH_PEER_H
#define LV_TESTS_BENCH_MATMUL_TORCH_PEER_H

#include <stdint.h>

/* torch_start: python is an interpreter that has torch. It ends with this process.
 * returns "torch 2.13.0", static
 * fails  aborts if the process does not come up, here and later */
const char *torch_start(const char *python, int n_threads);

/* torch_take: what torch_rate multiplies from now on. direction: "forward", "input", "weight" */
void torch_take(const char *direction, int64_t T, int64_t N, int64_t K);

/* torch_rate: FLOP/s over at least that many seconds. */
double torch_rate(double seconds);

#endif
