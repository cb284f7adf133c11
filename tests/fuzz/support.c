/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/support.h"

#include "data/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *scratch;

static void remove_scratch(void)
{
    lv_dir_remove(scratch);
    free(scratch);
}

const char *fuzz_dir(void)
{
    if (!scratch) {
        const char *parent = getenv("TMPDIR");
        scratch = lv_path("%s/llava-fuzz-XXXXXX", parent ? parent : "/tmp");
        LV_CHECK(mkdtemp(scratch), "%s: %s", scratch, strerror(errno));
        atexit(remove_scratch);
    }
    return scratch;
}

const char *fuzz_write(const char *name, const void *data, size_t n)
{
    static char path[256];
    LV_CHECK(snprintf(path, sizeof path, "%s/%s", fuzz_dir(), name) < (int)sizeof path,
             "the scratch folder's name is too long");
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    LV_CHECK(fd >= 0 && write(fd, data, n) == (ssize_t)n && close(fd) == 0, "%s: %s", path,
             strerror(errno));
    return path;
}

char *fuzz_source(const char *relative)
{
    return lv_path("%s/%s", LLAVA_SOURCE, relative);
}

void fuzz_must(int rc, const char *what)
{
    LV_CHECK(rc == LV_OK, "%s: error %d: %s", what, rc, lv_error_message());
}

fuzz_parts fuzz_split(const uint8_t *data, size_t n)
{
    size_t n_both = n ? n - 1 : 0;
    size_t n_second = n && data[n - 1] < n_both ? data[n - 1] : n_both;
    size_t n_first = n_both - n_second;
    return (fuzz_parts){
        .first = data, .n_first = n_first, .second = data + n_first, .n_second = n_second};
}

char *fuzz_text(const uint8_t *data, size_t n)
{
    char *text = strndup((const char *)data, n);
    LV_CHECK(text, "out of memory");
    return text;
}
