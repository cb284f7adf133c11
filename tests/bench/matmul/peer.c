/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/matmul/peer.h"

#include "autograd/error.h"

#ifdef HAVE_DNNL

#include <dnnl.h>
#include <stdio.h>
#include <stdlib.h>

struct peer {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    dnnl_memory_desc_t a_lies, b_lies, c_lies, b_wanted;
};

static void expect(dnnl_status_t status, const char *what)
{
    LV_CHECK(status == dnnl_success, "oneDNN: %s: status %d", what, (int)status);
}

static dnnl_memory_desc_t lies(int64_t rows, int64_t columns, const lv_matrix *x)
{
    dnnl_memory_desc_t desc;
    const dnnl_dims_t dims = {rows, columns};
    const dnnl_dims_t strides = {x->transposed ? 1 : x->ld, x->transposed ? x->ld : 1};
    expect(dnnl_memory_desc_init_by_strides(&desc, 2, dims,
                                            x->dtype == LV_BF16 ? dnnl_bf16 : dnnl_f32, strides),
           "memory descriptor");
    return desc;
}

static dnnl_memory_t memory_of(const peer *p, const dnnl_memory_desc_t *desc, const void *data)
{
    dnnl_memory_t memory;
    expect(dnnl_memory_create(&memory, desc, p->engine, (void *)data), "memory");
    return memory;
}

static dnnl_primitive_attr_t attributes(bool add)
{
    dnnl_primitive_attr_t attr;
    expect(dnnl_primitive_attr_create(&attr), "attributes");
    if (add) {
        dnnl_post_ops_t ops;
        expect(dnnl_post_ops_create(&ops), "post-ops");
        expect(dnnl_post_ops_append_sum(ops, 1), "sum");
        expect(dnnl_primitive_attr_set_post_ops(attr, ops), "post-ops");
        expect(dnnl_post_ops_destroy(ops), "post-ops");
    }
    return attr;
}

peer *peer_create(const lv_gemm_args *x, bool own_weights)
{
    peer *p = calloc(1, sizeof *p);
    LV_CHECK(p, "no memory");
    expect(dnnl_engine_create(&p->engine, dnnl_cpu, 0), "engine");
    expect(dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags), "stream");
    p->a_lies = lies(x->M, x->K, &x->A);
    p->b_lies = lies(x->K, x->N, &x->B);
    p->c_lies = lies(x->M, x->N, &(lv_matrix){x->C, x->C_dtype, x->ldc, false});
    dnnl_memory_desc_t b = p->b_lies;
    if (own_weights) {
        expect(dnnl_memory_desc_init_by_tag(&b, 2, b.dims, b.data_type, dnnl_format_tag_any),
               "any layout");
    }
    dnnl_matmul_desc_t matmul;
    expect(dnnl_matmul_desc_init(&matmul, &p->a_lies, &b, NULL, &p->c_lies), "matmul");
    dnnl_primitive_attr_t attr = attributes(x->add);
    dnnl_status_t made = dnnl_primitive_desc_create(&p->desc, &matmul, attr, p->engine, NULL);
    expect(dnnl_primitive_attr_destroy(attr), "attributes");
    if (made != dnnl_success) {
        peer_destroy(&p);
        return NULL;
    }
    expect(dnnl_primitive_create(&p->primitive, p->desc), "primitive");
    p->b_wanted = *dnnl_primitive_desc_query_md(p->desc, dnnl_query_weights_md, 0);
    return p;
}

void peer_destroy(peer **p)
{
    if (!*p) {
        return;
    }
    if ((*p)->primitive) {
        dnnl_primitive_destroy((*p)->primitive);
    }
    if ((*p)->desc) {
        dnnl_primitive_desc_destroy((*p)->desc);
    }
    dnnl_stream_destroy((*p)->stream);
    dnnl_engine_destroy((*p)->engine);
    free(*p);
    *p = NULL;
}

void *peer_prepare(peer *p, const void *B)
{
    size_t bytes = (dnnl_memory_desc_get_size(&p->b_wanted) + 63) / 64 * 64;
    void *own = aligned_alloc(64, bytes);
    LV_CHECK(own, "no memory for weights of %zu bytes", bytes);
    dnnl_memory_t from = memory_of(p, &p->b_lies, B), to = memory_of(p, &p->b_wanted, own);
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t reorder;
    expect(dnnl_reorder_primitive_desc_create(&desc, &p->b_lies, p->engine, &p->b_wanted, p->engine,
                                              NULL),
           "reorder");
    expect(dnnl_primitive_create(&reorder, desc), "reorder");
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    expect(dnnl_primitive_execute(reorder, p->stream, 2, args), "reorder");
    expect(dnnl_stream_wait(p->stream), "reorder");
    dnnl_primitive_destroy(reorder);
    dnnl_primitive_desc_destroy(desc);
    dnnl_memory_destroy(from);
    dnnl_memory_destroy(to);
    return own;
}

void peer_multiply(peer *p, void *C, const void *A, const void *B)
{
    dnnl_memory_t a = memory_of(p, &p->a_lies, A), b = memory_of(p, &p->b_wanted, B);
    dnnl_memory_t c = memory_of(p, &p->c_lies, C);
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}};
    expect(dnnl_primitive_execute(p->primitive, p->stream, 3, args), "execution");
    expect(dnnl_stream_wait(p->stream), "execution");
    dnnl_memory_destroy(a);
    dnnl_memory_destroy(b);
    dnnl_memory_destroy(c);
}

const char *peer_version(void)
{
    static char text[64];
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, sizeof text, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
    return text;
}

#else

peer *peer_create(const lv_gemm_args *like, bool own_weights)
{
    (void)like;
    (void)own_weights;
    return NULL;
}

void peer_destroy(peer **p)
{
    *p = NULL;
}

void *peer_prepare(peer *p, const void *B)
{
    (void)p;
    LV_CHECK(!B, "a build without oneDNN");
    return NULL;
}

void peer_multiply(peer *p, void *C, const void *A, const void *B)
{
    (void)A;
    (void)B;
    LV_CHECK(!p && !C, "a build without oneDNN");
}

const char *peer_version(void)
{
    return NULL;
}

#endif
