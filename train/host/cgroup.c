/* SPDX-License-Identifier: Apache-2.0 */
#include "train/host/cgroup.h"

#include "data/base/file.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { LINE_BYTES = 4096 };

/* "/a/b" of the list's line "0::/a/b" or "5:memory:/a/b"; "" if there is none. */
static void find_group(char group[LINE_BYTES], const char *list, const char *controller)
{
    char line[LINE_BYTES];
    char *marker = controller ? lv_path(":%s:/", controller) : lv_path("0::/");
    FILE *file = fopen(list, "re");
    group[0] = '\0';
    while (file && !*group && fgets(line, sizeof line, file)) {
        char *at = strstr(line, marker);
        if (at && (controller || at == line)) {
            at += strlen(marker) - 1;
            at[strcspn(at, "\n")] = '\0';
            strcpy(group, at);
        }
    }
    if (file) {
        fclose(file);
    }
    free(marker);
}

void lv_cgroup_walk(const char *list, const char *mount, const char *controller,
                    lv_cgroup_visit *visit, void *context)
{
    char group[LINE_BYTES];
    char *top = controller ? lv_path("%s/%s", mount, controller) : lv_path("%s", mount);
    find_group(group, list, controller);
    while (*group) {
        char *dir = lv_path("%s%s", top, group);
        visit(context, dir);
        free(dir);
        *strrchr(group, '/') = '\0';
    }
    visit(context, top);
    free(top);
}

typedef struct {
    double cpus;
    uint64_t id;
} cpu_quota;

/* A lv_cgroup_visit: takes the quota of the group at dir if it is less. */
static void lower_quota(void *context, const char *dir)
{
    cpu_quota *least = context;
    double quota_us, period_us;
    struct stat st;
    char *path = lv_path("%s/cpu.max", dir);
    FILE *file = fopen(path, "re");
    if (file && fscanf(file, "%lf %lf", &quota_us, &period_us) == 2 && quota_us > 0 &&
        period_us > 0 && quota_us / period_us < least->cpus && stat(dir, &st) == 0) {
        least->cpus = quota_us / period_us;
        least->id = (uint64_t)st.st_ino + ((uint64_t)st.st_dev << 32);
    }
    if (file) {
        fclose(file);
    }
    free(path);
}

double lv_cpu_quota(uint64_t *id, const char *list, const char *mount)
{
    cpu_quota least = {.cpus = INFINITY};
    lv_cgroup_walk(list, mount, NULL, lower_quota, &least);
    *id = least.id;
    return least.cpus;
}
