/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing a pack: the deal of shards, what is kept of an earlier run, when it stops, and its
 * messages.
 */
#include "tests/units/data/pack_fixture.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/base/lock.h"
#include "data/json/json.h"
#include "data/json/manifest.h"
#include "data/pack/format.h"

#include "data/pack/shard.h"
#include "data/pack/write/job.h"
#include "data/tokenizer/tokenizer.h"

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void pack_well(lv_pack_summary *summary, const fixture *f, int n_ranks)
{
    int rc = fixture_pack(summary, &f->options, n_ranks);
    if (rc < 0) {
        fail_msg("%d ranks: %s", n_ranks, lv_error_message());
    }
}

static void remove_file(const char *dir, const char *name)
{
    char *path = lv_path("%s/%s", dir, name);
    assert_int_equal(unlink(path), 0);
    free(path);
}

static void test_shards_are_many_but_neither_tiny_nor_huge(void **state)
{
    (void)state;
    int64_t last = 0;
    for (int64_t n = 0; n < INT64_C(100000000); n = n * 5 / 4 + 1) {
        int64_t records = lv_pack_shard_records(n), images = lv_pack_shard_images(n);
        assert_true(records >= 256 && records <= 4096 && (records & (records - 1)) == 0);
        assert_true(images >= 8 && images <= 512 && (images & (images - 1)) == 0);
        assert_true(images >= last);
        last = images;
        if (images > 8 && images < 512) {
            int64_t n_shards = lv_pack_n_shards(n, images);
            assert_true(n_shards >= 64 && n_shards <= 129);
        }
    }
    /* the case that a small set scales with: 2 ranks have the same work, to 4% */
    assert_int_equal(lv_pack_n_shards(400, lv_pack_shard_images(400)), 50);
}

/* Bad images are found by one rank and used by another. */
static void test_any_number_of_ranks_gives_the_same_bytes_and_rejects(void **state)
{
    fixture *f = *state;
    lv_pack_summary alone = {0}, team = {0};
    char *out_dir = lv_path("%s/by_team", f->dir);
    fixture_write_images(f, 600, 50); /* 3 sample and 7 image shards */
    remove_file(f->image_dir, "copy3-palette8.png");
    remove_file(f->image_dir, "copy30-progressive.jpg");
    remove_file(f->image_dir, "copy49-rgb8.png");
    pack_well(&alone, f, 1);
    assert_int_equal(alone.n_images, 47);
    assert_int_equal(alone.n_images_written, 50);
    assert_int_equal(alone.n_rejects, 36);
    assert_int_equal(alone.was_complete, 0);
    char *want = fixture_fingerprint(f->out_dir);
    f->options.out_dir = out_dir;
    for (int n_ranks = 2; n_ranks <= 9; n_ranks += n_ranks < 4 ? 1 : 5) {
        assert_int_equal(lv_dir_remove(out_dir), LV_OK);
        pack_well(&team, f, n_ranks);
        char *found = fixture_fingerprint(out_dir);
        assert_string_equal(found, want);
        assert_memory_equal(&team, &alone, sizeof team);
        free(found);
    }
    pack_well(&team, f, 2);
    assert_int_equal(team.was_complete, 1);
    assert_int_equal(team.n_images_written, 0);
    free(want);
    free(out_dir);
}

static ino_t inode_of(const char *dir, const char *kind, int k)
{
    struct stat st;
    char *path = lv_path("%s/%s-%05d.h5", dir, kind, k);
    assert_int_equal(stat(path, &st), 0);
    free(path);
    return st.st_ino;
}

static void test_only_what_is_missing_is_written_and_dealt_to_all_ranks(void **state)
{
    enum { N_SHARDS = 7 };
    fixture *f = *state;
    lv_pack_summary summary = {0};
    fixture_write_images(f, 100, 50);
    pack_well(&summary, f, 1);
    char *want = fixture_fingerprint(f->out_dir);
    for (int missing = 1; missing < 1 << N_SHARDS; missing = missing * 3 + 1) {
        ino_t before[N_SHARDS];
        for (int k = 0; k < N_SHARDS; k++) {
            before[k] = inode_of(f->out_dir, "images", k);
        }
        remove_file(f->out_dir, "manifest.json");
        for (int k = 0; k < N_SHARDS; k++) {
            char *name = lv_path("images-%05d.h5", k);
            if (missing >> k & 1) {
                remove_file(f->out_dir, name);
            }
            free(name);
        }
        pack_well(&summary, f, 3);
        char *found = fixture_fingerprint(f->out_dir);
        assert_string_equal(found, want);
        int64_t n_written = 0;
        for (int k = 0; k < N_SHARDS; k++) {
            if (missing >> k & 1) {
                n_written += k < N_SHARDS - 1 ? 8 : 2;
            } else {
                assert_true(inode_of(f->out_dir, "images", k) == before[k]);
            }
        }
        assert_int_equal(summary.n_images_written, n_written);
        free(found);
    }
    free(want);
}

static void test_the_tokenizer_goes_with_the_pack_and_is_verified(void **state)
{
    fixture *f = *state;
    lv_pack_summary summary = {0};
    lv_tokenizer *own = NULL, *copy = NULL;
    char *dir = lv_path("%s/tokenizer", f->out_dir);
    char *file = lv_path("%s/tokenizer.json", dir);
    fixture_write_records(f, 4);
    pack_well(&summary, f, 1);
    assert_int_equal(lv_tokenizer_open(&own, f->tokenizer_path), LV_OK);
    assert_int_equal(lv_tokenizer_open(&copy, dir), LV_OK);
    assert_string_equal(lv_tokenizer_fingerprint(copy), lv_tokenizer_fingerprint(own));
    assert_int_equal(fixture_verify(f), LV_OK);
    char *text = NULL;
    size_t n = 0;
    assert_int_equal(lv_file_read(&text, &n, file), LV_OK);
    text[n / 2] ^= 1;
    assert_int_equal(lv_file_write(file, text, n), LV_OK);
    assert_int_equal(fixture_verify(f), LV_ERR_FORMAT);
    assert_non_null(strstr(lv_error_message(), "tokenizer/tokenizer.json"));
    /* finished from its own copy, which is then not lost */
    text[n / 2] ^= 1;
    assert_int_equal(lv_file_write(file, text, n), LV_OK);
    char *want = fixture_fingerprint(f->out_dir);
    remove_file(f->out_dir, "manifest.json");
    f->options.tokenizer_path = dir;
    pack_well(&summary, f, 1);
    char *found = fixture_fingerprint(f->out_dir);
    assert_string_equal(found, want);
    free(found);
    free(want);
    free(text);
    lv_tokenizer_close(&own);
    lv_tokenizer_close(&copy);
    free(file);
    free(dir);
}

static int64_t n_lines(const char *dir)
{
    char *path = lv_path("%s/rejects.jsonl", dir), *text = NULL;
    size_t n = 0;
    int64_t lines = 0;
    assert_int_equal(lv_file_read(&text, &n, path), LV_OK);
    for (size_t i = 0; i < n; i++) {
        lines += text[i] == '\n';
    }
    free(text);
    free(path);
    return lines;
}

static void test_it_stops_as_soon_as_the_rejects_are_too_many(void **state)
{
    fixture *f = *state;
    lv_pack_summary summary = {0};
    char *nowhere = lv_path("%s/empty", f->dir);
    fixture_write_images(f, 3000, 200);
    assert_int_equal(lv_dir_create(nowhere), LV_OK);
    f->options.image_dir = nowhere;
    f->options.max_rejects = 0.1;
    for (int n_ranks = 1; n_ranks <= 3; n_ranks++) {
        assert_int_equal(lv_dir_remove(f->out_dir), LV_OK);
        assert_int_equal(fixture_pack(&summary, &f->options, n_ranks), LV_ERR_FORMAT);
        assert_int_equal(n_lines(f->out_dir), 1000);
        char *first = lv_path("%s/samples-00000.h5", f->out_dir);
        assert_false(lv_file_exists(first));
        char *lock = lv_path("%s/" LV_LOCK_NAME, f->out_dir);
        char *stop = lv_path("%s/stop.tmp", f->out_dir);
        assert_false(lv_file_exists(lock) || lv_file_exists(stop));
        free(lock);
        free(stop);
        free(first);
    }
    assert_int_equal(lv_dir_remove(f->out_dir), LV_OK);
    assert_int_equal(fixture_pack(&summary, &f->options, 1), LV_ERR_FORMAT);
    if (!strstr(lv_error_message(), "at least 1005 of 3000 records")) {
        fail_msg("%s", lv_error_message());
    }
    assert_non_null(strstr(lv_error_message(), "\"No such file or directory\""));
    f->options.image_dir = NULL; /* all images are good, no record is */
    for (int n_ranks = 1; n_ranks <= 2; n_ranks++) {
        assert_int_equal(lv_dir_remove(f->out_dir), LV_OK);
        assert_int_equal(fixture_pack(&summary, &f->options, n_ranks), LV_ERR_FORMAT);
        assert_int_equal(n_lines(f->out_dir), 1000);
    }
    assert_int_equal(lv_dir_remove(f->out_dir), LV_OK);
    f->options.image_dir = f->image_dir; /* and the files there are no obstacle */
    f->options.max_rejects = 0;
    pack_well(&summary, f, 2);
    assert_int_equal(summary.n_samples, 3000);
    free(nowhere);
}

static void test_like_reasons_count_as_one(void **state)
{
    fixture *f = *state;
    lv_reject_reason reasons[3];
    fixture_write(f, "rejects.jsonl",
                  "{\"index\":0,\"id\":1,\"image\":\"a/1.jpg\",\"reason\":\"/x/a/1.jpg: No such "
                  "file\"}\n"
                  "{\"index\":1,\"id\":1,\"image\":null,\"reason\":\"turn 3 is \\\"gpt\\\"\"}\n"
                  "{\"index\":2,\"id\":1,\"image\":\"b/2.jpg\",\"reason\":\"/x/b/2.jpg: No such "
                  "file\"}\n"
                  "{\"index\":3,\"id\":1,\"image\":null,\"reason\":\"turn 12 is \\\"human\\\"\"}\n"
                  "{\"index\":4,\"id\":1,\"image\":null,\"reason\":\"\\\"key\\\": \\\"odd\\\"\"}\n"
                  "{\"index\":5,\"id\":1,\"image\":null,\"reason\":\"more\"}\n"
                  "{\"index\":6,\"id\":1,\"image\":\"c\",\"reason\":\"/x/c: No such file\"}\n");
    assert_int_equal(lv_pack_reject_reasons(reasons, 3, f->dir), 3);
    assert_string_equal(reasons[0].text, "No such file");
    assert_int_equal(reasons[0].n, 3);
    assert_string_equal(reasons[0].first, "record 0: /x/a/1.jpg: No such file");
    assert_string_equal(reasons[1].text, "turn N is \"...\"");
    assert_int_equal(reasons[1].n, 2);
    assert_int_equal(reasons[2].n, 1);
    assert_string_equal(reasons[2].text, "\"key\": \"...\"");
    assert_int_equal(lv_pack_reject_reasons(reasons, 3, "/nowhere"), LV_ERR_IO);
}

static void test_a_record_that_cannot_be_read_is_a_reject_with_its_reason(void **state)
{
    fixture *f = *state;
    lv_pack_job job = {.options = &f->options};
    lv_pack_shard shard = {.kind = &LV_PACK_SAMPLES, .path = f->data_path};
    lv_prompt prompt = {0};
    lv_fail(LV_ERR_FORMAT, "byte 17: a number too large");
    assert_int_equal(lv_pack_add_record(&job, &shard, &prompt, 5, NULL), LV_OK);
    const lv_pack_column *c = &shard.columns[LV_PACK_REJECT_BYTES];
    static const char want[] =
        "{\"index\":5,\"id\":null,\"image\":null,\"reason\":\"byte 17: a number too large\"}\n";
    assert_int_equal(c->n, sizeof want - 1);
    assert_memory_equal(c->data, want, sizeof want - 1);
    f->options.strict = true;
    lv_fail(LV_ERR_FORMAT, "byte 17: a number too large");
    assert_int_equal(lv_pack_add_record(&job, &shard, &prompt, 5, NULL), LV_ERR_FORMAT);
    assert_non_null(strstr(lv_error_message(), "record 5"));
    lv_pack_shard_free(&shard);
}

static void test_a_pack_of_the_format_before_is_refused_with_what_to_do(void **state)
{
    fixture *f = *state;
    lv_pack_summary summary = {0};
    lv_pack *pack = NULL;
    cJSON *manifest = NULL;
    char *path = lv_path("%s/manifest.json", f->out_dir);
    fixture_write_records(f, 4);
    pack_well(&summary, f, 1);
    assert_int_equal(lv_manifest_read(&manifest, path), LV_OK);
    cJSON_DeleteItemFromObject(manifest, "self_crc32");
    cJSON_SetNumberValue(cJSON_GetObjectItem(manifest, "format_version"), 1);
    assert_int_equal(lv_manifest_write(path, manifest), LV_OK);
    assert_int_equal(lv_pack_open(&pack, f->out_dir), LV_ERR_UNSUPPORTED);
    assert_non_null(strstr(lv_error_message(), "pack again"));
    assert_int_equal(fixture_pack(&summary, &f->options, 1), LV_ERR_UNSUPPORTED);
    assert_non_null(strstr(lv_error_message(), f->out_dir));
    cJSON_Delete(manifest);
    free(path);
}

static void test_text_gives_the_same_bytes_with_and_without_a_folder_of_images(void **state)
{
    fixture *f = *state;
    lv_pack_summary summary = {0};
    fixture_write(f, "source.json",
                  "[{\"id\": \"t\", \"conversations\": [{\"from\": \"human\", \"value\": \"hi\"},"
                  "{\"from\": \"gpt\", \"value\": \"hello\"}]}]");
    f->options.template_name = "v1";
    pack_well(&summary, f, 2);
    char *want = fixture_fingerprint(f->out_dir);
    f->options.image_dir = NULL;
    pack_well(&summary, f, 1);
    assert_int_equal(summary.was_complete, 1);
    assert_int_equal(lv_dir_remove(f->out_dir), LV_OK);
    pack_well(&summary, f, 1);
    char *found = fixture_fingerprint(f->out_dir);
    assert_string_equal(found, want);
    free(found);
    free(want);
}

static void test_a_column_too_large_for_memory_is_written_as_any_other(void **state)
{
    enum { PIECE = 3 << 20, N_PIECES = 11 }; /* 33 MiB, in memory up to 16 */
    fixture *f = *state;
    lv_pack_identity identity = {.shard_images = 8}, found;
    char *path = lv_path("%s/images-00003.h5", f->dir);
    lv_pack_shard shard = {.kind = &LV_PACK_IMAGES, .path = path};
    lv_pack_shard loaded = {.kind = &LV_PACK_IMAGES};
    uint8_t *piece = malloc(PIECE);
    int64_t n_bytes = 0, crc = 0;
    hid_t file = H5I_INVALID_HID;
    assert_non_null(piece);
    for (int i = 0; i < N_PIECES; i++) {
        for (int at = 0; at < PIECE; at++) {
            piece[at] = (uint8_t)(at * 7 + at / 251 + i);
        }
        assert_int_equal(lv_pack_append(&shard, LV_PACK_BYTES, piece, PIECE), LV_OK);
        assert_int_equal(shard.columns[LV_PACK_BYTES].spool != NULL, i >= 5);
    }
    assert_int_equal(lv_pack_shard_write(&n_bytes, &crc, &shard, 3, &identity), LV_OK);
    uint32_t file_crc = 0;
    int64_t file_bytes = 0;
    assert_int_equal(lv_file_crc32(&file_crc, &file_bytes, path), LV_OK);
    assert_int_equal(file_bytes, n_bytes);
    assert_int_equal(file_crc, crc);
    assert_int_equal(lv_pack_shard_open(&file, &found, path, &LV_PACK_IMAGES, 3), LV_OK);
    assert_int_equal(lv_pack_shard_load(&loaded, file, path, LV_PACK_BYTES), LV_OK);
    assert_int_equal(loaded.columns[LV_PACK_BYTES].n, (int64_t)PIECE * N_PIECES);
    const uint8_t *bytes = loaded.columns[LV_PACK_BYTES].data;
    for (int64_t at = 0; at < (int64_t)PIECE * N_PIECES; at++) {
        int64_t i = at / PIECE, k = at % PIECE;
        if (bytes[at] != (uint8_t)(k * 7 + k / 251 + i)) {
            fail_msg("byte %" PRId64, at);
        }
    }
    lv_pack_shard_close(&file);
    lv_pack_shard_free(&loaded);
    lv_pack_shard_free(&shard);
    free(piece);
    free(path);
}

/* In a process of its own that may write no file longer than limit: 1 if the shard was written, 0
 * if it failed as it must, 2 otherwise. */
static int write_within(rlim_t limit, const lv_pack_shard *shard)
{
    pid_t child = fork();
    int status = 0;
    assert_true(child >= 0);
    if (child == 0) {
        const lv_pack_identity identity = {.shard_images = 8};
        struct rlimit small = {.rlim_cur = limit, .rlim_max = limit};
        int64_t n_bytes = 0, crc = 0;
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &small);
        int rc = lv_pack_shard_write(&n_bytes, &crc, shard, 0, &identity);
        char *beside = lv_file_beside(shard->path);
        bool left = lv_file_exists(beside) || lv_file_exists(shard->path);
        bool named = strstr(lv_error_message(), shard->path) != NULL;
        _exit(rc == LV_OK ? 1 : rc == LV_ERR_IO && named && !left ? 0 : 2);
    }
    assert_true(waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_a_write_that_fails_names_the_file_and_leaves_none(void **state)
{
    fixture *f = *state;
    char *path = lv_path("%s/images-00000.h5", f->dir), *bytes = calloc(1, 50000);
    lv_pack_shard shard = {.kind = &LV_PACK_IMAGES, .path = path};
    int64_t n_bytes = 0, crc = 0;
    int n_failed = 0, outcome = 0;
    assert_non_null(bytes);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(lv_pack_append(&shard, LV_PACK_BYTES, bytes, 50000), LV_OK);
        assert_int_equal(lv_pack_append(&shard, LV_PACK_NAME_BYTES, bytes, 5000), LV_OK);
    }
    for (rlim_t limit = 0; outcome != 1; limit += limit < 500000 ? 20000 : 1500, n_failed++) {
        outcome = write_within(limit, &shard);
        assert_int_not_equal(outcome, 2);
    }
    assert_true(n_failed > 30);
    assert_int_equal(lv_pack_seal_check(path, &n_bytes, &crc), LV_OK);
    lv_pack_shard_free(&shard);
    free(bytes);
    free(path);
}

static void test_names_are_numbered_once_and_found(void **state)
{
    enum { N = 20000 };
    lv_pack_names names = {0};
    char name[64];
    (void)state;
    assert_int_equal(lv_pack_names_find(&names, "none"), -1);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++) {
            snprintf(name, sizeof name, "folder%d/%d.jpg", i % 7, i);
            assert_int_equal(lv_pack_names_add(&names, name, 3 * i + round, round == 0 || i % 2),
                             LV_OK);
        }
    }
    assert_int_equal(names.n, N);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "folder%d/%d.jpg", i % 7, i);
        assert_int_equal(lv_pack_names_find(&names, name), i);
        assert_string_equal(names.items[i].name, name);
        assert_int_equal(names.items[i].first_record, 3 * i);
        assert_int_equal(names.items[i].n_led, 1 + i % 2);
        assert_null(lv_pack_names_reason(&names, i));
    }
    assert_int_equal(lv_pack_names_find(&names, "folder0/1.jpg"), -1);
    assert_int_equal(lv_pack_names_set_reason(&names, 5, "why"), LV_OK);
    assert_string_equal(lv_pack_names_reason(&names, 5), "why");
    assert_null(lv_pack_names_reason(&names, 6));
    lv_pack_names_free(&names);
}

static void test_a_folder_has_one_lock_that_a_dead_holder_does_not_keep(void **state)
{
    fixture *f = *state;
    int first = -1, second = -1;
    char *path = lv_path("%s/" LV_LOCK_NAME, f->dir), *own = lv_path("process %d", (int)getpid());
    fixture_write(f, LV_LOCK_NAME, "somebody who died, process 1\n");
    assert_int_equal(lv_lock_take(&first, f->dir), LV_OK);
    assert_int_equal(lv_lock_take(&second, f->dir), LV_ERR_CONFIG);
    assert_int_equal(second, -1);
    assert_non_null(strstr(lv_error_message(), own));
    lv_lock_release(&first, f->dir);
    assert_int_equal(first, -1);
    assert_false(lv_file_exists(path));
    assert_int_equal(lv_lock_take(&second, f->dir), LV_OK);
    lv_lock_release(&second, f->dir);
    free(path);
    free(own);
}

#define PACK_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shards_are_many_but_neither_tiny_nor_huge),
        PACK_TEST(test_any_number_of_ranks_gives_the_same_bytes_and_rejects),
        PACK_TEST(test_only_what_is_missing_is_written_and_dealt_to_all_ranks),
        PACK_TEST(test_the_tokenizer_goes_with_the_pack_and_is_verified),
        PACK_TEST(test_it_stops_as_soon_as_the_rejects_are_too_many),
        PACK_TEST(test_like_reasons_count_as_one),
        PACK_TEST(test_a_record_that_cannot_be_read_is_a_reject_with_its_reason),
        PACK_TEST(test_a_pack_of_the_format_before_is_refused_with_what_to_do),
        PACK_TEST(test_text_gives_the_same_bytes_with_and_without_a_folder_of_images),
        PACK_TEST(test_a_column_too_large_for_memory_is_written_as_any_other),
        PACK_TEST(test_a_write_that_fails_names_the_file_and_leaves_none),
        cmocka_unit_test(test_names_are_numbered_once_and_found),
        PACK_TEST(test_a_folder_has_one_lock_that_a_dead_holder_does_not_keep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
