/* SPDX-License-Identifier: Apache-2.0
 *
 * Cases of the vector kernels: each runs one kernel at one CPU level over sizes, alignments and
 * dtypes, and compares with a reference in double. A kernel of vector.def without a case does not
 * link. Arrays lie between guard zones of NaN, which a kernel that reads too far would spread and
 * one that writes too far would change; under AddressSanitizer touching them is an error.
 */
#ifndef LV_TESTS_VECTOR_CHECK_H
#define LV_TESTS_VECTOR_CHECK_H

#include "autograd/kernels/vector.h"

/* A case: everything about kernels->name. */
#define LV_VECTOR(result, name, parameters) void vector_case_##name(const lv_vector_kernels *k);
#include "autograd/kernels/vector.def"
#undef LV_VECTOR

/* vector_portable: for kernels that give the same bits at every level. */
const lv_vector_kernels *vector_portable(void);

/* Sizes on both sides of registers and chunks; offsets, in elements, from aligned memory. */
enum { VECTOR_N_SIZES = 15, VECTOR_N_OFFSETS = 3 };
extern const int64_t vector_sizes[VECTOR_N_SIZES];
extern const int vector_offsets[VECTOR_N_OFFSETS];

typedef struct {
    void *data; /* n elements */
    lv_dtype dtype;
    int64_t n;
    char *block; /* data and its guard zones */
} vector_array;

/* vector_new: normal values of a seed, rounded to dtype, offset elements from aligned memory. All
 * arrays live until vector_free_all. */
vector_array vector_new(lv_dtype dtype, int64_t n, int offset, uint64_t seed);

/* vector_rows: rows of n such values, ld apart, NaN between them; vector_gaps: fails unless these
 * are NaN still. */
vector_array vector_rows(lv_dtype dtype, int64_t rows, int64_t n, int64_t ld, int offset,
                         uint64_t seed);
void vector_gaps(const vector_array *x, int64_t n, int64_t ld);

vector_array vector_copy(const vector_array *x, int offset);

/* vector_byte: the same elements from an odd address on (bf16 as mapped files have it). */
vector_array vector_byte(const vector_array *x);

/* vector_free_all: fails if any guard zone was written to. */
void vector_free_all(void);

double vector_get(const vector_array *x, int64_t i);
void vector_set(const vector_array *x, int64_t i, double value);
void vector_fill(const vector_array *x, double value);

/* vector_extremes: NaN, infinities, zeros and numbers of extreme size among the elements (of more
 * than 20), at places that depend on the size. */
void vector_extremes(const vector_array *x);

/* vector_guard: under AddressSanitizer, touching what is not the data inside a block of memory is
 * an error, until vector_unguard. For arrays that are not of vector_new. */
void vector_guard(const void *block, size_t block_bytes, const void *data, size_t bytes);
void vector_unguard(const void *block, size_t block_bytes);

/* vector_b_at: where a packed B of depth K has its element (k,n), see bf16.h. */
int64_t vector_b_at(int64_t k, int64_t n, int64_t K);

/* vector_grad: x as a place for a gradient. */
lv_grad vector_grad(const vector_array *x, bool add);

/* vector_near: element i of x is expected, up to its dtype's rounding and error units in the last
 * place of the largest number that it is made of; NaN and infinity are themselves. */
void vector_near(const vector_array *x, int64_t i, double expected, double largest, double error);

/* vector_each: run check for every size, offset and both dtypes. */
typedef void vector_check(const lv_vector_kernels *k, lv_dtype dtype, int64_t n, int offset);
void vector_each(const lv_vector_kernels *k, vector_check *check);

#endif
