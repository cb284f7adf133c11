/* SPDX-License-Identifier: Apache-2.0 */
#include "train/cluster/job.h"

#include "autograd/error.h"
#include "tests/units/train/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 1024, RANKS_A_HOST = 16 };

/* A job in which nothing differs but the hosts. */
static lv_job_rank *alike(void)
{
    lv_job_rank *ranks = calloc(N, sizeof *ranks);
    assert_non_null(ranks);
    for (int r = 0; r < N; r++) {
        snprintf(ranks[r].fact[LV_JOB_HOST], LV_JOB_TEXT_BYTES, "n%03d", r / RANKS_A_HOST);
        strcpy(ranks[r].fact[LV_JOB_VERSION], "1.2.3");
        strcpy(ranks[r].fact[LV_JOB_BUILD], "0badcafe");
        strcpy(ranks[r].fact[LV_JOB_MPI], "An MPI 4.1");
        strcpy(ranks[r].fact[LV_JOB_CPU], "2 sockets of Some CPU");
        strcpy(ranks[r].fact[LV_JOB_COMPUTE], "avx512; a BLAS");
        strcpy(ranks[r].fact[LV_JOB_THREADS], "8");
    }
    return ranks;
}

static void assert_report(const lv_job_rank *ranks, const char *want)
{
    char *report = NULL;
    assert_int_equal(lv_job_compare(&report, ranks, N), LV_OK);
    assert_string_equal(report, want);
    free(report);
}

static void alike_ranks_are_worth_no_word(void **state)
{
    (void)state;
    lv_job_rank *ranks = alike();
    assert_report(ranks, "");
    char *line = lv_job_line(ranks, N, LV_BF16);
    assert_string_equal(line, "llava 1.2.3, build 0badcafe; An MPI 4.1; on n000, n001, n002 and 61 "
                              "more: 2 sockets of Some CPU; gradients are sent in bf16");
    free(line);
    *ranks[0].fact[LV_JOB_MPI] = '\0';
    line = lv_job_line(ranks, 1, LV_F32);
    assert_string_equal(line, "llava 1.2.3, build 0badcafe; on n000: 2 sockets of Some CPU");
    free(line);
    free(ranks);
}

static void a_host_with_another_CPU_is_named_with_its_ranks(void **state)
{
    (void)state;
    lv_job_rank *ranks = alike();
    for (int r = 32; r < 48; r++) {
        strcpy(ranks[r].fact[LV_JOB_CPU], "An old CPU");
    }
    assert_report(ranks, "llava: CPU: not the same on all ranks: 2 sockets of Some CPU on ranks "
                         "0-31,48-1023 (n000, n001, n003 and 60 more), An old CPU on ranks 32-47 "
                         "(n002); the slowest decides how long a step takes\n");
    char *line = lv_job_line(ranks, N, LV_F32);
    assert_non_null(strstr(line, "and 61 more: several kinds of CPU; gradients are sent in f32"));
    free(line);
    free(ranks);
}

static void a_single_rank_with_another_environment_is_named(void **state)
{
    (void)state;
    lv_job_rank *ranks = alike();
    strcpy(ranks[1023].fact[LV_JOB_ENVIRONMENT], "LLAVA_CPU=avx2");
    assert_report(ranks,
                  "llava: environment: not the same on all ranks: no variable on ranks 0-1022 "
                  "(n000, n001, n002 and 61 more), LLAVA_CPU=avx2 on rank 1023 (n063); mpirun -x "
                  "NAME passes a variable to all hosts\n");
    free(ranks);
}

static void a_thousand_ranks_that_all_differ_are_one_short_line_a_fact(void **state)
{
    (void)state;
    lv_job_rank *ranks = alike();
    char *report = NULL;
    int n_lines = 0;
    for (int r = 0; r < N; r++) {
        for (int fact = LV_JOB_BUILD; fact < LV_JOB_N_FACTS; fact++) {
            memset(ranks[r].fact[fact], 'x', LV_JOB_TEXT_BYTES);
            snprintf(ranks[r].fact[fact] + LV_JOB_TEXT_BYTES - 8, 8, "%07d", r);
        }
    }
    assert_int_equal(lv_job_compare(&report, ranks, N), LV_OK);
    for (char *at = report; *at; at = strchr(at, '\n') + 1) {
        n_lines++;
        assert_true(strcspn(at, "\n") < 700);
    }
    assert_true(n_lines <= 9);
    assert_non_null(strstr(report, "still others from rank 3 (n000) on"));
    free(report);
    free(ranks);
}

static void ranks_that_take_turns_do_not_make_a_long_line(void **state)
{
    (void)state;
    lv_job_rank *ranks = alike();
    for (int r = 0; r < N; r += 2) {
        strcpy(ranks[r].fact[LV_JOB_THREADS], "4");
    }
    assert_report(
        ranks, "llava: threads a rank: not the same on all ranks: 4 on ranks 0,2,4,6,... (512 in "
               "all) (n000, n001, n002 and 61 more), 8 on ranks 1,3,5,7,... (512 in all) (n000, "
               "n001, n002 and 61 more); all get as much work, and wait for those with the "
               "fewest\n");
    free(ranks);
}

static void another_build_is_a_warning_and_another_version_is_refused(void **state)
{
    (void)state;
    lv_job_rank *ranks = alike();
    char *report = NULL;
    strcpy(ranks[5].fact[LV_JOB_BUILD], "12345678");
    assert_report(ranks, "llava: build of llava: not the same on all ranks: 0badcafe on ranks "
                         "0-4,6-1023 (n000, n001, n002 and 61 more), 12345678 on rank 5 (n000); "
                         "are they made from one source?\n");
    strcpy(ranks[5].fact[LV_JOB_VERSION], "1.2.4");
    assert_fails(lv_job_compare(&report, ranks, N), LV_ERR_CONFIG,
                 "version of llava: not the same on all ranks: 1.2.3 on ranks 0-4,6-1023 (n000, "
                 "n001, n002 and 61 more), 1.2.4 on rank 5 (n000); install one version");
    assert_null(report);
    free(ranks);
}

static void another_config_is_refused_with_its_hosts(void **state)
{
    (void)state;
    lv_job_rank *ranks = alike();
    char *report = NULL;
    for (int r = 1000; r < N; r++) {
        strcpy(ranks[r].fact[LV_JOB_CONFIG], "optim.lr=0.01");
    }
    assert_fails(lv_job_compare(&report, ranks, N), LV_ERR_CONFIG,
                 "config: not the same on all ranks: rank 0's on ranks 0-999 (n000, n001, n002 and "
                 "60 more), optim.lr=0.01 on ranks 1000-1023 (n062, n063);");
    assert_null(report);
    free(ranks);
}

static void badly_bound_hosts_are_named_once(void **state)
{
    (void)state;
    lv_job_rank *ranks = alike();
    strcpy(ranks[16].fact[LV_JOB_BINDING], "it is badly bound");
    strcpy(ranks[32].fact[LV_JOB_BINDING], "it is badly bound");
    assert_report(ranks, "llava: on n001, n002: it is badly bound\n");
    free(ranks);
}

static void configs_are_told_apart_by_every_key(void **state)
{
    (void)state;
    char out[LV_JOB_TEXT_BYTES], again[LV_JOB_TEXT_BYTES];
    cJSON *first = cJSON_Parse("{\"run\":{\"dir\":\"a\"},\"optim\":{\"lr\":1e-3,\"x\":[1,2]}}");
    cJSON *own = cJSON_Parse("{\"run\":{\"dir\":\"b\"},\"optim\":{\"lr\":1e-3,\"x\":[1,3]}}");
    lv_job_config(out, first, first);
    assert_string_equal(out, "");
    lv_job_config(out, own, first);
    assert_string_equal(out, "run.dir=\"b\" optim.x=[1,3]");
    char dir[300];
    memset(dir, 'd', sizeof dir - 1);
    dir[sizeof dir - 1] = '\0';
    cJSON *run = cJSON_GetObjectItemCaseSensitive(own, "run");
    cJSON_ReplaceItemInObjectCaseSensitive(run, "dir", cJSON_CreateString(dir));
    lv_job_config(out, own, first);
    dir[sizeof dir - 2] = 'e'; /* beyond what is shown */
    cJSON_ReplaceItemInObjectCaseSensitive(run, "dir", cJSON_CreateString(dir));
    lv_job_config(again, own, first);
    assert_true(strlen(out) < LV_JOB_TEXT_BYTES);
    assert_string_not_equal(out, again);
    cJSON_Delete(own);
    cJSON_Delete(first);
}

static void sockets_and_model_are_read_from_cpuinfo(void **state)
{
    char out[LV_JOB_TEXT_BYTES];
    fixture_write(state, "two",
                  "processor\t: 0\nmodel name\t: A CPU @ 2 GHz\nphysical id\t: 0\n\n"
                  "processor\t: 1\nmodel name\t: A CPU @ 2 GHz\nphysical id\t: 1\n\n"
                  "processor\t: 2\nmodel name\t: A CPU @ 2 GHz\nphysical id\t: 0\n");
    lv_job_cpu(out, fixture_path(state, "two"));
    assert_string_equal(out, "2 sockets of A CPU @ 2 GHz");
    fixture_write(state, "one", "model name\t: A CPU\nphysical id\t: 3\n");
    lv_job_cpu(out, fixture_path(state, "one"));
    assert_string_equal(out, "1 socket of A CPU");
    fixture_write(state, "arm", "processor\t: 0\nBogoMIPS\t: 2000.00\n");
    lv_job_cpu(out, fixture_path(state, "arm"));
    assert_non_null(strstr(out, " CPU"));
    lv_job_cpu(out, fixture_path(state, "not there"));
    assert_non_null(strstr(out, " CPU"));
}

static void the_innermost_launcher_says_how_many_ranks_it_started(void **state)
{
    static const char *const all[] = {"OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "PMI_SIZE",
                                      "SLURM_STEP_NUM_TASKS", "FLUX_JOB_SIZE"};
    const char *variable = NULL;
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        unsetenv(all[i]);
    }
    assert_int_equal(lv_job_launcher_size(&variable), 0);
    setenv("SLURM_STEP_NUM_TASKS", "4", 1);
    assert_int_equal(lv_job_launcher_size(&variable), 4);
    assert_string_equal(variable, "SLURM_STEP_NUM_TASKS");
    setenv("OMPI_COMM_WORLD_SIZE", "1", 1);
    assert_int_equal(lv_job_launcher_size(&variable), 1);
    assert_string_equal(variable, "OMPI_COMM_WORLD_SIZE");
    unsetenv("SLURM_STEP_NUM_TASKS");
    unsetenv("OMPI_COMM_WORLD_SIZE");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alike_ranks_are_worth_no_word),
        cmocka_unit_test(a_host_with_another_CPU_is_named_with_its_ranks),
        cmocka_unit_test(a_single_rank_with_another_environment_is_named),
        cmocka_unit_test(a_thousand_ranks_that_all_differ_are_one_short_line_a_fact),
        cmocka_unit_test(ranks_that_take_turns_do_not_make_a_long_line),
        cmocka_unit_test(another_build_is_a_warning_and_another_version_is_refused),
        cmocka_unit_test(another_config_is_refused_with_its_hosts),
        cmocka_unit_test(badly_bound_hosts_are_named_once),
        cmocka_unit_test(configs_are_told_apart_by_every_key),
        cmocka_unit_test_setup_teardown(sockets_and_model_are_read_from_cpuinfo, fixture_open,
                                        fixture_close),
        cmocka_unit_test(the_innermost_launcher_says_how_many_ranks_it_started),
    };
    return cmocka_run_group_tests_name("job", tests, NULL, NULL);
}
