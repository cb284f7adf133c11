/* SPDX-License-Identifier: Apache-2.0 */
#include "train/cluster/ranks_compare.h"

#include "autograd/error.h"
#include "tests/units/train/fixture.h"

#include <stdio.h>
#include <string.h>

enum { MOST = 64 };

/* Ranks, each as "host value", two a host. */
static int compare(const char *values)
{
    lv_rank_value ranks[MOST] = {0};
    const int n = (int)strlen(values);
    for (int r = 0; r < n; r++) {
        ranks[r].value = (uint64_t)values[r] << 56;
        snprintf(ranks[r].host, sizeof ranks[r].host, "n%02d", r / 2);
    }
    return lv_ranks_differ(ranks, n, "the files", "look there");
}

static void ranks_that_agree_are_let_through(void **state)
{
    (void)state;
    assert_int_equal(compare("a"), LV_OK);
    assert_int_equal(compare("aaaaaaa"), LV_OK);
    const lv_comm comm = lv_comm_single();
    assert_int_equal(lv_ranks_compare(&comm, 5, "the files", "look there"), LV_OK);
}

static void hosts_that_differ_from_most_are_named_once_each(void **state)
{
    (void)state;
    assert_fails(compare("aaaabbaa"), LV_ERR_FORMAT,
                 "the files are not the same on all ranks: on n02 (rank 4) they are not those of "
                 "rank 0 on n00; look there");
    assert_fails(
        compare("baaaacab"), LV_ERR_FORMAT,
        "on n00 (rank 0), n02 (rank 5), n03 (rank 7) they are not those of rank 1 on n00;");
    assert_fails(compare("ab"), LV_ERR_FORMAT,
                 "on n00 (rank 1) they are not those of rank 0 on n00;");
}

static void of_many_hosts_the_first_are_named_and_the_rest_counted(void **state)
{
    char values[MOST + 1];
    (void)state;
    memset(values, 'a', MOST);
    values[MOST] = '\0';
    memset(values + 2, 'b', 24); /* 12 hosts */
    assert_fails(compare(values), LV_ERR_FORMAT, "on n01 (rank 2), n02 (rank 4), ");
    assert_non_null(strstr(lv_error_message(), "n08 (rank 16) and 4 more they are not"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_that_agree_are_let_through),
        cmocka_unit_test(hosts_that_differ_from_most_are_named_once_each),
        cmocka_unit_test(of_many_hosts_the_first_are_named_and_the_rest_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
