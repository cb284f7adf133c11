/* SPDX-License-Identifier: Apache-2.0
 *
 * data/pack/pack.h, written and read back: the same bytes for any number of ranks, nothing lost
 * silently, nothing damaged read.
 */
#include "tests/units/data/pack_fixture.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/chat/template.h"
#include "data/json/json.h"
#include "data/json/manifest.h"
#include "data/pack/format.h"
#include "data/tokenizer/tokenizer.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

static void pack_well(const lv_pack_options *options)
{
    lv_pack_summary summary = {0};
    if (lv_pack_write(&summary, options, NULL) < 0) {
        fail_msg("%s", lv_error_message());
    }
}

static lv_pack *open_pack(const char *dir)
{
    lv_pack *pack = NULL;
    if (lv_pack_open(&pack, dir) < 0) {
        fail_msg("%s", lv_error_message());
    }
    return pack;
}

static void test_samples_and_images_come_back(void **state)
{
    fixture *f = *state;
    fixture_write_records(f, 6);
    pack_well(&f->options);
    lv_pack *pack = open_pack(f->out_dir);
    lv_tokenizer *tokenizer = NULL;
    assert_int_equal(lv_tokenizer_open(&tokenizer, f->tokenizer_path), LV_OK);
    assert_int_equal(lv_pack_n_samples(pack), 6);
    assert_string_equal(lv_pack_template(pack), "plain");
    assert_string_equal(lv_pack_tokenizer_fingerprint(pack), lv_tokenizer_fingerprint(tokenizer));
    for (int i = 0; i < 6; i++) {
        const lv_sample_counts *c = &lv_pack_counts(pack)[i];
        int32_t tokens[256];
        uint8_t supervised[256];
        int64_t image = -1;
        char *id = NULL, *text = NULL, *want = lv_path("caption number %d\n", i);
        char *want_id = lv_path("r%d", i);
        assert_true(c->n_tokens < 256);
        assert_int_equal(c->n_images, 1);
        assert_int_equal(lv_pack_read_sample(pack, i, tokens, supervised, &image, &id), LV_OK);
        assert_int_equal(image, i % 4);
        assert_string_equal(id, want_id);
        int first = c->n_tokens - c->n_supervised; /* plain: the caption is learnt, all of it */
        assert_int_equal(tokens[first - 1], LV_IMAGE_TOKEN);
        assert_int_equal(supervised[first - 1], 0);
        assert_int_equal(supervised[first], 1);
        assert_int_equal(
            lv_tokenizer_decode(tokenizer, tokens + first, (size_t)c->n_supervised, &text), LV_OK);
        assert_string_equal(text[0] == ' ' ? text + 1 : text, want);
        free(text);
        free(id);
        free(want);
        free(want_id);
    }
    lv_image image = {0};
    assert_int_equal(lv_pack_read_image(pack, 0, &image), LV_OK);
    assert_int_equal(image.width, 37);
    assert_int_equal(image.height, 29);
    lv_image_free(&image);
    lv_tokenizer_close(&tokenizer);
    lv_pack_close(&pack);
}

/* More records than a shard holds, so that three ranks have work and a shard can be missing. */
enum { MANY = 2 * 256 + 10 };

static void test_any_number_of_ranks_writes_the_same_bytes(void **state)
{
    fixture *f = *state;
    lv_pack_summary alone = {0}, team = {0};
    char *out_dir = lv_path("%s/by_team", f->dir);
    fixture_write_records(f, MANY);
    assert_int_equal(fixture_pack(&alone, &f->options, 1), LV_OK);
    char *want = fixture_fingerprint(f->out_dir);
    f->options.out_dir = out_dir;
    for (int n_ranks = 1; n_ranks <= 5; n_ranks += 2) {
        assert_int_equal(lv_dir_remove(out_dir), LV_OK);
        assert_int_equal(fixture_pack(&team, &f->options, n_ranks), LV_OK);
        char *found = fixture_fingerprint(out_dir);
        assert_string_equal(found, want);
        assert_memory_equal(&team, &alone, sizeof team);
        free(found);
    }
    free(want);
    free(out_dir);
}

static void remove_file(const char *dir, const char *name)
{
    char *path = lv_path("%s/%s", dir, name);
    assert_int_equal(unlink(path), 0);
    free(path);
}

static void test_a_pack_cut_off_between_shards_is_finished_with_the_same_bytes(void **state)
{
    fixture *f = *state;
    lv_pack_summary summary = {0};
    fixture_write_records(f, MANY);
    pack_well(&f->options);
    char *want = fixture_fingerprint(f->out_dir);
    static const char *const lost[][3] = {{"manifest.json"},
                                          {"manifest.json", "samples-00001.h5"},
                                          {"manifest.json", "rejects.jsonl", "images-00000.h5"}};
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < 3 && lost[i][k]; k++) {
            remove_file(f->out_dir, lost[i][k]);
        }
        fixture_write(f, "pack/samples-00001.h5.tmp", "half a shard");
        char *kept = lv_path("%s/samples-00000.h5", f->out_dir);
        struct stat before, after;
        assert_int_equal(stat(kept, &before), 0);
        assert_int_equal(fixture_pack(&summary, &f->options, 2), LV_OK);
        char *found = fixture_fingerprint(f->out_dir);
        assert_string_equal(found, want);
        assert_int_equal(stat(kept, &after), 0);
        assert_int_equal(after.st_ino, before.st_ino); /* kept, not written again */
        free(found);
        free(kept);
    }
    free(want);
}

static void flip(const char *path, size_t at)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
    assert_true(fputc(byte ^ 0x20, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static uint32_t add_to(uint32_t digest, const void *data, size_t n)
{
    return (uint32_t)crc32_z(digest, data, n);
}

/* Reads all that there is, into a digest of it. returns the first error */
static int read_open(lv_pack *pack, uint32_t *digest)
{
    int rc = LV_OK;
    *digest = 0;
    for (int64_t i = 0; rc == LV_OK && i < lv_pack_n_samples(pack); i++) {
        const lv_sample_counts *c = &lv_pack_counts(pack)[i];
        size_t n = (size_t)c->n_tokens;
        int32_t *tokens = malloc(n * sizeof *tokens);
        uint8_t *supervised = malloc(n);
        int64_t *images = malloc(((size_t)c->n_images + 1) * sizeof *images);
        char *id = NULL;
        assert_true(tokens && supervised && images);
        rc = lv_pack_read_sample(pack, i, tokens, supervised, images, &id);
        if (rc == LV_OK) {
            *digest = add_to(*digest, c, sizeof *c);
            *digest = add_to(*digest, tokens, n * sizeof *tokens);
            *digest = add_to(*digest, supervised, n);
            *digest = add_to(*digest, id, strlen(id));
        }
        for (int32_t k = 0; rc == LV_OK && k < c->n_images; k++) {
            lv_image image = {0};
            rc = lv_pack_read_image(pack, images[k], &image);
            if (rc == LV_OK) {
                *digest =
                    add_to(*digest, image.rgb, (size_t)image.width * (size_t)image.height * 3);
            }
            lv_image_free(&image);
        }
        free(id);
        free(tokens);
        free(supervised);
        free(images);
    }
    return rc;
}

static int read_all(const char *dir, uint32_t *digest)
{
    lv_pack *pack = NULL;
    int rc = lv_pack_open(&pack, dir);
    rc = rc < 0 ? rc : read_open(pack, digest);
    lv_pack_close(&pack);
    return rc;
}

static void test_a_damaged_shard_is_written_again_when_a_pack_is_finished(void **state)
{
    fixture *f = *state;
    fixture_write_records(f, 20);
    pack_well(&f->options);
    char *want = fixture_fingerprint(f->out_dir);
    static const char *const names[] = {"samples-00000.h5", "images-00000.h5"};
    for (size_t i = 0; i < 2; i++) {
        char *path = lv_path("%s/%s", f->out_dir, names[i]);
        char *bytes = NULL;
        size_t n = 0;
        assert_int_equal(lv_file_read(&bytes, &n, path), LV_OK);
        for (size_t at = 0; at < n; at += n / 40) {
            remove_file(f->out_dir, "manifest.json");
            flip(path, at);
            pack_well(&f->options);
            char *found = fixture_fingerprint(f->out_dir);
            assert_string_equal(found, want);
            free(found);
        }
        free(bytes);
        free(path);
    }
    free(want);
}

static void test_verify_finds_a_change_in_any_file_at_any_place(void **state)
{
    fixture *f = *state;
    fixture_write_records(f, 5);
    f->options.max_rejects = 1.0;
    remove_file(f->image_dir, "rgb8.png"); /* so that rejects.jsonl is not empty */
    pack_well(&f->options);
    static const char *const names[] = {"samples-00000.h5", "images-00000.h5", "rejects.jsonl",
                                        "manifest.json"};
    lv_pack *pack = NULL, *damaged = NULL;
    assert_int_equal(lv_pack_open(&pack, f->out_dir), LV_OK);
    assert_int_equal(lv_pack_verify(pack, NULL), LV_OK);
    for (size_t i = 0; i < 4; i++) {
        char *path = lv_path("%s/%s", f->out_dir, names[i]);
        char *bytes = NULL;
        size_t n = 0;
        assert_int_equal(lv_file_read(&bytes, &n, path), LV_OK);
        assert_true(n > 0);
        for (size_t at = 0; at<n; at += n> 1000 ? 7 : 1) {
            flip(path, at);
            int rc = strcmp(names[i], "manifest.json") == 0 ? lv_pack_open(&damaged, f->out_dir)
                                                            : lv_pack_verify(pack, NULL);
            if (rc != LV_ERR_FORMAT || !strstr(lv_error_message(), names[i])) {
                fail_msg("%s, byte %zu of %zu: \"%s\"", names[i], at, n, lv_error_message());
            }
            flip(path, at);
        }
        free(bytes);
        free(path);
    }
    assert_int_equal(lv_pack_verify(pack, NULL), LV_OK);
    lv_pack_close(&pack);
}

/* HDF5 leaves bytes that nothing reads; of those that are read, none may come out changed. */
static void test_reading_a_damaged_shard_fails_by_name_or_gives_what_was_written(void **state)
{
    fixture *f = *state;
    uint32_t want = 0, found = 0;
    fixture_write_records(f, 5);
    pack_well(&f->options);
    assert_int_equal(read_all(f->out_dir, &want), LV_OK);
    static const char *const names[] = {"samples-00000.h5", "images-00000.h5"};
    for (size_t i = 0; i < 2; i++) {
        char *path = lv_path("%s/%s", f->out_dir, names[i]);
        char *bytes = NULL;
        size_t n = 0, n_found = 0, n_tried = 0;
        assert_int_equal(lv_file_read(&bytes, &n, path), LV_OK);
        for (size_t at = 0; at < n; at += 11, n_tried++) {
            flip(path, at);
            int rc = read_all(f->out_dir, &found);
            if (rc == LV_OK ? found != want : !strstr(lv_error_message(), names[i])) {
                fail_msg("%s, byte %zu: \"%s\"", names[i], at, lv_error_message());
            }
            n_found += rc < 0;
            flip(path, at);
        }
        assert_true(n_found > n_tried / 4);
        free(bytes);
        free(path);
    }
    assert_int_equal(read_all(f->out_dir, &found), LV_OK);
    assert_int_equal(found, want);
}

typedef struct {
    lv_pack *pack;
    uint32_t digest;
    int rc;
} reading;

static void *read_on_thread(void *context)
{
    reading *r = context;
    r->rc = read_open(r->pack, &r->digest);
    return NULL;
}

static void test_several_threads_read_what_one_reads(void **state)
{
    enum { N_THREADS = 4 };
    fixture *f = *state;
    reading readings[N_THREADS];
    pthread_t threads[N_THREADS];
    uint32_t want = 0;
    fixture_write_records(f, MANY);
    pack_well(&f->options);
    assert_int_equal(read_all(f->out_dir, &want), LV_OK);
    lv_pack *pack = open_pack(f->out_dir);
    for (int i = 0; i < N_THREADS; i++) {
        readings[i] = (reading){.pack = pack};
        assert_int_equal(pthread_create(&threads[i], NULL, read_on_thread, &readings[i]), 0);
    }
    for (int i = 0; i < N_THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(readings[i].rc, LV_OK);
        assert_int_equal(readings[i].digest, want);
    }
    lv_pack_close(&pack);
}

static void test_a_shard_cut_short_or_missing_is_refused_by_name(void **state)
{
    fixture *f = *state;
    lv_pack *pack = NULL;
    fixture_write_records(f, 5);
    pack_well(&f->options);
    static const char *const names[] = {"samples-00000.h5", "images-00000.h5", "manifest.json"};
    for (size_t i = 0; i < 3; i++) {
        char *path = lv_path("%s/%s", f->out_dir, names[i]);
        char *bytes = NULL;
        size_t n = 0;
        assert_int_equal(lv_file_read(&bytes, &n, path), LV_OK);
        assert_int_equal(truncate(path, (long)n - 1), 0);
        assert_int_equal(lv_pack_open(&pack, f->out_dir), LV_ERR_FORMAT);
        assert_non_null(strstr(lv_error_message(), names[i]));
        assert_int_equal(lv_file_write(path, bytes, n), LV_OK);
        free(bytes);
        free(path);
    }
    remove_file(f->out_dir, "samples-00000.h5");
    assert_true(lv_pack_open(&pack, f->out_dir) < 0);
    assert_non_null(strstr(lv_error_message(), "samples-00000.h5"));
    remove_file(f->out_dir, "manifest.json");
    assert_true(lv_pack_open(&pack, f->out_dir) < 0);
    assert_null(pack);
}

static void set_total(const char *path, const char *key, double *value)
{
    cJSON *manifest = NULL;
    assert_int_equal(lv_manifest_read(&manifest, path), LV_OK);
    cJSON_DeleteItemFromObjectCaseSensitive(manifest, "self_crc32");
    cJSON *number =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(manifest, "totals"), key);
    double old = cJSON_GetNumberValue(number);
    cJSON_SetNumberValue(number, *value);
    assert_int_equal(lv_manifest_write(path, manifest), LV_OK);
    *value = old;
    cJSON_Delete(manifest);
}

static void test_totals_that_cannot_be_are_refused_though_the_checksum_fits(void **state)
{
    static const struct {
        const char *key;
        double value;
    } wrong[] = {{"records", 6},      {"records", -1}, {"records", 9007199254740992.0},
                 {"rejects", 1},      {"rejects", -1}, {"samples", 4},
                 {"images", 1 << 20}, {"images", -1},  {"tokens", 1}};
    fixture *f = *state;
    lv_pack *pack = NULL;
    fixture_write_records(f, 5);
    pack_well(&f->options);
    char *path = lv_path("%s/manifest.json", f->out_dir);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        double value = wrong[i].value;
        set_total(path, wrong[i].key, &value);
        assert_int_equal(lv_pack_open(&pack, f->out_dir), LV_ERR_FORMAT);
        set_total(path, wrong[i].key, &value);
    }
    pack = open_pack(f->out_dir);
    lv_pack_close(&pack);
    free(path);
}

static const char bad_records[] =
    "[{\"id\": \"good\", \"image\": \"baseline.jpg\", \"conversations\": ["
    "{\"from\": \"human\", \"value\": \"<image>\"}, {\"from\": \"gpt\", \"value\": \"a cat\"}]},\n"
    "{\"id\": 7, \"image\": \"missing.jpg\", \"conversations\": ["
    "{\"from\": \"human\", \"value\": \"<image>\"}, {\"from\": \"gpt\", \"value\": \"a cat\"}]},\n"
    "{\"id\": \"cut\", \"image\": \"cut.jpg\", \"conversations\": ["
    "{\"from\": \"human\", \"value\": \"<image>\"}, {\"from\": \"gpt\", \"value\": \"a cat\"}]},\n"
    "{\"id\": \"turns\", \"image\": \"baseline.jpg\", \"conversations\": ["
    "{\"from\": \"human\", \"value\": \"<image>\"}, {\"from\": \"human\", \"value\": \"a "
    "cat\"}]},\n"
    "{\"id\": \"out\", \"image\": \"../images/baseline.jpg\", \"conversations\": ["
    "{\"from\": \"human\", \"value\": \"<image>\"}, {\"from\": \"gpt\", \"value\": \"a cat\"}]},\n"
    "{\"id\": \"root\", \"image\": \"/etc/passwd\", \"conversations\": ["
    "{\"from\": \"human\", \"value\": \"<image>\"}, {\"from\": \"gpt\", \"value\": \"a cat\"}]},\n"
    "{\"id\": \"shape\", \"image\": \"baseline.jpg\"},\n"
    "17]\n";

static void write_bad_records(const fixture *f)
{
    char *whole = lv_path("%s/baseline.jpg", f->image_dir);
    char *cut = lv_path("%s/cut.jpg", f->image_dir);
    assert_int_equal(lv_file_copy(cut, whole), LV_OK);
    assert_int_equal(truncate(cut, 400), 0);
    fixture_write(f, "source.json", bad_records);
    free(whole);
    free(cut);
}

static void test_every_bad_record_is_listed_with_its_reason(void **state)
{
    fixture *f = *state;
    lv_pack_summary summary = {0};
    static const struct {
        int index;
        const char *id, *image, *reason;
    } want[] = {{1, "7", "\"missing.jpg\"", "missing.jpg: No such file"},
                {2, "\"cut\"", "\"cut.jpg\"", "JPEG: "},
                {3, "\"turns\"", "\"baseline.jpg\"", "turn"},
                {4, "\"out\"", "\"../images/baseline.jpg\"", "folder"},
                {5, "\"root\"", "\"/etc/passwd\"", "folder"},
                {6, "\"shape\"", "null", "conversations"},
                {7, "null", "null", "object"}};
    write_bad_records(f);
    assert_int_equal(fixture_pack(&summary, &f->options, 1), LV_OK);
    assert_int_equal(summary.n_records, 8);
    assert_int_equal(summary.n_samples, 1);
    assert_int_equal(summary.n_rejects, 7);
    assert_int_equal(summary.n_images, 1);
    char *path = lv_path("%s/rejects.jsonl", f->out_dir), *text = NULL;
    size_t n = 0;
    assert_int_equal(lv_file_read(&text, &n, path), LV_OK);
    char *line = text;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        char *end = strchr(line, '\n');
        cJSON *reject = NULL;
        assert_non_null(end);
        assert_int_equal(lv_json_parse(&reject, line, (size_t)(end - line)), LV_OK);
        char *id = cJSON_PrintUnformatted(cJSON_GetObjectItem(reject, "id"));
        char *image = cJSON_PrintUnformatted(cJSON_GetObjectItem(reject, "image"));
        const char *reason = cJSON_GetObjectItem(reject, "reason")->valuestring;
        assert_int_equal(cJSON_GetObjectItem(reject, "index")->valueint, want[i].index);
        assert_string_equal(id, want[i].id);
        assert_string_equal(image, want[i].image);
        if (!strstr(reason, want[i].reason)) {
            fail_msg("record %d: \"%s\" has no \"%s\"", want[i].index, reason, want[i].reason);
        }
        cJSON_free(id);
        cJSON_free(image);
        cJSON_Delete(reject);
        line = end + 1;
    }
    assert_int_equal(*line, '\0');
    assert_int_equal(fixture_verify(f), LV_OK);
    free(text);
    free(path);
}

static void test_strict_stops_and_a_fraction_limits_and_nothing_is_no_pack(void **state)
{
    fixture *f = *state;
    lv_pack_summary summary = {0};
    lv_pack *pack = NULL;
    write_bad_records(f);
    f->options.strict = true;
    assert_int_equal(fixture_pack(&summary, &f->options, 1), LV_ERR_FORMAT);
    assert_non_null(strstr(lv_error_message(), "record 1"));
    assert_non_null(strstr(lv_error_message(), "missing.jpg"));
    f->options.strict = false;
    f->options.max_rejects = 6.5 / 8;
    assert_int_equal(fixture_pack(&summary, &f->options, 2), LV_ERR_FORMAT);
    assert_int_equal(fixture_pack(&summary, &f->options, 1), LV_ERR_FORMAT);
    assert_non_null(strstr(lv_error_message(), "7 of 8"));
    assert_true(lv_pack_open(&pack, f->out_dir) < 0); /* no manifest, so no pack */
    f->options.max_rejects = 7.0 / 8;
    assert_int_equal(fixture_pack(&summary, &f->options, 1), LV_OK);
    f->options.max_rejects = 0.1; /* of a finished pack, too */
    assert_int_equal(fixture_pack(&summary, &f->options, 1), LV_ERR_FORMAT);
    assert_int_equal(lv_dir_remove(f->out_dir), LV_OK);
    f->options.max_rejects = 1.0;
    fixture_write(f, "source.json", "[17, 18]");
    assert_int_equal(fixture_pack(&summary, &f->options, 1), LV_ERR_FORMAT);
    fixture_write(f, "source.json", "[]");
    assert_int_equal(fixture_pack(&summary, &f->options, 1), LV_ERR_FORMAT);
    assert_non_null(strstr(lv_error_message(), "no samples"));
}

static void test_what_was_mended_after_a_failure_is_seen(void **state)
{
    fixture *f = *state;
    lv_pack_summary summary = {0};
    fixture_write_records(f, 8);
    f->options.max_rejects = 0.0;
    remove_file(f->image_dir, "baseline.jpg");
    assert_int_equal(fixture_pack(&summary, &f->options, 1), LV_ERR_FORMAT);
    char *from = lv_path("%s/progressive.jpg", f->image_dir);
    char *to = lv_path("%s/baseline.jpg", f->image_dir);
    assert_int_equal(lv_file_copy(to, from), LV_OK);
    assert_int_equal(fixture_pack(&summary, &f->options, 1), LV_OK);
    assert_int_equal(summary.n_samples, 8);
    uint32_t digest = 0;
    assert_int_equal(read_all(f->out_dir, &digest), LV_OK);
    free(from);
    free(to);
}

static void test_a_folder_with_another_pack_is_refused_with_the_difference(void **state)
{
    fixture *f = *state;
    lv_pack_summary summary = {0};
    fixture_write_records(f, 5);
    pack_well(&f->options);
    char *before = fixture_fingerprint(f->out_dir);
    for (int finished = 1; finished >= 0; finished--) {
        lv_pack_options other = f->options;
        other.template_name = "v1";
        assert_int_equal(fixture_pack(&summary, &other, 1), LV_ERR_CONFIG);
        assert_non_null(strstr(lv_error_message(), "template is plain, not v1"));
        other = f->options;
        other.store_rgb = true;
        other.image_size = 14;
        assert_int_equal(fixture_pack(&summary, &other, 1), LV_ERR_CONFIG);
        assert_non_null(strstr(lv_error_message(), "store is original, not rgb"));
        fixture_write_records(f, 6);
        assert_int_equal(fixture_pack(&summary, &f->options, 1), LV_ERR_CONFIG);
        assert_non_null(strstr(lv_error_message(), "source_crc32"));
        fixture_write_records(f, 5);
        if (finished) {
            char *after = fixture_fingerprint(f->out_dir);
            assert_string_equal(after, before);
            free(after);
            remove_file(f->out_dir, "manifest.json");
        }
    }
    free(before);
}

static void test_rgb_holds_the_pixels_that_the_original_would_give(void **state)
{
    fixture *f = *state;
    static const lv_aspect aspects[] = {LV_ASPECT_SQUARE, LV_ASPECT_PAD};
    fixture_write_records(f, 4);
    pack_well(&f->options);
    lv_pack *original = open_pack(f->out_dir);
    lv_aspect aspect = LV_ASPECT_SQUARE;
    assert_int_equal(lv_pack_stored_size(original, &aspect), 0);
    for (size_t a = 0; a < 2; a++) {
        lv_pack_options options = f->options;
        char *out_dir = lv_path("%s/rgb%zu", f->dir, a);
        options.out_dir = out_dir;
        options.store_rgb = true;
        options.image_size = 28;
        options.aspect = aspects[a];
        pack_well(&options);
        lv_pack *rgb = open_pack(out_dir);
        assert_int_equal(lv_pack_stored_size(rgb, &aspect), 28);
        assert_int_equal(aspect, aspects[a]);
        for (int64_t i = 0; i < 4; i++) {
            lv_image image = {0}, square = {0}, stored = {0};
            assert_int_equal(lv_pack_read_image(original, i, &image), LV_OK);
            assert_int_equal(lv_image_square(&square, &image, 28, aspects[a]), LV_OK);
            assert_int_equal(lv_pack_read_image(rgb, i, &stored), LV_OK);
            assert_int_equal(stored.width, 28);
            assert_int_equal(stored.height, 28);
            assert_memory_equal(stored.rgb, square.rgb, 28 * 28 * 3);
            lv_image_free(&image);
            lv_image_free(&square);
            lv_image_free(&stored);
        }
        lv_pack_close(&rgb);
        free(out_dir);
    }
    lv_pack_close(&original);
}

static void test_text_only_needs_no_folder_and_an_image_without_one_is_rejected(void **state)
{
    fixture *f = *state;
    lv_pack_summary summary = {0};
    fixture_write(f, "source.json",
                  "[{\"id\": \"t\", \"conversations\": [{\"from\": \"human\", \"value\": \"hi\"},"
                  "{\"from\": \"gpt\", \"value\": \"hello\"}]},"
                  "{\"id\": \"i\", \"image\": \"baseline.jpg\", \"conversations\": ["
                  "{\"from\": \"human\", \"value\": \"<image>\"},"
                  "{\"from\": \"gpt\", \"value\": \"hello\"}]}]");
    f->options.image_dir = NULL;
    f->options.template_name = "v1";
    assert_int_equal(fixture_pack(&summary, &f->options, 1), LV_OK);
    assert_int_equal(summary.n_samples, 1);
    assert_int_equal(summary.n_rejects, 1);
    assert_int_equal(summary.n_images, 0);
    lv_pack *pack = open_pack(f->out_dir);
    assert_int_equal(lv_pack_counts(pack)[0].n_images, 0);
    assert_int_equal(lv_pack_counts(pack)[0].n_words, 2);
    lv_pack_close(&pack);
    uint32_t digest = 0;
    assert_int_equal(read_all(f->out_dir, &digest), LV_OK);
}

static void test_impossible_options_are_refused(void **state)
{
    fixture *f = *state;
    lv_pack_summary summary = {0};
    lv_pack_options bad[5];
    fixture_write_records(f, 4);
    for (int i = 0; i < 5; i++) {
        bad[i] = f->options;
    }
    bad[0].template_name = "v9";
    bad[1].store_rgb = true; /* of size 0 */
    bad[2].max_rejects = 1.5;
    bad[3].image_dir = "/nowhere";
    bad[4].image_size = 336; /* of files kept as found */
    for (int i = 0; i < 5; i++) {
        assert_int_equal(fixture_pack(&summary, &bad[i], 1), LV_ERR_CONFIG);
        assert_false(lv_file_exists(f->out_dir));
    }
}

#define PACK_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PACK_TEST(test_samples_and_images_come_back),
        PACK_TEST(test_any_number_of_ranks_writes_the_same_bytes),
        PACK_TEST(test_a_pack_cut_off_between_shards_is_finished_with_the_same_bytes),
        PACK_TEST(test_a_damaged_shard_is_written_again_when_a_pack_is_finished),
        PACK_TEST(test_verify_finds_a_change_in_any_file_at_any_place),
        PACK_TEST(test_reading_a_damaged_shard_fails_by_name_or_gives_what_was_written),
        PACK_TEST(test_several_threads_read_what_one_reads),
        PACK_TEST(test_a_shard_cut_short_or_missing_is_refused_by_name),
        PACK_TEST(test_totals_that_cannot_be_are_refused_though_the_checksum_fits),
        PACK_TEST(test_every_bad_record_is_listed_with_its_reason),
        PACK_TEST(test_strict_stops_and_a_fraction_limits_and_nothing_is_no_pack),
        PACK_TEST(test_what_was_mended_after_a_failure_is_seen),
        PACK_TEST(test_a_folder_with_another_pack_is_refused_with_the_difference),
        PACK_TEST(test_rgb_holds_the_pixels_that_the_original_would_give),
        PACK_TEST(test_text_only_needs_no_folder_and_an_image_without_one_is_rejected),
        PACK_TEST(test_impossible_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
