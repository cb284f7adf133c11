/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of weights and directories share: folders of their own, small files, and a LLaVA
 * so small that a test can look at every value.
 */
#ifndef LV_TESTS_UNITS_TRAIN_FIXTURE_H
#define LV_TESTS_UNITS_TRAIN_FIXTURE_H

#include "train/model/hf/hf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The masters and the working copies of a single rank, from the first flat element on; NULL if
 * there are none. */
static inline lv_real *masters_of(const lv_params *params)
{
    const lv_shard *shard = lv_params_shard(params);
    return shard->count > 0 ? lv_params_master(params, &shard->own[0]) : NULL;
}

static inline uint16_t *working_of(const lv_params *params)
{
    lv_dtype dtype = LV_F32;
    void *data = lv_params_shard(params)->count > 0 ? lv_params_read_at(params, 0, &dtype) : NULL;
    return dtype == LV_BF16 ? data : NULL;
}

/* A fresh folder for one test, removed by fixture_close (cmocka set-up and tear-down). */
int fixture_open(void **state);
int fixture_close(void **state);

/* fixture_path: a name inside the folder; valid until eight more were asked for. */
const char *fixture_path(void **state, const char *name);

void fixture_write(void **state, const char *name, const char *text);
void fixture_write_bytes(void **state, const char *name, const void *data, size_t n);

/* fixture_safetensors: header text and data bytes as one file. */
void fixture_safetensors(void **state, const char *name, const char *header, const void *data,
                         size_t n);

/* assert_fails: a call's code and a part of its message. */
#define assert_fails(call, code, part)                                                             \
    do {                                                                                           \
        assert_int_equal(call, code);                                                              \
        if (!strstr(lv_error_message(), part)) {                                                   \
            fail_msg("the message lacks \"%s\": %s", part, lv_error_message());                    \
        }                                                                                          \
    } while (0)

/* fixture_llava_config: 2 + 2 layers, vocabulary 10; the projector as given. */
lv_llava_config fixture_llava_config(const char *projector);

/* fixture_declare: the parameters of that model, as the model code declares them. */
lv_params *fixture_declare(const lv_llava_config *config);

/* fixture_fill: values that differ between any two elements of the model, exact in bf16. */
void fixture_fill(lv_params *params);

/* fixture_assert_equal: same names, shapes and values (of a's first rows, if b has more). */
void fixture_assert_equal(lv_params *a, lv_params *b);

#endif
