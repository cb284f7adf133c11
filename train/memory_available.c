/* SPDX-License-Identifier: Apache-2.0 */
#include "train/memory_available.h"

#include "data/file.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 1024 };

/* The two versions of control groups: how a line of /proc/self/cgroup names the group's folder, and
 * the files in it. */
typedef struct {
    const char *marker, *folder, *limit, *used, *cache;
} version;
static const version VERSIONS[] = {
    {"0::/", "", "memory.max", "memory.current", "inactive_file"},
    {":memory:/", "/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
     "total_inactive_file"},
};

/* The number behind a word at the beginning of a line of the file; "" is the first line. */
static bool read_number(int64_t *out, const char *dir, const char *name, const char *word)
{
    char line[LINE_BYTES];
    char *path = lv_path("%s/%s", dir, name);
    FILE *file = fopen(path, "r");
    bool found = false;
    free(path);
    while (file && !found && fgets(line, sizeof line, file)) {
        found = strncmp(line, word, strlen(word)) == 0 &&
                sscanf(line + strlen(word), "%" SCNd64, out) == 1;
    }
    if (file) {
        fclose(file);
    }
    return found;
}

static void lower(int64_t *available, const version *v, const char *dir)
{
    int64_t limit, used, cache = 0;
    if (read_number(&limit, dir, v->limit, "") && read_number(&used, dir, v->used, "")) {
        read_number(&cache, dir, "memory.stat", v->cache);
        int64_t left = limit > used - cache ? limit - (used - cache) : 0;
        *available = left < *available ? left : *available;
    }
}

/* Of the group in this line of /proc/self/cgroup, if it is one of that version. */
static void lower_by_line(int64_t *available, const version *v, char *line, const char *mount)
{
    char *path = strstr(line, v->marker);
    if (!path) {
        return;
    }
    path += strlen(v->marker) - 1;
    path[strcspn(path, "\n")] = '\0';
    while (*path) {
        char *dir = lv_path("%s%s%s", mount, v->folder, path);
        lower(available, v, dir);
        free(dir);
        *strrchr(path, '/') = '\0';
    }
    /* in a container the path may be the host's: then only the mount itself is there */
    char *top = lv_path("%s%s", mount, v->folder);
    lower(available, v, top);
    free(top);
}

int64_t lv_memory_available(const char *proc, const char *mount)
{
    char line[LINE_BYTES];
    int64_t available = 0;
    read_number(&available, proc, "meminfo", "MemAvailable:");
    available *= 1024;
    char *path = lv_path("%s/self/cgroup", proc);
    FILE *list = fopen(path, "r");
    while (list && fgets(line, sizeof line, list)) {
        for (size_t i = 0; i < sizeof VERSIONS / sizeof *VERSIONS; i++) {
            lower_by_line(&available, &VERSIONS[i], line, mount);
        }
    }
    if (list) {
        fclose(list);
    }
    free(path);
    return available;
}
