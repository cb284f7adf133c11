/* SPDX-License-Identifier: Apache-2.0 */
#include "train/host_memory.h"

#include "data/file.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number behind `name` in a file with such a line; of a file that is only a number, name is "".
 * returns false if there is none ("max") */
static bool find_number(int64_t *out, const char *path, const char *name)
{
    char line[4096];
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

/* Lowers *left to what the group at dir allows. */
static void lower(int64_t *left, const char *dir)
{
    int64_t most, used, active = 0, inactive = 0;
    if (find_in_dir(&most, dir, "memory.max", "") &&
        find_in_dir(&used, dir, "memory.current", "")) {
        find_in_dir(&active, dir, "memory.stat", "active_file ");
        find_in_dir(&inactive, dir, "memory.stat", "inactive_file ");
        int64_t own = most - used + active + inactive;
        *left = own < 0 ? 0 : own < *left ? own : *left;
    }
}

/* "0::/a/b" of a list of groups: "/a/b" in text, "" if there is none. */
static void find_group(char text[4096], const char *list)
{
    char line[4096];
    FILE *file = fopen(list, "re");
    text[0] = '\0';
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, "0::/", 4) == 0) {
            line[strcspn(line, "\n")] = '\0';
            strcpy(text, line + 3);
        }
    }
    if (file) {
        fclose(file);
    }
}

int64_t lv_memory_left(const char *meminfo, const char *list, const char *mount)
{
    char group[4096];
    int64_t left = INT64_MAX, kb;
    if (find_number(&kb, meminfo, "MemAvailable:")) {
        left = kb * 1024;
    }
    find_group(group, list);
    while (*group) { /* in a container the path may be the host's: then only the mount is there */
        char *dir = lv_path("%s%s", mount, group);
        lower(&left, dir);
        free(dir);
        *strrchr(group, '/') = '\0';
    }
    lower(&left, mount);
    return left;
}
