/* SPDX-License-Identifier: Apache-2.0 */
#include "train/cluster/comm.h"

#include "autograd/error.h"
#include "tests/units/train/fixture.h"

#include <stdlib.h>
#include <string.h>

extern char **environ;

/* Whatever launched the tests is forgotten. */
static int clear_launcher(void **state)
{
    static const char *const prefixes[] = {"OMPI_", "PMI",  "SLURM_", "MV2_", "PALS_",
                                           "ALPS_", "JSM_", "FLUX_",  "MPI_"};
    (void)state;
    for (size_t i = 0; environ[i];) {
        bool ours = false;
        for (size_t p = 0; p < sizeof prefixes / sizeof *prefixes; p++) {
            ours = ours || strncmp(environ[i], prefixes[p], strlen(prefixes[p])) == 0;
        }
        if (ours) {
            char name[256] = "";
            strncat(name, environ[i], strcspn(environ[i], "=") % sizeof name);
            unsetenv(name);
        } else {
            i++;
        }
    }
    return 0;
}

static bool launched_with(const char *variables[][2])
{
    clear_launcher(NULL);
    for (size_t i = 0; variables[i][0]; i++) {
        setenv(variables[i][0], variables[i][1], 1);
    }
    bool launched = lv_comm_launched();
    clear_launcher(NULL);
    return launched;
}
#define LAUNCHED(...) launched_with((const char *[][2]){__VA_ARGS__, {0}})

static void every_launcher_is_recognised(void **state)
{
    (void)state;
    assert_true(LAUNCHED({"OMPI_COMM_WORLD_SIZE", "2"}, {"OMPI_COMM_WORLD_RANK", "1"}));
    assert_true(LAUNCHED({"PMIX_RANK", "0"}, {"PMIX_NAMESPACE", "prterun-1"}));
    assert_true(LAUNCHED({"PMI_RANK", "0"}, {"PMI_SIZE", "2"}, {"PMI_FD", "6"}));
    assert_true(LAUNCHED({"PMI_PORT", "host:40001"}, {"PMI_ID", "0"}));
    assert_true(LAUNCHED({"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NUM_TASKS", "16"}));
    assert_true(
        LAUNCHED({"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}, {"PMIX_RANK", "0"}));
}

static void what_is_no_launcher_is_not_taken_for_one(void **state)
{
    (void)state;
    assert_false(LAUNCHED({"OMPI_ALLOW_RUN_AS_ROOT", "1"}, {"OMPI_MCA_btl", "self"}));
    assert_false(LAUNCHED({"PMIX_MCA_gds", "hash"}));
    /* a batch script, and a shell on the node that it got */
    assert_false(LAUNCHED({"SLURM_JOB_ID", "7"}, {"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "16"}));
    assert_false(LAUNCHED({"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}));
}

static void without_a_launcher_there_is_one_rank_and_no_MPI(void **state)
{
    (void)state;
    lv_comm comm;
    lv_real x[] = {1, -2};
    double y = 3;
    assert_int_equal(lv_comm_start(&comm), LV_OK);
    assert_false(comm.started);
    assert_int_equal(comm.rank, 0);
    assert_int_equal(comm.n_ranks, 1);
    assert_int_equal(comm.n_local_ranks, 1);
    assert_int_equal(lv_comm_sum_double(&comm, &y, 1), LV_OK);
    assert_int_equal(lv_comm_max_double(&comm, &y, 1), LV_OK);
    assert_int_equal(lv_comm_broadcast(&comm, x, sizeof x), LV_OK);
    assert_true(x[0] == 1 && x[1] == -2 && y == 3);
    assert_int_equal(lv_comm_agree(&comm, LV_ERR_IO), LV_ERR_IO);
    lv_comm_stop(&comm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_launcher_is_recognised, clear_launcher),
        cmocka_unit_test_setup(what_is_no_launcher_is_not_taken_for_one, clear_launcher),
        cmocka_unit_test_setup(without_a_launcher_there_is_one_rank_and_no_MPI, clear_launcher),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
