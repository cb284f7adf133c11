/* SPDX-License-Identifier: Apache-2.0
 *
 * The tile instructions. Tile numbers are literals, as they are part of the instruction.
 * source Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1 ch. 18
 */
#ifndef LV_AUTOGRAD_KERNELS_BF16_AMX_TILES_H
#define LV_AUTOGRAD_KERNELS_BF16_AMX_TILES_H

#include "autograd/kernels/bf16_amx.h"

#define TILE_CONFIG(shapes) __asm__ volatile("ldtilecfg %0" ::"m"(*(shapes)))
#define TILE_RELEASE() __asm__ volatile("tilerelease")
#define TILE_ZERO(t) __asm__ volatile("tilezero %%tmm" #t ::)
#define TILE_LOAD(t, at, bytes)                                                                    \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t ::"r"(at), "r"((int64_t)(bytes)) : "memory")
/* Of what is not read again soon: it does not displace what the L1 cache holds. */
#define TILE_LOAD_ONCE(t, at, ld)                                                                  \
    __asm__ volatile("tileloaddt1 (%0,%1,1), %%tmm" #t ::"r"(at), "r"((int64_t)(ld)) : "memory")
#define TILE_STORE(t, at, bytes)                                                                   \
    __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" ::"r"(at), "r"((int64_t)(bytes))          \
                     : "memory")
/* c += a b, pairs of bf16 */
#define TILE_DOT(c, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)

#endif
