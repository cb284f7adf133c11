/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading tests/golden/optim/: words and (hexadecimal) floats separated by white space.
 */
#ifndef LV_TESTS_UNITS_OPTIM_GOLDEN_H
#define LV_TESTS_UNITS_OPTIM_GOLDEN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

FILE *golden_open(const char *name); /* fails the test if it is not there */
double golden_double(FILE *file);
int64_t golden_int(FILE *file);
bool golden_word(FILE *file, char word[32]); /* false at the end of the file */

#endif
