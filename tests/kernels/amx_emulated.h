/* SPDX-License-Identifier: Apache-2.0
 *
 * The tile instructions in C, with what makes the real ones fault as assertions: so the kernel
 * in bf16_amx.c is proved on every machine.
 * source Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2
 */
#ifndef LV_TESTS_KERNELS_AMX_EMULATED_H
#define LV_TESTS_KERNELS_AMX_EMULATED_H

#include "autograd/kernels/bf16_amx.h"

void emulated_config(const lv_tile_shapes *shapes);
void emulated_release(void);
void emulated_zero(int t);
void emulated_load(int t, const void *at, int64_t bytes);
void emulated_store(int t, void *at, int64_t bytes);
void emulated_dot(int c, int a, int b);

#define TILE_CONFIG(shapes) emulated_config(shapes)
#define TILE_RELEASE() emulated_release()
#define TILE_ZERO(t) emulated_zero(t)
#define TILE_LOAD(t, at, bytes) emulated_load(t, at, bytes)
#define TILE_LOAD_ONCE(t, at, bytes) emulated_load(t, at, bytes)
#define TILE_STORE(t, at, bytes) emulated_store(t, at, bytes)
#define TILE_DOT(c, a, b) emulated_dot(c, a, b)

#endif
