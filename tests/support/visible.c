/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/visible.h"

#include "autograd/error.h"
#include "autograd/rng.h"

static int64_t below(uint64_t i, int64_t n)
{
    return (int64_t)(lv_random_uniform(5, 0, i) * (double)n);
}

static void window(visible_rows *x, int64_t keys)
{
    for (int64_t t = 0; t < x->Tq; t++) {
        int64_t begin = x->at[t].end - keys;
        x->at[t].begin = begin > x->at[t].begin ? begin : x->at[t].begin;
    }
}

static void prefix(visible_rows *x, int64_t keys)
{
    for (int64_t t = 0; t < x->Tq; t++) {
        int64_t end = x->at[t].begin + keys;
        x->at[t].end = end > x->at[t].end ? end : x->at[t].end;
    }
}

/* Three images; the rows see in turn none, the first, the first two, none, the third, none. */
static void images(visible_rows *x, int64_t size)
{
    int64_t own = size / 2 + 3, sixth = size / 2;
    const lv_range sees[] = {{0, 0}, {0, own}, {0, 2 * own}, {own, own}, {2 * own, 3 * own}};
    x->Tq = 6 * sixth;
    x->Tk = 3 * own + 2;
    for (int64_t t = 0; t < x->Tq; t++) {
        x->at[t] = t / sixth < 5 ? sees[t / sixth] : (lv_range){x->Tk, x->Tk};
    }
}

static void any(visible_rows *x, int64_t size)
{
    x->Tq = 3 * size;
    x->Tk = 4 * size;
    for (int64_t t = 0; t < x->Tq; t++) {
        int64_t begin = below(2 * (uint64_t)t, x->Tk);
        int64_t n = t % 3 == 1 ? 0 : below(2 * (uint64_t)t + 1, x->Tk - begin + 1);
        x->at[t] = (lv_range){begin, begin + n};
    }
}

visible_rows visible_fill(visible_kind kind, int64_t size)
{
    static const char *const names[N_VISIBLE] = {"full",   "causal", "window",   "prefix",
                                                 "images", "cache",  "reversed", "any"};
    const int64_t start[] = {0, 1, size, 3 * size + 1};
    const lv_range packed[] = {{start[0], start[1]}, {start[1], start[2]}, {start[2], start[3]}};
    const lv_range cached[] = {
        {3, size}, {size + 5, 3 * size + 4}, {3 * size + 4, 5 * size + 9}}; /* of 5 size + 12 */
    const lv_range reversed[] = {{5 * size, 5 * size + 1}, {3 * size, 4 * size}, {1, 2 * size + 8}};
    visible_rows x = {.name = names[kind], .Tq = start[3], .Tk = start[3]};
    switch (kind) {
    case VISIBLE_FULL:
        lv_visible_full(x.at, 3, start, packed);
        break;
    case VISIBLE_CAUSAL:
        lv_visible_causal(x.at, 3, start, packed);
        break;
    case VISIBLE_WINDOW:
        lv_visible_causal(x.at, 3, start, packed);
        window(&x, size / 2 + 1);
        break;
    case VISIBLE_PREFIX: {
        const int64_t two[] = {0, 2 * size, 3 * size};
        const lv_range keys[] = {{0, 2 * size}, {2 * size, 3 * size}};
        x.Tq = x.Tk = 3 * size;
        lv_visible_causal(x.at, 2, two, keys);
        prefix(&x, size / 2 + 1);
        break;
    }
    case VISIBLE_IMAGES:
        images(&x, size);
        break;
    case VISIBLE_CACHE:
        x.Tk = 5 * size + 12;
        lv_visible_causal(x.at, 3, start, cached);
        break;
    case VISIBLE_REVERSED:
        x.Tk = 5 * size + 3;
        lv_visible_full(x.at, 3, start, reversed);
        break;
    case VISIBLE_ANY:
        any(&x, size);
        break;
    case N_VISIBLE:
        break;
    }
    LV_CHECK(x.Tq <= VISIBLE_MOST, "%lld rows", (long long)x.Tq);
    return x;
}
