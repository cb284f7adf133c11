/* SPDX-License-Identifier: Apache-2.0
 *
 * metrics_diff A B KEY TOLERANCE: do two metrics.jsonl have the same steps in the same order, and
 * KEY within TOLERANCE, relative, in each? Texts (samples_hash) must be equal. Prints the largest
 * difference. Exit status 1 if not, or if a file has no step.
 */
#include "autograd/error.h"
#include "data/json/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The next line that has KEY; NULL at the end of the file. */
static cJSON *next_line(FILE *file, const char *key)
{
    char *line = NULL;
    size_t capacity = 0;
    cJSON *item = NULL;
    while (getline(&line, &capacity, file) > 0) {
        if (lv_json_parse(&item, line, strlen(line)) < 0) {
            fprintf(stderr, "a broken line: %s\n", lv_error_message());
            exit(1);
        }
        if (cJSON_GetObjectItemCaseSensitive(item, key)) {
            break;
        }
        cJSON_Delete(item);
        item = NULL;
    }
    free(line);
    return item;
}

static double difference(const cJSON *a, const cJSON *b)
{
    if (cJSON_IsString(a)) {
        return lv_json_equal(a, b) ? 0 : INFINITY;
    }
    double x = a->valuedouble, y = b->valuedouble;
    bool numbers = cJSON_IsNumber(a) && cJSON_IsNumber(b);
    return !numbers ? INFINITY : x == y ? 0 : fabs(x - y) / fmax(fabs(x), fabs(y));
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: metrics_diff A B KEY TOLERANCE\n");
        return 2;
    }
    FILE *file_a = fopen(argv[1], "r"), *file_b = fopen(argv[2], "r");
    const char *key = argv[3];
    double worst = 0, tolerance = atof(argv[4]);
    int n = 0, same_steps = 1;
    if (!file_a || !file_b) {
        fprintf(stderr, "metrics_diff: %s or %s can not be read\n", argv[1], argv[2]);
        return 2;
    }
    for (;; n++) {
        cJSON *a = next_line(file_a, key), *b = next_line(file_b, key);
        if (!a || !b) {
            same_steps = same_steps && !a && !b;
            cJSON_Delete(a);
            cJSON_Delete(b);
            break;
        }
        same_steps = same_steps && lv_json_equal(lv_json_find(a, "step"), lv_json_find(b, "step"));
        worst = fmax(worst, difference(cJSON_GetObjectItemCaseSensitive(a, key),
                                       cJSON_GetObjectItemCaseSensitive(b, key)));
        cJSON_Delete(a);
        cJSON_Delete(b);
    }
    fclose(file_a);
    fclose(file_b);
    printf("# %s: %d lines, largest difference %.3g (allowed %.3g)%s\n", key, n, worst, tolerance,
           same_steps ? "" : ", the steps are not the same");
    return n > 0 && same_steps && worst <= tolerance ? 0 : 1;
}
