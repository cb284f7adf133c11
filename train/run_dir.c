/* SPDX-License-Identifier: Apache-2.0 */
#include "train/run_dir.h"

#include "autograd/error.h"
#include "data/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static int held_by_other(int fd, const char *dir)
{
    char holder[320] = "";
    ssize_t n = pread(fd, holder, sizeof holder - 1, 0);
    holder[n > 0 ? n : 0] = '\0';
    holder[strcspn(holder, "\n")] = '\0';
    return lv_fail(LV_ERR_CONFIG,
                   "%s: in use by another run (%s); wait for it, or choose another "
                   "run.dir",
                   dir, *holder ? holder : "unknown");
}

int lv_run_dir_lock(int *fd, const char *dir)
{
    char host[256] = "", text[320];
    int rc = lv_dir_create(dir);
    if (rc < 0) {
        return rc;
    }
    char *path = lv_path("%s/lock", dir);
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (lock < 0) {
        rc = lv_fail_errno(LV_ERR_IO, "%s: opening", path);
    } else if (flock(lock, LOCK_EX | LOCK_NB) < 0) {
        rc = errno == EWOULDBLOCK ? held_by_other(lock, dir)
                                  : lv_fail_errno(LV_ERR_IO, "%s: locking", path);
    } else {
        gethostname(host, sizeof host - 1);
        int n = snprintf(text, sizeof text, "%s, process %ld\n", host, (long)getpid());
        if (ftruncate(lock, 0) < 0 || pwrite(lock, text, (size_t)n, 0) != n) {
            rc = lv_fail_errno(LV_ERR_IO, "%s: writing", path);
        }
    }
    free(path);
    if (rc < 0 && lock >= 0) {
        close(lock);
    }
    if (rc == LV_OK) {
        *fd = lock;
    }
    return rc;
}

void lv_run_dir_unlock(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}
