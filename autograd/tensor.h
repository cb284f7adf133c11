/* SPDX-License-Identifier: Apache-2.0
 *
 * lv_tensor: a dense row-major array, its gradient if it has one, and nothing else. Tensors do not
 * own memory: data of parameters lies in the model arena or in a mapped file, data of activations
 * in the tape's step arena.
 */
#ifndef LV_AUTOGRAD_TENSOR_H
#define LV_AUTOGRAD_TENSOR_H

#include "autograd/real.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    LV_F32,  /* lv_real */
    LV_BF16, /* uint16_t, the upper half of a float */
    LV_F16,  /* uint16_t, IEEE half: in files only, no op takes it */
} lv_dtype;

enum { LV_MAX_DIMS = 4 };

typedef struct {
    lv_dtype dtype;
    int n_dims;
    int64_t shape[LV_MAX_DIMS]; /* unused dims are 1 */
    void *data;                 /* may be at any address: mapped files keep no alignment */
    void *grad;                 /* same shape, of lv_grad_dtype; NULL while it has no memory */
    bool grad_begun;            /* grad holds a sum; if not, the first part of it is written */
    bool requires_grad;
    bool is_param;
    bool grad_lent;   /* grad belongs to someone else's walk: never taken back by this one */
    bool data_owned;  /* data is the tape's alone: it may be used again */
    bool data_needed; /* a backward pass reads data */
    int n_uses;       /* of a parameter: inputs of records whose backward pass is to come */
} lv_tensor;

size_t lv_dtype_bytes(lv_dtype dtype);
const char *lv_dtype_name(lv_dtype dtype); /* "f32", "bf16", "f16" */

/* lv_grad_dtype: of x's gradient: LV_F32 for a parameter, whose gradient is a sum over many
 * micro-batches; x's own dtype for an activation. */
lv_dtype lv_grad_dtype(const lv_tensor *x);

/* lv_grad: where an op's backward function puts the gradient of an input. */
typedef struct {
    void *data;     /* rows as in the tensor */
    lv_dtype dtype; /* lv_grad_dtype of the tensor */
    bool add;       /* true: +=; false: data is undefined, every element is to be written */
} lv_grad;

/* lv_grad_at: the same gradient from element i on; data stays NULL if it is. */
lv_grad lv_grad_at(lv_grad grad, int64_t i);

/* lv_element: the address of element i of an array of dtype. */
void *lv_element(void *data, lv_dtype dtype, int64_t i);
const void *lv_element_const(const void *data, lv_dtype dtype, int64_t i);

int64_t lv_tensor_count(const lv_tensor *x); /* number of elements */
lv_real *lv_tensor_real(const lv_tensor *x); /* data; ends the job if the dtype is not LV_F32 */

/* lv_shape_text: "(2, 3)" into buf; returns buf. */
const char *lv_shape_text(char *buf, size_t bytes, int n_dims, const int64_t *shape);

#endif
