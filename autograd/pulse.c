/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/pulse.h"

#include <stdatomic.h>

static atomic_uint_least64_t count;

void lv_pulse_beat(void)
{
    atomic_fetch_add_explicit(&count, 1, memory_order_relaxed);
}

uint64_t lv_pulse_count(void)
{
    return atomic_load_explicit(&count, memory_order_relaxed);
}
