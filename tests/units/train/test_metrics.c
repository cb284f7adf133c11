/* SPDX-License-Identifier: Apache-2.0
 *
 * train/metrics.h: how long it takes, and lines where the disk is full,
 * for which a limit on the size of files stands.
 */
#include "train/host/memory.h"
#include "train/metrics.h"

#include "autograd/error.h"
#include "data/base/clock.h"
#include "data/base/file.h"
#include "tests/units/train/fixture.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void limit_files(rlim_t n_bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = n_bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* A step that was not applied, so that nothing is printed to stdout. */
static int write_step(lv_metrics *metrics, int64_t step)
{
    return lv_metrics_step(metrics, &(lv_step_metrics){.step = step, .step_s = 1});
}

/* The file's lines, each whole; the first of them is of step 1, and so on. */
static int count_lines(void **state)
{
    char *text = NULL;
    size_t n = 0;
    int n_lines = 0;
    assert_int_equal(lv_file_read(&text, &n, fixture_path(state, "metrics.jsonl")), LV_OK);
    for (char *line = text; *line; n_lines++) {
        char *end = strchr(line, '\n'), begin[32];
        assert_non_null(end);
        snprintf(begin, sizeof begin, "{\"step\":%d,", n_lines + 1);
        assert_memory_equal(line, begin, strlen(begin));
        assert_int_equal(end[-1], '}');
        line = end + 1;
    }
    free(text);
    return n_lines;
}

static void lines_that_cannot_be_written_are_kept_until_they_can(void **state)
{
    lv_metrics *metrics = NULL;
    assert_int_equal(lv_metrics_open(&metrics, *state, 0, 10, 1, true), LV_OK);
    assert_int_equal(write_step(metrics, 1), LV_OK);
    limit_files(500); /* in the second line */
    assert_int_equal(write_step(metrics, 2), LV_OK);
    assert_int_equal(write_step(metrics, 3), LV_OK);
    assert_int_equal(count_lines(state), 1);
    limit_files(RLIM_INFINITY);
    assert_int_equal(write_step(metrics, 4), LV_OK);
    assert_int_equal(count_lines(state), 4);
    limit_files(500);
    assert_int_equal(write_step(metrics, 5), LV_OK);
    assert_fails(lv_metrics_close(&metrics), LV_ERR_IO, "metrics.jsonl: writing");
    limit_files(RLIM_INFINITY);
    assert_int_equal(count_lines(state), 4);
}

static void without_leave_to_go_on_it_is_a_failure(void **state)
{
    lv_metrics *metrics = NULL;
    assert_int_equal(lv_metrics_open(&metrics, *state, 0, 10, 1, false), LV_OK);
    limit_files(100);
    assert_fails(write_step(metrics, 1), LV_ERR_IO, "metrics.jsonl: writing");
    limit_files(RLIM_INFINITY);
    assert_int_equal(lv_metrics_close(&metrics), LV_OK); /* there is room again */
    assert_int_equal(count_lines(state), 1);
}

static void durations_are_told_however_long_they_are(void **state)
{
    (void)state;
    char buf[32];
    assert_string_equal(lv_duration_text(buf, NAN), "0:00");
    assert_string_equal(lv_duration_text(buf, -1), "0:00");
    assert_string_equal(lv_duration_text(buf, 59.6), "1:00");
    assert_string_equal(lv_duration_text(buf, 3723), "1:02:03");
    assert_string_equal(lv_duration_text(buf, 1e300), "277777:46:39");
    assert_string_equal(lv_duration_text(buf, INFINITY), "277777:46:39");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_are_told_however_long_they_are),
        cmocka_unit_test_setup_teardown(lines_that_cannot_be_written_are_kept_until_they_can,
                                        fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(without_leave_to_go_on_it_is_a_failure, fixture_open,
                                        fixture_close),
    };
    signal(SIGXFSZ, SIG_IGN); /* the write fails instead */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
