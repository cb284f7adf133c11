/* SPDX-License-Identifier: Apache-2.0
 *
 * data/json/manifest.h: every change is found.
 */
#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "data/json/manifest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char dir[] = "/tmp/llava-manifest-XXXXXX";
static char *path;

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(dir)) {
        return -1;
    }
    path = lv_path("%s/manifest.json", dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(path);
    return lv_dir_remove(dir);
}

static void write_one(void)
{
    char *data = lv_path("%s/data", dir);
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "format", "a test");
    assert_int_equal(lv_file_write(data, "123456789", 9), LV_OK);
    assert_int_equal(lv_manifest_add_file(root, dir, "data"), LV_OK);
    assert_int_equal(lv_manifest_write(path, root), LV_OK);
    cJSON_Delete(root);
    free(data);
}

static void test_what_was_written_is_read_and_lists_zlibs_crc(void **state)
{
    (void)state;
    cJSON *root = NULL;
    write_one();
    assert_int_equal(lv_manifest_read(&root, path), LV_OK);
    const cJSON *entry = lv_json_find(lv_json_find(root, "files"), "data");
    assert_string_equal(lv_json_find(entry, "crc32")->valuestring, "cbf43926"); /* of 123456789 */
    assert_int_equal(lv_json_find(entry, "bytes")->valueint, 9);
    assert_int_equal(lv_manifest_check_files(root, dir, NULL), LV_OK);
    cJSON_Delete(root);
}

static void test_every_changed_byte_and_every_cut_is_found(void **state)
{
    (void)state;
    char *text = NULL;
    size_t n = 0;
    cJSON *root = NULL;
    write_one();
    assert_int_equal(lv_file_read(&text, &n, path), LV_OK);
    for (size_t i = 0; i < n; i++) {
        text[i] ^= 0x04;
        assert_int_equal(lv_file_write(path, text, n), LV_OK);
        text[i] ^= 0x04;
        if (lv_manifest_read(&root, path) != LV_ERR_FORMAT) {
            fail_msg("a change of byte %zu of %zu was not found", i, n);
        }
        assert_int_equal(lv_file_write(path, text, i), LV_OK);
        assert_int_equal(lv_manifest_read(&root, path), LV_ERR_FORMAT);
        assert_non_null(strstr(lv_error_message(), path));
    }
    assert_null(root);
    free(text);
}

static void check_refused(const char *data, size_t n, const char *message)
{
    cJSON *root = NULL;
    char *data_path = lv_path("%s/data", dir);
    write_one();
    assert_int_equal(lv_manifest_read(&root, path), LV_OK);
    if (data) {
        assert_int_equal(lv_file_write(data_path, data, n), LV_OK);
    } else {
        assert_int_equal(remove(data_path), 0);
    }
    assert_true(lv_manifest_check_files(root, dir, NULL) < 0);
    assert_non_null(strstr(lv_error_message(), data_path));
    assert_non_null(strstr(lv_error_message(), message));
    cJSON_Delete(root);
    free(data_path);
}

static void test_a_listed_file_that_changed_is_named(void **state)
{
    (void)state;
    check_refused("123456788", 9, "CRC-32");
    check_refused("12345678", 8, "8 bytes");
    check_refused(NULL, 0, "No such file");
}

static void test_a_checksum_that_is_none_is_refused_and_not_repeated(void **state)
{
    static const char *const lies[] = {"\x1b[2J", "", "cbf43926 ", "CBF43926"};
    (void)state;
    cJSON *root = NULL;
    write_one();
    assert_int_equal(lv_manifest_read(&root, path), LV_OK);
    cJSON *entry = cJSON_GetObjectItem(cJSON_GetObjectItem(root, "files"), "data");
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        cJSON_ReplaceItemInObject(entry, "crc32", cJSON_CreateString(lies[i]));
        assert_int_equal(lv_manifest_check_files(root, dir, NULL), LV_ERR_FORMAT);
        assert_non_null(strstr(lv_error_message(), "expected 8 hexadecimal digits"));
        assert_null(strchr(lv_error_message(), '\x1b'));
    }
    cJSON_Delete(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_written_is_read_and_lists_zlibs_crc),
        cmocka_unit_test(test_every_changed_byte_and_every_cut_is_found),
        cmocka_unit_test(test_a_listed_file_that_changed_is_named),
        cmocka_unit_test(test_a_checksum_that_is_none_is_refused_and_not_repeated),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
