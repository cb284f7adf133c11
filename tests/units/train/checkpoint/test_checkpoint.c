/* SPDX-License-Identifier: Apache-2.0
 *
 * train/checkpoint*.h: what was saved comes back, and a checkpoint whose checksums are right and
 * whose contents lie is refused.
 */
#include "train/checkpoint/dir.h"
#include "train/checkpoint/file.h"
#include "train/checkpoint/save.h"
#include "train/config/config.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "data/json/manifest.h"
#include "tests/units/train/fixture.h"

#include <hdf5.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { N = 288, N_WEIGHT = 240, BUCKET = 96 }; /* a bucket is shared out in 32s */
static const lv_comm single = {.n_ranks = 1, .n_local_ranks = 1};
static const lv_train_state STEP_4 = {.step = 4, .n_updates = 3, .n_skipped_in_a_row = 1};

typedef struct {
    char dir[64]; /* the run's */
    lv_params *params;
    lv_real exp_avg[N], exp_avg_sq[N];
    lv_run_identity identity;
    cJSON *config;
    lv_saver *saver;
} fixture;

/* Of rank `rank`: three buckets, so three ranges. */
static lv_params *declare(int rank, int n_ranks)
{
    static const char *const projector = "projector";
    lv_params *params = NULL;
    assert_int_equal(lv_params_create(&params), LV_OK);
    lv_params_declare(params, "projector.0.weight", 2, (int64_t[]){48, 5}, true, true);
    lv_params_declare(params, "projector.0.bias", 1, (int64_t[]){48}, false, true);
    assert_int_equal(lv_params_set_trainable(params, &projector, 1), LV_OK);
    lv_params_share_set(params, rank, n_ranks, BUCKET);
    assert_int_equal(lv_params_allocate(params), LV_OK);
    return params;
}

static void fill_masters(lv_params *params, lv_real first, lv_real step)
{
    const lv_shard *shard = lv_params_shard(params);
    for (int64_t k = 0; k < shard->n_buckets; k++) {
        for (int64_t i = shard->own[k].begin; i < shard->own[k].end; i++) {
            lv_params_master(params, &shard->own[k])[i - shard->own[k].begin] =
                first + step * (lv_real)i;
        }
    }
}

/* The master value of flat element i, which the rank owns. */
static lv_real master(lv_params *params, int64_t i)
{
    const lv_bucket_shard *own =
        &lv_params_shard(params)->own[lv_shard_bucket_of(lv_params_shard(params), i)];
    return lv_params_master(params, own)[i - own->begin];
}

static void open_saver(fixture *f, int64_t keep, bool continues)
{
    const lv_saver_options options = {.comm = &single,
                                      .run_dir = f->dir,
                                      .keep = keep,
                                      .continue_on_error = continues,
                                      .last = -1};
    lv_saver_destroy(&f->saver);
    assert_int_equal(lv_saver_create(&f->saver, &options), LV_OK);
}

static int save(fixture *f, lv_train_state state)
{
    int rc = lv_saver_begin(f->saver, &state, &f->identity, f->params,
                            &(lv_moments){LV_F32, f->exp_avg, f->exp_avg_sq});
    return rc < 0 ? rc : lv_saver_finish(f->saver);
}

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    strcpy(f->dir, "/tmp/llava-checkpoint-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->params = declare(0, 1);
    f->config = cJSON_CreateObject();
    f->identity = (lv_run_identity){.config = f->config, .frozen_fingerprint = 7};
    fill_masters(f->params, 0, 1);
    for (int i = 0; i < N; i++) {
        f->exp_avg[i] = (lv_real)(100 + i);
        f->exp_avg_sq[i] = (lv_real)(200 + i);
    }
    open_saver(f, 3, false);
    assert_int_equal(save(f, STEP_4), LV_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    lv_saver_destroy(&f->saver);
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
    char *dir = lv_checkpoint_path(f->dir, 4);
    int rc = lv_checkpoint_load(&single, dir, NULL, &state, f->params,
                                &(lv_moments){LV_F32, avg, avg_sq});
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
    fill_masters(f->params, 0, 0);
    assert_int_equal(load(f, &found, avg, avg_sq), LV_OK);
    assert_memory_equal(&found, &STEP_4, sizeof found);
    for (int i = 0; i < N; i++) {
        assert_true(master(f->params, i) == (lv_real)i);
        assert_true(avg[i] == (lv_real)(100 + i) && avg_sq[i] == (lv_real)(200 + i));
    }
}

static void moments_of_bf16_come_back_and_are_not_read_as_f32(void **state)
{
    fixture *f = *state;
    uint16_t avg[N], avg_sq[N], found[N] = {0}, found_sq[N] = {0};
    lv_real wide[N], wide_sq[N];
    lv_train_state loaded;
    char *dir = lv_checkpoint_path(f->dir, 4);
    for (int i = 0; i < N; i++) {
        avg[i] = (uint16_t)(0xbf00 + i);
        avg_sq[i] = (uint16_t)(0x3f00 + i);
    }
    assert_int_equal(lv_saver_begin(f->saver, &STEP_4, &f->identity, f->params,
                                    &(lv_moments){LV_BF16, avg, avg_sq}),
                     LV_OK);
    assert_int_equal(lv_saver_finish(f->saver), LV_OK);
    assert_int_equal(lv_checkpoint_load(&single, dir, NULL, &loaded, f->params,
                                        &(lv_moments){LV_BF16, found, found_sq}),
                     LV_OK);
    assert_memory_equal(found, avg, sizeof avg);
    assert_memory_equal(found_sq, avg_sq, sizeof avg_sq);
    assert_fails(load(f, NULL, wide, wide_sq), LV_ERR_FORMAT, "exp_avg");
    avg_sq[3] = 0xbf00; /* below 0 */
    assert_int_equal(lv_saver_begin(f->saver, &STEP_4, &f->identity, f->params,
                                    &(lv_moments){LV_BF16, avg, avg_sq}),
                     LV_OK);
    assert_int_equal(lv_saver_finish(f->saver), LV_OK);
    assert_fails(lv_checkpoint_load(&single, dir, NULL, &loaded, f->params,
                                    &(lv_moments){LV_BF16, found, found_sq}),
                 LV_ERR_FORMAT, "below 0");
    free(dir);
}

static void a_checkpoint_that_does_not_name_the_moments_is_of_f32(void **state)
{
    (void)state;
    static const char *const moments[] = {"", ", \"moments\": \"f32\"", ", \"moments\": \"bf16\""};
    cJSON *configs[3];
    for (int i = 0; i < 3; i++) {
        char text[256];
        snprintf(text, sizeof text,
                 "{\"data\": {\"packs\": [\"p\"]}, \"train\": {\"trainable\": [\"projector\"]}, "
                 "\"optim\": {\"lr\": 1%s}}",
                 moments[i]);
        configs[i] = cJSON_Parse(text);
        assert_non_null(configs[i]);
    }
    cJSON *before = configs[0], *f32 = configs[1], *bf16 = configs[2];
    assert_int_equal(lv_config_compare(before, f32), LV_OK);
    assert_fails(lv_config_compare(before, bf16), LV_ERR_CONFIG,
                 "optim.moments was \"f32\" and is \"bf16\"");
    cJSON_Delete(before);
    cJSON_Delete(f32);
    cJSON_Delete(bf16);
}

static void what_changes_after_the_beginning_of_a_save_is_not_saved(void **state)
{
    fixture *f = *state;
    lv_real avg[N] = {0}, avg_sq[N] = {0};
    assert_int_equal(lv_saver_begin(f->saver, &STEP_4, &f->identity, f->params,
                                    &(lv_moments){LV_F32, f->exp_avg, f->exp_avg_sq}),
                     LV_OK);
    fill_masters(f->params, 1000, 1);
    memset(f->exp_avg, 0, sizeof f->exp_avg);
    assert_int_equal(lv_saver_finish(f->saver), LV_OK);
    assert_int_equal(load(f, NULL, avg, avg_sq), LV_OK);
    for (int i = 0; i < N; i++) {
        assert_true(master(f->params, i) == (lv_real)i && avg[i] == (lv_real)(100 + i));
    }
}

/* Files of 3 ranks, as their checkpoint has them. */
static void write_as_3_ranks(const fixture *f)
{
    for (int rank = 0; rank < 3; rank++) {
        lv_params *params = declare(rank, 3);
        lv_real avg[N], avg_sq[N];
        const lv_shard *shard = lv_params_shard(params);
        fill_masters(params, 0, 1);
        for (int64_t k = 0; k < shard->n_buckets; k++) {
            for (int64_t i = shard->own[k].begin; i < shard->own[k].end; i++) {
                avg[shard->own[k].at + i - shard->own[k].begin] = (lv_real)(100 + i);
                avg_sq[shard->own[k].at + i - shard->own[k].begin] = (lv_real)(200 + i);
            }
        }
        const lv_rank_values values = {.params = params, .buffers = {NULL, avg, avg_sq}};
        char *path = lv_path("%s/file-%d", f->dir, rank);
        assert_int_equal(lv_rank_file_write(path, &values), LV_OK);
        free(path);
        lv_params_destroy(&params);
    }
}

static void files_of_3_ranks_are_read_by_1_and_by_2(void **state)
{
    fixture *f = *state;
    lv_param_layout whole = {.count = N};
    const lv_layout layout = {.n = 1, .params = &whole};
    write_as_3_ranks(f);
    for (int n_ranks = 1; n_ranks <= 2; n_ranks++) {
        for (int rank = 0; rank < n_ranks; rank++) {
            lv_params *params = declare(rank, n_ranks);
            lv_real avg[N], avg_sq[N];
            const lv_rank_values values = {.params = params, .buffers = {NULL, avg, avg_sq}};
            fill_masters(params, -1, 0);
            for (int file = 0; file < 3; file++) {
                lv_range *ranges = NULL;
                int64_t n = 0;
                char *path = lv_path("%s/file-%d", f->dir, file);
                assert_int_equal(lv_rank_file_ranges(&ranges, &n, path, N), LV_OK);
                assert_int_equal(lv_rank_file_read(path, ranges, n, &layout, &values), LV_OK);
                free(ranges);
                free(path);
            }
            const lv_shard *shard = lv_params_shard(params);
            for (int64_t k = 0; k < shard->n_buckets; k++) {
                for (int64_t i = shard->own[k].begin; i < shard->own[k].end; i++) {
                    int64_t at = shard->own[k].at + i - shard->own[k].begin;
                    assert_true(master(params, i) == (lv_real)i);
                    assert_true(avg[at] == (lv_real)(100 + i) && avg_sq[at] == (lv_real)(200 + i));
                }
            }
            lv_params_destroy(&params);
        }
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
        assert_int_equal(save(f, STEP_4), LV_OK);
        lie(f, lies[i].key, lies[i].value);
        assert_true(load(f, NULL, avg, avg_sq) < 0);
        assert_non_null(strstr(lv_error_message(), "step-000004"));
    }
}

static void a_file_that_the_manifest_does_not_list_is_not_whole(void **state)
{
    fixture *f = *state;
    char *dir = lv_path("%s/checkpoints/step-000004", f->dir);
    assert_int_equal(lv_checkpoint_verify(&single, dir), LV_OK);
    lie(f, "n_ranks", 2);
    assert_int_equal(lv_checkpoint_verify(&single, dir), LV_ERR_FORMAT);
    free(dir);
}

/* lv_checkpoint_find finds that, or nothing: "". */
static int find(const fixture *f, const char *name)
{
    char *found = NULL;
    int rc = lv_checkpoint_find(&single, f->dir, &found);
    assert_int_equal(found != NULL, *name != '\0');
    assert_true(!found || strstr(found, name));
    free(found);
    return rc;
}

static void checkpoints_none_of_which_is_whole_are_not_taken_for_none(void **state)
{
    fixture *f = *state;
    char *rank = lv_path("%s/checkpoints/step-000004/rank-00000.h5", f->dir);
    assert_int_equal(find(f, "step-000004"), LV_OK);
    assert_int_equal(unlink(rank), 0);
    assert_fails(find(f, ""), LV_ERR_FORMAT, "none of the checkpoints there can be used");
    assert_int_equal(lv_checkpoint_prune(f->dir, 0, 4), LV_OK);
    assert_int_equal(find(f, ""), LV_OK);
    free(rank);
}

static void a_checkpoint_under_the_name_of_another_step_is_passed_over(void **state)
{
    fixture *f = *state;
    assert_int_equal(save(f, (lv_train_state){.step = 6}), LV_OK);
    char *from = lv_checkpoint_path(f->dir, 6), *to = lv_checkpoint_path(f->dir, 9);
    assert_int_equal(lv_file_rename(from, to), LV_OK);
    assert_int_equal(find(f, "step-000004"), LV_OK);
    assert_int_equal(lv_checkpoint_verify(&single, to), LV_OK);
    free(to);
    free(from);
}

/* The file of step 4, opened to be changed. */
static hid_t open_file(const fixture *f)
{
    char *path = lv_path("%s/checkpoints/step-000004/rank-00000.h5", f->dir);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(file >= 0);
    free(path);
    return file;
}

/* Puts another dataset in the place of one of the file's. */
static void replace(const fixture *f, const char *name, hid_t type, int n_dims, hsize_t rows)
{
    hsize_t dims[2] = {rows, 2};
    hid_t file = open_file(f);
    hid_t space = n_dims ? H5Screate_simple(n_dims, dims, NULL) : H5Screate(H5S_NULL);
    assert_true(space >= 0);
    assert_true(H5Ldelete(file, name, H5P_DEFAULT) >= 0);
    hid_t set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Dclose(set) >= 0);
    H5Sclose(space);
    assert_true(H5Fclose(file) >= 0);
}

static void ranges_that_do_not_make_up_the_whole_are_refused(void **state)
{
    static const int64_t lies[][3][2] = {
        {{0, 96}, {97, 192}, {192, 288}},  /* a hole */
        {{0, 96}, {95, 192}, {192, 288}},  /* an overlap */
        {{0, 96}, {96, 192}, {192, 287}},  /* the end is missing */
        {{0, 96}, {96, 192}, {192, 289}},  /* beyond the end */
        {{-1, 96}, {96, 192}, {192, 288}}, /* before the beginning */
        {{0, 96}, {96, 96}, {96, 288}},    /* an empty one */
        {{0, 96}, {192, 288}, {96, 192}},  /* not ascending */
    };
    fixture *f = *state;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        lv_real avg[N], avg_sq[N];
        assert_int_equal(save(f, STEP_4), LV_OK);
        hid_t file = open_file(f);
        hid_t set = H5Dopen2(file, "pieces", H5P_DEFAULT);
        assert_true(H5Dwrite(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, lies[i]) >= 0);
        H5Dclose(set);
        H5Fclose(file);
        assert_int_equal(load(f, NULL, avg, avg_sq), LV_ERR_FORMAT);
        assert_non_null(strstr(lv_error_message(), "step-000004"));
    }
}

static void files_of_another_form_are_refused(void **state)
{
    const struct {
        const char *name;
        hid_t type;
        int n_dims;
        hsize_t rows;
    } forms[] = {
        {"pieces", H5T_STD_I64LE, 1, 6},
        {"pieces", H5T_IEEE_F64LE, 2, 3},
        {"pieces", H5T_STD_I64LE, 2, (hsize_t)1 << 40},
        {"pieces", H5T_STD_I64LE, 0, 0},
        {"param", H5T_IEEE_F32LE, 1, N - 1},
        {"param", H5T_IEEE_F32LE, 1, (hsize_t)1 << 40},
        {"exp_avg", H5T_STD_I32LE, 1, N},
        {"exp_avg_sq", H5T_IEEE_F32LE, 2, N},
        {"param", H5T_IEEE_F32LE, 0, 0},
    };
    fixture *f = *state;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        lv_real avg[N], avg_sq[N];
        assert_int_equal(save(f, STEP_4), LV_OK);
        replace(f, forms[i].name, forms[i].type, forms[i].n_dims, forms[i].rows);
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

static void two_files_with_the_same_ranges_are_refused(void **state)
{
    fixture *f = *state;
    lv_real avg[N], avg_sq[N];
    cJSON *root = NULL;
    char *dir = lv_checkpoint_path(f->dir, 4);
    char *path = lv_path("%s/manifest.json", dir);
    char *first = lv_path("%s/rank-00000.h5", dir), *second = lv_path("%s/rank-00001.h5", dir);
    assert_int_equal(lv_file_copy(second, first), LV_OK);
    assert_int_equal(lv_manifest_read(&root, path), LV_OK);
    cJSON_DeleteItemFromObjectCaseSensitive(root, "self_crc32");
    cJSON_SetNumberValue(cJSON_GetObjectItem(root, "n_ranks"), 2);
    assert_int_equal(lv_manifest_add_file(root, dir, "rank-00001.h5"), LV_OK);
    assert_int_equal(lv_manifest_write(path, root), LV_OK);
    assert_int_equal(lv_checkpoint_verify(&single, dir), LV_OK);
    assert_fails(load(f, NULL, avg, avg_sq), LV_ERR_FORMAT, "do not make up the 288 elements");
    cJSON_Delete(root);
    free(second);
    free(first);
    free(path);
    free(dir);
}

static void values_that_no_step_leaves_behind_are_refused(void **state)
{
    fixture *f = *state;
    lv_real avg[N], avg_sq[N];
    fill_masters(f->params, (lv_real)INFINITY, 0);
    assert_int_equal(save(f, STEP_4), LV_OK);
    assert_fails(load(f, NULL, avg, avg_sq), LV_ERR_FORMAT, "\"param\": 96 values are not finite");
    fill_masters(f->params, 0, 0);
    f->exp_avg_sq[7] = -1;
    assert_int_equal(save(f, STEP_4), LV_OK);
    assert_fails(load(f, NULL, avg, avg_sq), LV_ERR_FORMAT, "\"exp_avg_sq\": 1 values are not");
}

/* A link to a dataset of another file, which here is a pipe. */
static void data_that_are_elsewhere_are_refused_and_not_waited_for(void **state)
{
    fixture *f = *state;
    lv_real avg[N], avg_sq[N];
    char *pipe = lv_path("%s/pipe", f->dir);
    assert_int_equal(mkfifo(pipe, 0600), 0);
    alarm(20);
    hid_t file = open_file(f);
    assert_true(H5Ldelete(file, "exp_avg", H5P_DEFAULT) >= 0);
    assert_true(H5Lcreate_external(pipe, "x", file, "exp_avg", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    assert_true(H5Fclose(file) >= 0);
    assert_fails(load(f, NULL, avg, avg_sq), LV_ERR_FORMAT, "\"exp_avg\" is a link");
    alarm(0);
    free(pipe);
}

/* The manifest of step 4 with the place of a parameter changed. */
static void move_parameters(const fixture *f, double weight, double bias)
{
    char *path = lv_path("%s/checkpoints/step-000004/manifest.json", f->dir);
    cJSON *root = NULL;
    assert_int_equal(lv_manifest_read(&root, path), LV_OK);
    cJSON_DeleteItemFromObjectCaseSensitive(root, "self_crc32");
    cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "parameters");
    cJSON_SetNumberValue(cJSON_GetObjectItem(cJSON_GetArrayItem(list, 0), "begin"), weight);
    cJSON_SetNumberValue(cJSON_GetObjectItem(cJSON_GetArrayItem(list, 1), "begin"), bias);
    assert_int_equal(lv_manifest_write(path, root), LV_OK);
    cJSON_Delete(root);
    free(path);
}

static void parameters_that_were_saved_in_another_order_come_to_their_places(void **state)
{
    fixture *f = *state;
    const int n_bias = N - N_WEIGHT;
    lv_real avg[N], avg_sq[N];
    move_parameters(f, n_bias, 0);
    assert_int_equal(load(f, NULL, avg, avg_sq), LV_OK);
    for (int i = 0; i < N; i++) {
        lv_real saved = (lv_real)(i < N_WEIGHT ? n_bias + i : i - N_WEIGHT);
        assert_true(master(f->params, i) == saved && avg[i] == 100 + saved);
    }
    static const double lies[][2] = {{0, 0}, {0, 239}, {0, 241}, {-48, 192}, {48, 1}, {1e15, 0}};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        move_parameters(f, lies[i][0], lies[i][1]);
        assert_int_equal(load(f, NULL, avg, avg_sq), LV_ERR_FORMAT);
    }
}

static void pruning_keeps_what_was_just_saved_and_sets_later_steps_aside(void **state)
{
    fixture *f = *state;
    char *damaged = lv_path("%s/checkpoints/step-000009", f->dir);
    assert_int_equal(lv_dir_create(damaged), LV_OK);
    open_saver(f, 1, false);
    assert_int_equal(save(f, (lv_train_state){.step = 6}), LV_OK);
    assert_true(is_there(f, "step-000006"));
    assert_false(is_there(f, "step-000004"));
    assert_false(is_there(f, "step-000009")); /* or a resume would take it */
    assert_true(is_there(f, "step-000009.aside"));
    free(damaged);
}

/* No checkpoint can be written: where the next one is to be built there is a file. */
static char *block(const fixture *f, int64_t step)
{
    char *path = lv_path("%s/checkpoints/step-%06d.tmp", f->dir, (int)step);
    assert_int_equal(lv_file_write(path, "", 1), LV_OK);
    return path;
}

static void a_save_that_fails_ends_the_run_or_does_not_as_was_asked(void **state)
{
    fixture *f = *state;
    const lv_train_state step_5 = {.step = 5};
    lv_real avg[N], avg_sq[N];
    for (int continues = 0; continues < 2; continues++) {
        open_saver(f, 3, continues);
        assert_int_equal(save(f, STEP_4), LV_OK);
        char *path = block(f, 5);
        assert_int_equal(lv_saver_begin(f->saver, &step_5, &f->identity, f->params,
                                        &(lv_moments){LV_F32, f->exp_avg, f->exp_avg_sq}),
                         LV_OK);
        assert_int_equal(lv_saver_poll(f->saver), continues ? LV_OK : LV_ERR_IO);
        assert_fails(lv_saver_finish(f->saver), LV_ERR_IO, "the checkpoint of step 5");
        assert_non_null(strstr(lv_error_message(), "the last good one is that of step 4"));
        assert_int_equal(lv_saver_last_step(f->saver), 4);
        assert_int_equal(load(f, NULL, avg, avg_sq), LV_OK);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(save(f, step_5), LV_OK);
        assert_int_equal(lv_saver_last_step(f->saver), 5);
        free(path);
    }
}

static void what_a_killed_job_left_half_written_is_removed(void **state)
{
    fixture *f = *state;
    static const char *const left[] = {"step-000005.tmp", "step-000003.removed"};
    for (int i = 0; i < 2; i++) {
        char *dir = lv_path("%s/checkpoints/%s", f->dir, left[i]);
        assert_int_equal(lv_dir_create(dir), LV_OK);
        free(dir);
    }
    open_saver(f, 1, false);
    assert_false(is_there(f, left[0]) || is_there(f, left[1]));
    assert_true(is_there(f, "step-000004"));
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_was_saved_comes_back),
        TEST(moments_of_bf16_come_back_and_are_not_read_as_f32),
        TEST(a_checkpoint_that_does_not_name_the_moments_is_of_f32),
        TEST(what_changes_after_the_beginning_of_a_save_is_not_saved),
        TEST(files_of_3_ranks_are_read_by_1_and_by_2),
        TEST(impossible_numbers_in_the_manifest_are_refused),
        TEST(a_file_that_the_manifest_does_not_list_is_not_whole),
        TEST(checkpoints_none_of_which_is_whole_are_not_taken_for_none),
        TEST(a_checkpoint_under_the_name_of_another_step_is_passed_over),
        TEST(ranges_that_do_not_make_up_the_whole_are_refused),
        TEST(two_files_with_the_same_ranges_are_refused),
        TEST(files_of_another_form_are_refused),
        TEST(values_that_no_step_leaves_behind_are_refused),
        TEST(data_that_are_elsewhere_are_refused_and_not_waited_for),
        TEST(parameters_that_were_saved_in_another_order_come_to_their_places),
        TEST(pruning_keeps_what_was_just_saved_and_sets_later_steps_aside),
        TEST(a_save_that_fails_ends_the_run_or_does_not_as_was_asked),
        TEST(what_a_killed_job_left_half_written_is_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
