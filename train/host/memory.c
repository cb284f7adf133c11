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
} version;
static const version VERSIONS[] = {
    {NULL, "memory.max", "memory.current", "inactive_file ", "active_file "},
    {"memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ",
     "total_active_file "},
};

typedef struct {
    const version *of;
    bool active_too; /* caches that are read count as left */
    int64_t left;
} room;

/* The number behind `name` in a file with such a line; of a file that is only a number, name is "".
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
static void lower(void *context, const char *dir)
{
    room *r = context;
    int64_t most, used, inactive = 0, active = 0;
    if (find_in_dir(&most, dir, r->of->limit, "") && find_in_dir(&used, dir, r->of->used, "")) {
        find_in_dir(&inactive, dir, "memory.stat", r->of->inactive);
        if (r->active_too) {
            find_in_dir(&active, dir, "memory.stat", r->of->active);
        }
        const int64_t taken = used - inactive - active;
        const int64_t own = most > taken ? most - taken : 0;
        r->left = own < r->left ? own : r->left;
    }
}

static int64_t within_groups(int64_t left, bool active_too, const char *list, const char *mount)
{
    room r = {.active_too = active_too, .left = left};
    for (size_t i = 0; i < sizeof VERSIONS / sizeof *VERSIONS; i++) {
        r.of = &VERSIONS[i];
        lv_cgroup_walk(list, mount, r.of->controller, lower, &r);
    }
    return r.left;
}

int64_t lv_memory_left(const char *meminfo, const char *list, const char *mount)
{
    int64_t kb;
    const bool said = find_number(&kb, meminfo, "MemAvailable:");
    return within_groups(said ? kb * 1024 : INT64_MAX, true, list, mount);
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

lv_process_memory lv_memory_now(void)
{
    lv_process_memory memory = {0};
    char line[256];
    long long kb;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status)) {
        if (sscanf(line, "RssAnon: %lld", &kb) == 1) {
            memory.anon_bytes = kb * 1024;
        } else if (sscanf(line, "RssFile: %lld", &kb) == 1) {
            memory.file_bytes = kb * 1024;
        } else if (sscanf(line, "RssShmem: %lld", &kb) == 1) {
            memory.shmem_bytes = kb * 1024;
        }
    }
    if (status) {
        fclose(status);
    }
    return memory;
}
