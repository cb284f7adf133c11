/* SPDX-License-Identifier: Apache-2.0 */
#include "train/run_dir.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/base/lock.h"
#include "data/json/json.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int lv_run_dir_lock(int *fd, const char *dir)
{
    int rc = lv_dir_create(dir);
    return rc < 0 ? rc : lv_lock_take(fd, dir);
}

void lv_run_dir_unlock(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

int lv_run_dir_write_config(const char *dir, const cJSON *config)
{
    char *text = lv_json_print(config), *path = lv_path("%s/config.json", dir);
    int rc = lv_file_write(path, text, strlen(text));
    free(path);
    free(text);
    return rc;
}
