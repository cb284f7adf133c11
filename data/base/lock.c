/* SPDX-License-Identifier: Apache-2.0 */
#include "data/base/lock.h"

#include "autograd/error.h"
#include "data/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int held_by_other(int fd, const char *of)
{
    char holder[320] = "";
    ssize_t n = pread(fd, holder, sizeof holder - 1, 0);
    holder[n > 0 ? n : 0] = '\0';
    holder[strcspn(holder, "\n")] = '\0';
    return lv_fail(LV_ERR_CONFIG,
                   "%s: in use by another run (%s); wait for it, or choose another "
                   "folder",
                   of, *holder ? holder : "unknown");
}

/* Whether path still names the open file: its last holder may have removed it. */
static bool has_name(int fd, const char *path)
{
    struct stat own, named;
    return fstat(fd, &own) == 0 && stat(path, &named) == 0 && own.st_dev == named.st_dev &&
           own.st_ino == named.st_ino;
}

/* A lock file is empty, or has what sign writes; any other file is not to be signed. */
static int check_own(int fd, const char *path)
{
    char text[320] = "";
    long pid = 0;
    int end = 0;
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    const char *process = strstr(text, ", process ");
    bool own = n == 0 || *text == '\0' ||
               (process && sscanf(process, ", process %ld%n", &pid, &end) == 1 &&
                strcspn(text, "\n") == strlen(text) - (strchr(text, '\n') != NULL));
    return own ? LV_OK
               : lv_fail(LV_ERR_CONFIG, "%s: not a lock that llava wrote: move it away", path);
}

static int sign(int fd, const char *path)
{
    char host[256] = "", text[320];
    gethostname(host, sizeof host - 1);
    int n = snprintf(text, sizeof text, "%s, process %ld\n", host, (long)getpid());
    return ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n
               ? lv_fail_errno(LV_ERR_IO, "%s: writing", path)
               : LV_OK;
}

int lv_lock_take_file(int *fd, const char *path, const char *of)
{
    int rc = LV_OK, lock = -1;
    while (rc == LV_OK && lock < 0) {
        lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (lock < 0 && errno == ELOOP) {
            rc = lv_fail(LV_ERR_CONFIG, "%s: a symbolic link, not a run's lock: remove it", path);
        } else if (lock < 0) {
            rc = lv_fail_errno(LV_ERR_IO, "%s: opening", path);
        } else if (flock(lock, LOCK_EX | LOCK_NB) < 0) {
            rc = errno == EWOULDBLOCK ? held_by_other(lock, of)
                                      : lv_fail_errno(LV_ERR_IO, "%s: locking", path);
        } else if (!has_name(lock, path)) {
            close(lock);
            lock = -1;
        }
    }
    if (rc == LV_OK) rc = check_own(lock, path);
    if (rc == LV_OK) rc = sign(lock, path);
    if (rc < 0 && lock >= 0) {
        close(lock);
    }
    if (rc == LV_OK) {
        *fd = lock;
    }
    return rc;
}

void lv_lock_release_file(int *fd, const char *path)
{
    if (*fd >= 0) {
        unlink(path);
        close(*fd);
    }
    *fd = -1;
}

int lv_lock_take(int *fd, const char *dir)
{
    char *path = lv_path("%s/" LV_LOCK_NAME, dir);
    int rc = lv_lock_take_file(fd, path, dir);
    free(path);
    return rc;
}

void lv_lock_release(int *fd, const char *dir)
{
    char *path = lv_path("%s/" LV_LOCK_NAME, dir);
    lv_lock_release_file(fd, path);
    free(path);
}
