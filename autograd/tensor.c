/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/tensor.h"

#include "autograd/error.h"

#include <inttypes.h>
#include <stdio.h>

size_t lv_dtype_bytes(lv_dtype dtype)
{
    return dtype == LV_F32 ? sizeof(lv_real) : sizeof(uint16_t);
}

const char *lv_dtype_name(lv_dtype dtype)
{
    switch (dtype) {
    case LV_F32:
        return "f32";
    case LV_BF16:
        return "bf16";
    case LV_F16:
        return "f16";
    }
    return "unknown dtype";
}

void *lv_element(void *data, lv_dtype dtype, int64_t i)
{
    return (char *)data + i * (int64_t)lv_dtype_bytes(dtype);
}

const void *lv_element_const(const void *data, lv_dtype dtype, int64_t i)
{
    return (const char *)data + i * (int64_t)lv_dtype_bytes(dtype);
}

lv_dtype lv_grad_dtype(const lv_tensor *x)
{
    return x->is_param ? LV_F32 : x->dtype;
}

lv_grad lv_grad_at(lv_grad grad, int64_t i)
{
    grad.data = grad.data ? lv_element(grad.data, grad.dtype, i) : NULL;
    return grad;
}

int64_t lv_tensor_count(const lv_tensor *x)
{
    int64_t count = 1;
    for (int i = 0; i < x->n_dims; i++) {
        count *= x->shape[i];
    }
    return count;
}

lv_real *lv_tensor_real(const lv_tensor *x)
{
    LV_CHECK(x->dtype == LV_F32, "a tensor of dtype %s where f32 is needed",
             lv_dtype_name(x->dtype));
    return x->data;
}

const char *lv_shape_text(char *buf, size_t bytes, int n_dims, const int64_t *shape)
{
    size_t used = 0;
    for (int i = 0; i < n_dims && used < bytes; i++) {
        int n = snprintf(buf + used, bytes - used, "%s%" PRId64, i ? ", " : "(", shape[i]);
        used += n > 0 ? (size_t)n : 0;
    }
    if (used < bytes) {
        snprintf(buf + used, bytes - used, "%s", n_dims ? ")" : "()");
    }
    return buf;
}
