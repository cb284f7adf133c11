/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/units/optim/golden.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

FILE *golden_open(const char *name)
{
    char path[4096];
    const char *root = getenv("LLAVA_TEST_SOURCE");
    assert_non_null(root);
    snprintf(path, sizeof path, "%s/tests/golden/optim/%s", root, name);
    FILE *file = fopen(path, "r");
    if (!file) {
        fail_msg("%s is not there", path);
    }
    return file;
}

double golden_double(FILE *file)
{
    double value;
    assert_int_equal(fscanf(file, "%lf", &value), 1);
    return value;
}

int64_t golden_int(FILE *file)
{
    int64_t value;
    assert_int_equal(fscanf(file, "%" SCNd64, &value), 1);
    return value;
}

bool golden_word(FILE *file, char word[32])
{
    return fscanf(file, "%31s", word) == 1;
}
