/* SPDX-License-Identifier: Apache-2.0
 *
 * train/exchange/sparse_rows.h on one process, against a list of all elements; united over ranks in
 * tests/mpi/exchange_sums.c.
 */
#include "train/exchange/sparse_rows.h"

#include "autograd/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BEFORE = 60, ROWS = 200, WIDTH = 5, AFTER = 70, END = BEFORE + ROWS * WIDTH };
enum { COUNT = END + AFTER };

static lv_params *open_params(bool by_rows)
{
    static const char *const all[] = {"a", "b", "c"};
    const int64_t shapes[][2] = {{BEFORE, 0}, {ROWS, WIDTH}, {AFTER, 0}};
    lv_params *params;
    assert_int_equal(lv_params_create(&params), LV_OK);
    for (int i = 0; i < 3; i++) {
        lv_tensor *t = lv_params_declare(params, all[i], i == 1 ? 2 : 1, shapes[i], true, true);
        lv_params_of(params, t)->by_rows = by_rows && i == 1;
    }
    assert_int_equal(lv_params_set_trainable(params, all, 3), LV_OK);
    assert_int_equal(lv_params_allocate(params), LV_OK);
    return params;
}

/* All ranges of [begin, end): ascending, apart or touching, and together what is sent. */
static void check_ranges(const lv_sparse_rows *rows, const bool *sent, int64_t begin, int64_t end)
{
    int64_t at = begin, n = 0;
    lv_range s = lv_sparse_rows_next(rows, begin, end);
    while (s.begin < s.end) {
        assert_true(s.begin >= at && s.end <= end);
        for (; at < s.end; at++) {
            assert_int_equal(sent[at], at >= s.begin);
        }
        n += s.end - s.begin;
        s = lv_sparse_rows_next(rows, at, end);
    }
    for (; at < end; at++) {
        assert_false(sent[at]);
    }
    assert_int_equal(lv_sparse_rows_count(rows, (lv_range){begin, end}), n);
}

static void ranges_are_the_marked_rows_and_all_that_is_no_row(void **state)
{
    (void)state;
    lv_params *params = open_params(true);
    lv_sparse_rows rows;
    assert_int_equal(lv_sparse_rows_create(&rows, params), LV_OK);
    srand(7);
    for (int round = 0; round < 200; round++) {
        bool sent[COUNT];
        int32_t ids[ROWS];
        int64_t n = 0;
        const int in_a_hundred = round % 5 * 25;
        lv_sparse_rows_clear(&rows);
        memset(sent, true, sizeof sent);
        for (int32_t row = 0; row < ROWS; row++) {
            const bool marked = rand() % 100 < in_a_hundred;
            memset(sent + BEFORE + row * WIDTH, marked, WIDTH);
            if (marked) {
                ids[n++] = row;
            }
        }
        lv_sparse_rows_mark(&rows, rows.tensor, ids, n);
        lv_sparse_rows_mark(&rows, rows.tensor, ids, n / 2);
        check_ranges(&rows, sent, 0, COUNT);
        for (int i = 0; i < 50; i++) {
            const int64_t begin = rand() % COUNT;
            check_ranges(&rows, sent, begin, begin + rand() % (COUNT - begin + 1));
        }
    }
    lv_sparse_rows_destroy(&rows);
    lv_params_destroy(&params);
}

static void ranges_overlap_where_they_have_elements_of_it(void **state)
{
    (void)state;
    lv_params *params = open_params(true);
    lv_sparse_rows rows;
    assert_int_equal(lv_sparse_rows_create(&rows, params), LV_OK);
    assert_false(lv_sparse_rows_overlap(&rows, (lv_range){0, BEFORE}));
    assert_true(lv_sparse_rows_overlap(&rows, (lv_range){0, BEFORE + 1}));
    assert_true(lv_sparse_rows_overlap(&rows, (lv_range){BEFORE + 1, BEFORE + 2}));
    assert_true(lv_sparse_rows_overlap(&rows, (lv_range){END - 1, COUNT}));
    assert_false(lv_sparse_rows_overlap(&rows, (lv_range){END, COUNT}));
    lv_sparse_rows_destroy(&rows);
    lv_params_destroy(&params);
}

static void without_such_a_parameter_everything_is_sent(void **state)
{
    (void)state;
    lv_params *params = open_params(false);
    lv_sparse_rows rows;
    assert_int_equal(lv_sparse_rows_create(&rows, params), LV_OK);
    assert_null(lv_sparse_rows_param(params));
    lv_sparse_rows_mark(&rows, &lv_params_find(params, "b")->tensor, (int32_t[]){1}, 1);
    assert_false(lv_sparse_rows_overlap(&rows, (lv_range){0, COUNT}));
    assert_int_equal(lv_sparse_rows_count(&rows, (lv_range){3, COUNT}), COUNT - 3);
    lv_sparse_rows_clear(&rows);
    lv_sparse_rows_destroy(&rows);
    lv_params_destroy(&params);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_are_the_marked_rows_and_all_that_is_no_row),
        cmocka_unit_test(ranges_overlap_where_they_have_elements_of_it),
        cmocka_unit_test(without_such_a_parameter_everything_is_sent),
    };
    return cmocka_run_group_tests_name("sparse_rows", tests, NULL, NULL);
}
