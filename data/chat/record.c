/* SPDX-License-Identifier: Apache-2.0 */
#include "data/chat/record.h"

#include "autograd/error.h"
#include "data/json/json.h"

#include <ctype.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { NUMBER_BYTES = 32 };
static const double MAX_WHOLE = 1e22; /* up to here a whole number is written out */

/* The shortest digits that give the number back; a whole number as such, without an exponent. */
static void number_text(char text[NUMBER_BYTES], double number)
{
    if (fabs(number) < MAX_WHOLE && number == floor(number)) {
        snprintf(text, NUMBER_BYTES, "%.0f", number);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, NUMBER_BYTES, "%.*g", digits, number);
        if (strtod(text, NULL) == number) {
            break;
        }
    }
}

static int read_id(lv_record *r, const cJSON *json)
{
    char digits[NUMBER_BYTES];
    const cJSON *item = lv_json_find(json, "id");
    if (item && !cJSON_IsString(item) && !cJSON_IsNumber(item)) {
        return lv_fail(LV_ERR_FORMAT, "\"id\": expected a string or a number, found %s",
                       lv_json_kind(item));
    }
    if (cJSON_IsNumber(item)) {
        number_text(digits, item->valuedouble);
    }
    r->id = strdup(cJSON_IsNumber(item) ? digits : item ? item->valuestring : "");
    return r->id ? LV_OK : lv_fail(LV_ERR_MEMORY, "out of memory for a record");
}

static int read_image_name(lv_record *r, const cJSON *item)
{
    if (!cJSON_IsString(item)) {
        return lv_fail(LV_ERR_FORMAT, "\"image\": expected a file name or a list of them, found %s",
                       lv_json_kind(item));
    }
    if (!*item->valuestring) {
        return lv_fail(LV_ERR_FORMAT, "\"image\": a file name is empty (leave the key out for text "
                                      "only)");
    }
    r->images[r->n_images++] = item->valuestring;
    return LV_OK;
}

static int read_images(lv_record *r, const cJSON *json)
{
    const cJSON *image = lv_json_find(json, "image");
    int n = cJSON_IsArray(image) ? cJSON_GetArraySize(image) : 1;
    if (!image || n == 0) {
        return LV_OK;
    }
    r->images = malloc((size_t)n * sizeof *r->images);
    if (!r->images) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for a record");
    }
    if (!cJSON_IsArray(image)) {
        return read_image_name(r, image);
    }
    const cJSON *item;
    cJSON_ArrayForEach (item, image) {
        int rc = read_image_name(r, item);
        if (rc < 0) {
            return rc;
        }
    }
    return LV_OK;
}

static int read_turn(lv_turn *turn, const cJSON *json)
{
    const char *from = NULL;
    if (!cJSON_IsObject(json)) {
        return lv_fail(LV_ERR_FORMAT, "expected an object, found %s", lv_json_kind(json));
    }
    int rc = lv_json_string(json, "from", true, &from);
    if (rc == LV_OK) rc = lv_json_string(json, "value", true, &turn->text);
    if (rc < 0) {
        return rc;
    }
    if (strcmp(from, "human") == 0) {
        turn->role = LV_ROLE_HUMAN;
    } else if (strcmp(from, "gpt") == 0) {
        turn->role = LV_ROLE_GPT;
    } else {
        return lv_fail(LV_ERR_FORMAT, "\"from\": expected \"human\" or \"gpt\", found \"%s\" (%s)",
                       from,
                       strcasecmp(from, "system") == 0
                           ? "a system text is the sample's \"system_prompt\""
                           : "LLaVA's data knows these two names only: rename the role");
    }
    return LV_OK;
}

static int read_turns(lv_record *r, const cJSON *json)
{
    const cJSON *turns = lv_json_find(json, "conversations");
    const cJSON *item;
    if (!cJSON_IsArray(turns) || !turns->child) {
        return lv_fail(LV_ERR_FORMAT, "\"conversations\": expected a list of turns, found %s",
                       cJSON_IsArray(turns) ? "an empty list" : lv_json_kind(turns));
    }
    r->turns = malloc((size_t)cJSON_GetArraySize(turns) * sizeof *r->turns);
    if (!r->turns) {
        return lv_fail(LV_ERR_MEMORY, "out of memory for a record");
    }
    cJSON_ArrayForEach (item, turns) {
        int rc = read_turn(&r->turns[r->n_turns], item);
        if (rc < 0) {
            return lv_fail_within("conversations[%zu]", r->n_turns);
        }
        r->n_turns++;
    }
    return LV_OK;
}

/* ---- keys that are misspelt ---- */

enum { MAX_KEY = 24 };

/* Lower case, letters and digits alone: "System-Prompt " is systemprompt. false: too long. */
static bool simplify(char out[MAX_KEY + 1], const char *key)
{
    size_t n = 0;
    for (; *key; key++) {
        if (isalnum((unsigned char)*key)) {
            if (n == MAX_KEY) {
                return false;
            }
            out[n++] = (char)tolower((unsigned char)*key);
        }
    }
    out[n] = '\0';
    return true;
}

/* Letters to insert, delete, replace or swap with their neighbour to make b of a. */
static int distance(const char *a, const char *b)
{
    int d[MAX_KEY + 1][MAX_KEY + 1];
    int n_a = (int)strlen(a), n_b = (int)strlen(b);
    for (int i = 0; i <= n_a; i++) {
        for (int j = 0; j <= n_b; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = i + j;
                continue;
            }
            int best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            best = d[i - 1][j] + 1 < best ? d[i - 1][j] + 1 : best;
            best = d[i][j - 1] + 1 < best ? d[i][j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                d[i - 2][j - 2] + 1 < best) {
                best = d[i - 2][j - 2] + 1;
            }
            d[i][j] = best;
        }
    }
    return d[n_a][n_b];
}

static bool says_nothing(const cJSON *item)
{
    return cJSON_IsNull(item) || (cJSON_IsString(item) && !*item->valuestring) ||
           (cJSON_IsArray(item) && !item->child);
}

/* LLaVA ignores keys that it does not know. One that is a known key misspelt would make the sample
 * text only, or empty, without a word; not if the right key is there too. */
static int check_spelling(const cJSON *json)
{
    static const struct {
        const char *key, *simple;
        int max_distance;
    } known[] = {{"image", "image", 1},
                 {"image", "img", 1},
                 {"image", "imagefile", 1},
                 {"image", "imagepath", 1},
                 {"conversations", "conversations", 2},
                 {"system_prompt", "systemprompt", 2}};
    const cJSON *item;
    cJSON_ArrayForEach (item, json) {
        char simple[MAX_KEY + 1];
        if (says_nothing(item) || !simplify(simple, item->string)) {
            continue;
        }
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
            if (!lv_json_find(json, known[i].key) &&
                distance(simple, known[i].simple) <= known[i].max_distance) {
                return lv_fail(LV_ERR_FORMAT,
                               "there is \"%s\", but no \"%s\": rename the key, or remove it",
                               item->string, known[i].key);
            }
        }
    }
    return LV_OK;
}

int lv_record_parse(lv_record *out, const cJSON *json)
{
    lv_record r = {0};
    int rc;
    if (!cJSON_IsObject(json)) {
        return lv_fail(LV_ERR_FORMAT, "a sample: expected an object, found %s", lv_json_kind(json));
    }
    if ((rc = check_spelling(json)) < 0 || (rc = read_id(&r, json)) < 0 ||
        (rc = read_images(&r, json)) < 0 || (rc = read_turns(&r, json)) < 0 ||
        (rc = lv_json_string(json, "system_prompt", false, &r.system_prompt)) < 0) {
        lv_record_free(&r);
        return rc;
    }
    if (r.system_prompt && !*r.system_prompt) {
        r.system_prompt = NULL;
    }
    *out = r;
    return LV_OK;
}

void lv_record_free(lv_record *record)
{
    free((char *)(uintptr_t)record->id);
    free(record->images);
    free(record->turns);
    *record = (lv_record){0};
}
