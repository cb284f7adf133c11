/* SPDX-License-Identifier: Apache-2.0
 *
 * Which instructions the kernels may use. One binary serves every node of a cluster: it is built
 * for the oldest CPU, and each table of kernels is chosen at run time by one of these levels. A
 * level includes all below it.
 *
 * LLAVA_CPU=portable|avx2|avx512|avx512_bf16|amx in the environment forbids what is above the level
 * named; naming more than the machine has changes nothing.
 */
#ifndef LV_AUTOGRAD_CPU_H
#define LV_AUTOGRAD_CPU_H

typedef enum {
    LV_CPU_PORTABLE,    /* C, what every CPU of the architecture has; all there is outside x86-64 */
    LV_CPU_AVX2,        /* AVX2, FMA, F16C */
    LV_CPU_AVX512,      /* AVX-512 F, BW, DQ, VL */
    LV_CPU_AVX512_BF16, /* products of bf16 pairs */
    LV_CPU_AMX          /* tiles and their bf16 product, which the system has permitted */
} lv_cpu_level;
enum { LV_N_CPU_LEVELS = LV_CPU_AMX + 1 };

/* lv_cpu_found: the highest level that the CPU has and the operating system lets a process use
 * (for AMX it is asked for the permission, which the process then has). Cheap after the first call.
 */
lv_cpu_level lv_cpu_found(void);

/* lv_cpu: the level to choose kernels by: lv_cpu_found, or the limit if that is lower.
 * fails  aborts if LLAVA_CPU names no level; a program that calls lv_cpu_limit_from_env first can
 *        say so in a better way */
lv_cpu_level lv_cpu(void);

/* lv_cpu_limit: from here on lv_cpu gives at most this level, whatever LLAVA_CPU says. For tests,
 * and only while no kernel runs. */
void lv_cpu_limit(lv_cpu_level at_most);

/* lv_cpu_limit_from_env: the limit that LLAVA_CPU names, none if it is unset or empty.
 * fails  LV_ERR_CONFIG if it names no level; the limit is then as before */
int lv_cpu_limit_from_env(void);

/* lv_cpu_name: "avx2", as LLAVA_CPU spells it. */
const char *lv_cpu_name(lv_cpu_level level);

#endif
