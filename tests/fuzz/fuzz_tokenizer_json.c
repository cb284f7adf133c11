/* SPDX-License-Identifier: Apache-2.0
 *
 * A tokenizer.json and a text, split by fuzz_split.
 */
#include "tests/fuzz/support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_tokenizer("tokenizer.json", data, n);
    return 0;
}
