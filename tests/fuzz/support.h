/* SPDX-License-Identifier: Apache-2.0
 *
 * What the fuzz targets share. A target states what must hold with LV_CHECK, which ends the
 * process with the message; libFuzzer then keeps the input.
 */
#ifndef LV_TESTS_FUZZ_SUPPORT_H
#define LV_TESTS_FUZZ_SUPPORT_H

#include "autograd/error.h"
#include "data/tokenizer/tokenizer.h"

#include <stddef.h>
#include <stdint.h>

/* What libFuzzer calls. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* fuzz_dir: this process's scratch folder under TMPDIR; removed when the process ends. Borrowed. */
const char *fuzz_dir(void);

/* fuzz_write: a file of the scratch folder; its path is borrowed until the next call. */
const char *fuzz_write(const char *name, const void *data, size_t n);

/* fuzz_source: a path under the source root; free() it. */
char *fuzz_source(const char *relative);

/* fuzz_must: ends the process unless rc is LV_OK. what: "opening the pack" */
void fuzz_must(int rc, const char *what);

/* fuzz_split: an input of two parts, whose last byte says how long the second one is. */
typedef struct {
    const uint8_t *first, *second;
    size_t n_first, n_second;
} fuzz_parts;
fuzz_parts fuzz_split(const uint8_t *data, size_t n);

/* fuzz_text: the bytes up to the first zero byte as a text; free() it. */
char *fuzz_text(const uint8_t *data, size_t n);

/* fuzz_tokenizer: opens the file of that name with these bytes, beside a tokenizer_config.json;
 * what opens must encode and decode the text, and be the same tokenizer when its files are copied.
 */
void fuzz_tokenizer(const char *name, const uint8_t *data, size_t n);

#endif
