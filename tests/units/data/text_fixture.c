/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/units/data/text_fixture.h"

#include "autograd/error.h"
#include "data/file.h"
#include "data/json.h"

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

lv_tokenizer *open_committed_tokenizer(void)
{
    lv_tokenizer *tokenizer = NULL;
    char *path = source_path("configs/tokenizer");
    assert_ok(lv_tokenizer_open(&tokenizer, path));
    free(path);
    return tokenizer;
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
