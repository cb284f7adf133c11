/* SPDX-License-Identifier: Apache-2.0 */
#include "train/host/cgroup.h"

#include "data/base/file.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
