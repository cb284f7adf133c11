/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/gemm.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Weak, because a BLAS may be another one than OpenBLAS, or an OpenBLAS for one CPU alone. */
extern void openblas_set_num_threads(int n) __attribute__((weak));
extern char *openblas_get_config(void) __attribute__((weak));
extern char *openblas_get_corename(void) __attribute__((weak));
extern void gotoblas_dynamic_init(void) __attribute__((weak));
extern void gotoblas_dynamic_quit(void) __attribute__((weak));

static const char *const CORETYPE = "OPENBLAS_CORETYPE";

static bool has_only_sse(const char *core)
{
    static const char *const cores[] = {
        "Katmai",       "Coppermine", "Northwood", "Prescott", "Banias",  "Core2",
        "Penryn",       "Dunnington", "Nehalem",   "Atom",     "Athlon",  "Opteron",
        "Opteron_SSE3", "Barcelona",  "Bobcat",    "Nano",     "Generic", "Unknown",
    };
    for (size_t i = 0; i < sizeof cores / sizeof *cores; i++) {
        if (strcasecmp(core, cores[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* The nearest kernels that OpenBLAS has for this CPU; NULL if SSE is the best it can do. */
static const char *nearest_core(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
        return "SkylakeX";
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        return "Haswell";
    }
#endif
    return NULL;
}

static void take_core(const char *core)
{
    gotoblas_dynamic_quit();
    setenv(CORETYPE, core, 1);
    gotoblas_dynamic_init();
    unsetenv(CORETYPE); /* child processes are none of our business */
}

const char *lv_blas_start(void)
{
    static char line[160];
    if (!openblas_get_corename || !openblas_set_num_threads) {
        return "BLAS is not OpenBLAS: set its number of threads to 1 yourself";
    }
    char before[32];
    snprintf(before, sizeof before, "%s", openblas_get_corename());
    const char *core = nearest_core();
    if (core && has_only_sse(before) && !getenv(CORETYPE) && gotoblas_dynamic_init &&
        gotoblas_dynamic_quit) {
        take_core(core);
    }
    int omp_threads = omp_get_max_threads();
    openblas_set_num_threads(1);
    omp_set_num_threads(
        omp_threads); /* OpenBLAS built for OpenMP changes it for the whole process */
    const char *now = openblas_get_corename();
    int same = strcmp(before, now) == 0;
    const char *config = openblas_get_config ? openblas_get_config() : "OpenBLAS";
    int name_bytes = (int)strcspn(config, " ");
    if (config[name_bytes] == ' ') { /* "OpenBLAS 0.3.21 NO_AFFINITY ..." */
        name_bytes += 1 + (int)strcspn(config + name_bytes + 1, " ");
    }
    snprintf(line, sizeof line, "%.*s %s%s%s%s", name_bytes, config, now, same ? "" : " (was ",
             same ? "" : before, same ? "" : ")");
    return line;
}
