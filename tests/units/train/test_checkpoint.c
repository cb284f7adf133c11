/* SPDX-License-Identifier: Apache-2.0
 *
 * train/checkpoint.h: what was saved comes back, and a checkpoint whose checksums are right and
 * whose contents lie is refused.
 */
#include "train/checkpoint.h"

#include "autograd/error.h"
#include "data/file.h"
#include "data/json.h"
#include "data/manifest.h"
#include "fixture.h"

#include <hdf5.h>
#include <stdlib.h>
#include <string.h>

enum { N = 20 };
static const lv_comm single = {.n_ranks = 1, .n_local_ranks = 1};
static const lv_train_state STEP_4 = {.step = 4, .n_updates = 3, .n_skipped_in_a_row = 1};

typedef struct {
    char dir[64]; /* the run's */
    lv_params *params;
    lv_real exp_avg[N], exp_avg_sq[N];
    lv_run_identity identity;
    cJSON *config;
} fixture;

static lv_params *declare(void)
{
    static const char *const projector = "projector";
    lv_params *params = NULL;
    assert_int_equal(lv_params_create(&params), LV_OK);
    lv_params_declare(params, "projector.0.weight", 2, (int64_t[]){5, 3}, true, true);
    lv_params_declare(params, "projector.0.bias", 1, (int64_t[]){5}, false, true);
    assert_int_equal(lv_params_set_trainable(params, &projector, 1), LV_OK);
    assert_int_equal(lv_params_allocate(params), LV_OK);
    return params;
}

static int save(fixture *f, lv_train_state state, int64_t keep)
{
    return lv_checkpoint_save(&single, f->dir, keep, &state, &f->identity, f->params, f->exp_avg,
                              f->exp_avg_sq);
}

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    strcpy(f->dir, "/tmp/llava-checkpoint-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->params = declare();
    f->config = cJSON_CreateObject();
    f->identity = (lv_run_identity){.config = f->config, .frozen_fingerprint = 7};
    for (int i = 0; i < N; i++) {
        masters_of(f->params)[i] = (lv_real)i;
        f->exp_avg[i] = (lv_real)(100 + i);
        f->exp_avg_sq[i] = (lv_real)(200 + i);
    }
    assert_int_equal(save(f, STEP_4, 3), LV_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    lv_params_destroy(&f->params);
    cJSON_Delete(f->config);
    assert_int_equal(lv_dir_remove(f->dir), LV_OK);
    free(f);
    return 0;
}

/* Loads step 4 into fresh buffers; found may be NULL. */
static int load(fixture *f, lv_train_state *found, lv_real avg[N], lv_real avg_sq[N])
{
    lv_train_state state = {0};
    char *dir = lv_path("%s/checkpoints/step-000004", f->dir);
    int rc = lv_checkpoint_load(&single, dir, NULL, &state, f->params, avg, avg_sq);
    free(dir);
    if (found) {
        *found = state;
    }
    return rc;
}

static void what_was_saved_comes_back(void **state)
{
    fixture *f = *state;
    lv_real avg[N] = {0}, avg_sq[N] = {0};
    lv_train_state found;
    memset(masters_of(f->params), 0, N * sizeof(lv_real));
    assert_int_equal(load(f, &found, avg, avg_sq), LV_OK);
    assert_memory_equal(&found, &STEP_4, sizeof found);
    for (int i = 0; i < N; i++) {
        assert_true(masters_of(f->params)[i] == (lv_real)i);
        assert_true(avg[i] == (lv_real)(100 + i) && avg_sq[i] == (lv_real)(200 + i));
    }
}

/* The manifest with one number replaced, under a checksum that is right. */
static void lie(const fixture *f, const char *key, double value)
{
    char *path = lv_path("%s/checkpoints/step-000004/manifest.json", f->dir);
    cJSON *root = NULL;
    assert_int_equal(lv_manifest_read(&root, path), LV_OK);
    cJSON_DeleteItemFromObjectCaseSensitive(root, "self_crc32");
    cJSON_ReplaceItemInObjectCaseSensitive(root, key, cJSON_CreateNumber(value));
    assert_int_equal(lv_manifest_write(path, root), LV_OK);
    cJSON_Delete(root);
    free(path);
}

static void impossible_numbers_in_the_manifest_are_refused(void **state)
{
    static const struct {
        const char *key;
        double value;
    } lies[] = {{"n_ranks", 0},   {"n_ranks", -1},   {"n_ranks", 4294967297.0},
                {"n_ranks", 2},   {"step", -4},      {"step", 2},
                {"n_updates", 5}, {"n_updates", -1}, {"n_skipped_in_a_row", -1},
                {"n_elements", 0}};
    fixture *f = *state;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        lv_real avg[N], avg_sq[N];
        assert_int_equal(save(f, STEP_4, 3), LV_OK);
        lie(f, lies[i].key, lies[i].value);
        assert_true(load(f, NULL, avg, avg_sq) < 0);
        assert_non_null(strstr(lv_error_message(), "step-000004"));
    }
}

static void a_slice_that_the_manifest_does_not_list_is_not_whole(void **state)
{
    fixture *f = *state;
    char *dir = lv_path("%s/checkpoints/step-000004", f->dir);
    assert_int_equal(lv_checkpoint_verify(dir), LV_OK);
    lie(f, "n_ranks", 2);
    assert_int_equal(lv_checkpoint_verify(dir), LV_ERR_FORMAT);
    free(dir);
}

/* Puts another attribute or dataset in the place of one of the slice's. */
static void replace(const fixture *f, const char *name, bool is_attribute, hid_t type, int n_dims,
                    hsize_t rows)
{
    hsize_t dims[2] = {rows, 1};
    char *path = lv_path("%s/checkpoints/step-000004/rank-00000.h5", f->dir);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t space = n_dims ? H5Screate_simple(n_dims, dims, NULL) : H5Screate(H5S_NULL);
    assert_true(file >= 0 && space >= 0);
    if (is_attribute) {
        assert_true(H5Adelete(file, name) >= 0);
        hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
        assert_true(H5Aclose(attribute) >= 0);
    } else {
        assert_true(H5Ldelete(file, name, H5P_DEFAULT) >= 0);
        hid_t set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        assert_true(H5Dclose(set) >= 0);
    }
    H5Sclose(space);
    assert_true(H5Fclose(file) >= 0);
    free(path);
}

static void slices_of_another_form_are_refused(void **state)
{
    const struct {
        const char *name;
        bool is_attribute;
        hid_t type;
        int n_dims;
        hsize_t rows;
    } forms[] = {
        {"begin", true, H5T_STD_I64LE, 1, 5000},
        {"end", true, H5T_STD_I64LE, 0, 0},
        {"begin", true, H5T_IEEE_F64LE, 1, 1},
        {"param", false, H5T_IEEE_F32LE, 1, N - 1},
        {"param", false, H5T_IEEE_F32LE, 1, (hsize_t)1 << 40},
        {"exp_avg", false, H5T_STD_I32LE, 1, N},
        {"exp_avg_sq", false, H5T_IEEE_F32LE, 2, N},
        {"param", false, H5T_IEEE_F32LE, 0, 0},
    };
    fixture *f = *state;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        lv_real avg[N], avg_sq[N];
        assert_int_equal(save(f, STEP_4, 3), LV_OK);
        replace(f, forms[i].name, forms[i].is_attribute, forms[i].type, forms[i].n_dims,
                forms[i].rows);
        assert_int_equal(load(f, NULL, avg, avg_sq), LV_ERR_FORMAT);
        assert_non_null(strstr(lv_error_message(), forms[i].name));
        assert_non_null(strstr(lv_error_message(), "rank-00000.h5"));
    }
}

static bool is_there(const fixture *f, const char *name)
{
    char *path = lv_path("%s/checkpoints/%s", f->dir, name);
    bool there = lv_file_exists(path);
    free(path);
    return there;
}

static void pruning_keeps_what_was_just_saved_and_sets_later_steps_aside(void **state)
{
    fixture *f = *state;
    char *damaged = lv_path("%s/checkpoints/step-000009", f->dir);
    assert_int_equal(lv_dir_create(damaged), LV_OK);
    assert_int_equal(save(f, (lv_train_state){.step = 6}, 1), LV_OK);
    assert_true(is_there(f, "step-000006"));
    assert_false(is_there(f, "step-000004"));
    assert_false(is_there(f, "step-000009")); /* or a resume would take it */
    assert_true(is_there(f, "step-000009.aside"));
    free(damaged);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_saved_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(impossible_numbers_in_the_manifest_are_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_slice_that_the_manifest_does_not_list_is_not_whole,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(slices_of_another_form_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            pruning_keeps_what_was_just_saved_and_sets_later_steps_aside, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
