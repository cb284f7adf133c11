/* SPDX-License-Identifier: Apache-2.0
 *
 * What rows may see in attention: the ways in which models fill lv_attention_layout's visible, and
 * some that only a test thinks of.
 */
#ifndef LV_TESTS_SUPPORT_VISIBLE_H
#define LV_TESTS_SUPPORT_VISIBLE_H

#include "autograd/ops.h"

typedef enum {
    VISIBLE_FULL,     /* packed sequences, every row its whole sequence */
    VISIBLE_CAUSAL,   /* packed sequences */
    VISIBLE_WINDOW,   /* the same, of the last keys alone */
    VISIBLE_PREFIX,   /* an image whose rows see each other, text after it */
    VISIBLE_IMAGES,   /* rows of text see their image or images, those before the first nothing */
    VISIBLE_CACHE,    /* sequences with keys of earlier rows, and places for later ones */
    VISIBLE_REVERSED, /* sequences whose keys come in the other order */
    VISIBLE_ANY,      /* each row its own range, or none */
    N_VISIBLE,
} visible_kind;

enum { VISIBLE_MOST = 1024 };

typedef struct {
    const char *name;
    int64_t Tq, Tk;
    lv_range at[VISIBLE_MOST];
} visible_rows;

/* visible_fill: a few times size rows and keys; size >= 8, <= 160. */
visible_rows visible_fill(visible_kind kind, int64_t size);

#endif
