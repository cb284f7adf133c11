/* SPDX-License-Identifier: Apache-2.0 */
#include "train/host/memory.h"

#include "data/base/file.h"
#include "train/host/cgroup.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 4096 };

/* The files of a group, by the version of control groups. */
typedef struct {
    const char *controller, *limit, *used, *inactive, *active;
} group_files;
static const group_files VERSIONS[] = {
    {NULL, "memory.max", "memory.current", "inactive_file ", "active_file "},
    {"memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ",
     "total_active_file "},
};

typedef struct {
    const group_files *files;
    bool active_too; /* file caches in use count as left */
    int64_t left;
} group_limit;

/* The number after `name` in a file with such a line; name is "" for a file that is only a number.
 * returns false if there is none ("max") */
static bool find_number(int64_t *out, const char *path, const char *name)
{
    char line[LINE_BYTES];
    const size_t n = strlen(name);
    bool found = false;
    FILE *file = fopen(path, "re");
    while (file && !found && fgets(line, sizeof line, file)) {
        found = strncmp(line, name, n) == 0 && sscanf(line + n, "%" SCNd64, out) == 1;
    }
    if (file) {
        fclose(file);
    }
    return found;
}

static bool find_in_dir(int64_t *out, const char *dir, const char *file, const char *name)
{
    char *path = lv_path("%s/%s", dir, file);
    bool found = find_number(out, path, name);
    free(path);
    return found;
}

/* A lv_cgroup_visit: lowers what is left to what the group at dir allows. */
static void apply_limit(void *context, const char *dir)
{
    group_limit *limit = context;
    int64_t most, used, inactive = 0, active = 0;
    if (find_in_dir(&most, dir, limit->files->limit, "") &&
        find_in_dir(&used, dir, limit->files->used, "")) {
        find_in_dir(&inactive, dir, "memory.stat", limit->files->inactive);
        if (limit->active_too) {
            find_in_dir(&active, dir, "memory.stat", limit->files->active);
        }
        const int64_t taken = used - inactive - active;
        const int64_t own = most > taken ? most - taken : 0;
        limit->left = own < limit->left ? own : limit->left;
    }
}

static int64_t within_groups(int64_t left, bool active_too, const char *list, const char *mount)
{
    group_limit limit = {.active_too = active_too, .left = left};
    for (size_t i = 0; i < sizeof VERSIONS / sizeof *VERSIONS; i++) {
        limit.files = &VERSIONS[i];
        lv_cgroup_walk(list, mount, limit.files->controller, apply_limit, &limit);
    }
    return limit.left;
}

int64_t lv_memory_left(const char *proc, const char *mount)
{
    int64_t kb;
    char *meminfo = lv_path("%s/meminfo", proc), *list = lv_path("%s/self/cgroup", proc);
    const bool known = find_number(&kb, meminfo, "MemAvailable:");
    const int64_t left = within_groups(known ? kb * 1024 : INT64_MAX, true, list, mount);
    free(meminfo);
    free(list);
    return left;
}

int64_t lv_memory_available(const char *proc, const char *mount)
{
    int64_t kb = 0;
    char *meminfo = lv_path("%s/meminfo", proc), *list = lv_path("%s/self/cgroup", proc);
    find_number(&kb, meminfo, "MemAvailable:");
    const int64_t available = within_groups(kb * 1024, false, list, mount);
    free(meminfo);
    free(list);
    return available;
}

static int64_t status_bytes(const char *name)
{
    int64_t kb = 0;
    find_number(&kb, "/proc/self/status", name);
    return kb * 1024;
}

lv_process_memory lv_memory_now(void)
{
    return (lv_process_memory){.anon_bytes = status_bytes("RssAnon:"),
                               .file_bytes = status_bytes("RssFile:"),
                               .shmem_bytes = status_bytes("RssShmem:")};
}
