/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/units/data/text_fixture.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

char *source_path(const char *relative)
{
    const char *root = getenv("LLAVA_TEST_SOURCE");
    return lv_path("%s/%s", root ? root : ".", relative);
}

char *data_path(const char *relative)
{
    const char *root = getenv("LLAVA_TEST_DATA");
    char *path = lv_path("%s/%s", root ? root : "../shared/data", relative);
    if (!lv_file_exists(path)) {
        free(path);
        return NULL;
    }
    return path;
}

void assert_ok_at(int rc, const char *file, int line)
{
    if (rc < 0) {
        print_error("unexpected failure: %s\n", lv_error_message());
        _fail(file, line);
    }
}

void assert_fails_at(int rc, int error, const char *part, const char *file, int line)
{
    if (rc != error || !strstr(lv_error_message(), part)) {
        print_error("expected error %d with \"%s\", got %d: %s\n", error, part, rc,
                    rc < 0 ? lv_error_message() : "");
        _fail(file, line);
    }
}

cJSON *read_golden(const char *name)
{
    cJSON *root = NULL;
    char *relative = lv_path("tests/golden/text/%s", name);
    char *path = source_path(relative);
    assert_ok(lv_json_read(&root, path));
    free(path);
    free(relative);
    return root;
}

lv_tokenizer *tokenizer;

int open_tokenizer(void **state)
{
    (void)state;
    char *path = source_path("configs/tokenizer");
    assert_ok(lv_tokenizer_open(&tokenizer, path));
    free(path);
    return 0;
}

int close_tokenizer(void **state)
{
    (void)state;
    lv_tokenizer_close(&tokenizer);
    return 0;
}

char *make_folder(void)
{
    const char *parent = getenv("TMPDIR");
    char *folder = lv_path("%s/llava-test-XXXXXX", parent ? parent : "/tmp");
    assert_non_null(mkdtemp(folder));
    return folder;
}

void remove_folder(char *folder)
{
    assert_ok(lv_dir_remove(folder));
    free(folder);
}

void write_text(const char *folder, const char *name, const char *text)
{
    char *path = lv_path("%s/%s", folder, name);
    assert_ok(lv_file_write(path, text, strlen(text)));
    free(path);
}

cJSON *committed_tokenizer_file(void)
{
    cJSON *root = NULL;
    char *path = source_path("configs/tokenizer/tokenizer.json");
    assert_ok(lv_json_read(&root, path));
    free(path);
    return root;
}

void set_member(cJSON *object, const char *key, const char *json)
{
    cJSON *value = NULL;
    assert_ok(lv_json_parse(&value, json, strlen(json)));
    if (cJSON_GetObjectItemCaseSensitive(object, key)) {
        assert_true(cJSON_ReplaceItemInObjectCaseSensitive(object, key, value));
    } else {
        assert_true(cJSON_AddItemToObject(object, key, value));
    }
}

int open_tokenizer_json(lv_tokenizer **out, const cJSON *root)
{
    char *folder = make_folder();
    char *text = cJSON_PrintUnformatted(root);
    write_text(folder, "tokenizer.json", text);
    int rc = lv_tokenizer_open(out, folder);
    cJSON_free(text);
    remove_folder(folder);
    return rc;
}

void set_metaspace(cJSON *root, const char *scheme)
{
    char *metaspace = lv_path("{\"type\": \"Metaspace\", \"replacement\": \"\xE2\x96\x81\", "
                              "\"prepend_scheme\": \"%s\", \"split\": false}",
                              scheme);
    set_member(root, "normalizer", "null");
    set_member(root, "pre_tokenizer", metaspace);
    set_member(root, "decoder", metaspace);
    free(metaspace);
}
