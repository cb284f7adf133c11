/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/cpu.h"

#include "autograd/error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum { UNKNOWN = -1 };

static const char *const names[LV_N_CPU_LEVELS] = {"portable", "avx2", "avx512", "avx512_bf16",
                                                   "amx"};
/* Found and asked for once a process; threads that meet here write the same value. */
static atomic_int found = UNKNOWN;
static atomic_int limit = UNKNOWN;

#if defined(__x86_64__)

/* Bits of CPUID and XCR0: Intel's Software Developer's Manual, volume 2 (CPUID), volume 1 ch. 13.
 */
enum {
    LEAF1_ECX_FMA = 1U << 12,
    LEAF1_ECX_OSXSAVE = 1U << 27,
    LEAF1_ECX_F16C = 1U << 29,
    LEAF7_EBX_AVX2 = 1U << 5,
    LEAF7_EBX_AVX512F_DQ = 1U << 16 | 1U << 17,
    LEAF7_EBX_AVX512BW = 1U << 30,
    LEAF7_EDX_AMX_BF16 = 1U << 22,
    LEAF7_EDX_AMX_TILE = 1U << 24,
    LEAF7_1_EAX_AVX512_BF16 = 1U << 5,
    XCR0_AVX = 0x6,
    XCR0_AVX512 = 0xE6,
    XCR0_AMX = 0x60000
};
#define LEAF7_EBX_AVX512VL (1U << 31)

static bool has(unsigned bits, unsigned wanted)
{
    return (bits & wanted) == wanted;
}

/* The registers that the operating system saves when it switches tasks. */
static unsigned saved_registers(void)
{
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

/* Linux gives a process the tiles' state only if it asks (Documentation/arch/x86/xstate.rst). */
static bool tiles_are_permitted(void)
{
#if defined(__linux__)
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}

static lv_cpu_level detect(void)
{
    unsigned a, b, c, d, a1, b1, c1, d1;
    if (!__get_cpuid(1, &a, &b, &c, &d) ||
        !has(c, LEAF1_ECX_OSXSAVE | LEAF1_ECX_FMA | LEAF1_ECX_F16C)) {
        return LV_CPU_PORTABLE;
    }
    unsigned saved = saved_registers();
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !has(b, LEAF7_EBX_AVX2) ||
        !has(saved, XCR0_AVX)) {
        return LV_CPU_PORTABLE;
    }
    if (!has(b, LEAF7_EBX_AVX512F_DQ | LEAF7_EBX_AVX512BW | LEAF7_EBX_AVX512VL) ||
        !has(saved, XCR0_AVX512)) {
        return LV_CPU_AVX2;
    }
    if (a < 1 || !__get_cpuid_count(7, 1, &a1, &b1, &c1, &d1) ||
        !has(a1, LEAF7_1_EAX_AVX512_BF16)) {
        return LV_CPU_AVX512;
    }
    bool tiles = has(d, LEAF7_EDX_AMX_TILE | LEAF7_EDX_AMX_BF16) && has(saved, XCR0_AMX) &&
                 tiles_are_permitted();
    return tiles ? LV_CPU_AMX : LV_CPU_AVX512_BF16;
}

#else

static lv_cpu_level detect(void)
{
    return LV_CPU_PORTABLE;
}

#endif

lv_cpu_level lv_cpu_found(void)
{
    int level = atomic_load(&found);
    if (level == UNKNOWN) {
        level = (int)detect();
        atomic_store(&found, level);
    }
    return (lv_cpu_level)level;
}

lv_cpu_level lv_cpu(void)
{
    if (atomic_load(&limit) == UNKNOWN) {
        LV_CHECK(lv_cpu_limit_from_env() == LV_OK, "%s", lv_error_message());
    }
    int at_most = atomic_load(&limit);
    lv_cpu_level level = lv_cpu_found();
    return at_most < (int)level ? (lv_cpu_level)at_most : level;
}

void lv_cpu_limit(lv_cpu_level at_most)
{
    LV_CHECK((int)at_most >= 0 && (int)at_most < LV_N_CPU_LEVELS, "level %d", (int)at_most);
    atomic_store(&limit, (int)at_most);
}

int lv_cpu_limit_from_env(void)
{
    const char *name = getenv("LLAVA_CPU");
    if (!name || !*name) {
        lv_cpu_limit(LV_CPU_AMX);
        return LV_OK;
    }
    for (int level = 0; level < LV_N_CPU_LEVELS; level++) {
        if (strcmp(name, names[level]) == 0) {
            lv_cpu_limit((lv_cpu_level)level);
            return LV_OK;
        }
    }
    return lv_fail(LV_ERR_CONFIG,
                   "LLAVA_CPU=%s in the environment: not one of portable, avx2, avx512, "
                   "avx512_bf16, amx",
                   name);
}

const char *lv_cpu_name(lv_cpu_level level)
{
    LV_CHECK((int)level >= 0 && (int)level < LV_N_CPU_LEVELS, "level %d", (int)level);
    return names[level];
}
