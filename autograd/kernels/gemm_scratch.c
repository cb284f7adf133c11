/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/kernels/gemm_scratch.h"

#include "autograd/error.h"

#include <pthread.h>
#include <stdlib.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* its destructor frees the memory of a thread that ends */

static void create_key(void)
{
    LV_CHECK(pthread_key_create(&key, free) == 0, "no key for the memory of a thread");
}

void *lv_gemm_scratch(size_t bytes)
{
    static _Thread_local void *own;
    static _Thread_local size_t own_bytes;
    if (bytes > own_bytes) {
        pthread_once(&once, create_key);
        free(own);
        own_bytes = (bytes + 63) / 64 * 64;
        own = aligned_alloc(64, own_bytes);
        LV_CHECK(own && pthread_setspecific(key, own) == 0,
                 "no memory for the blocks of a product");
    }
    return own;
}
