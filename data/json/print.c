/* SPDX-License-Identifier: Apache-2.0
 *
 * cJSON prints a number with 15 digits where that is within DBL_EPSILON of it, and cJSON_Compare
 * takes such neighbours for equal. Here a number keeps its bits.
 */
#include "data/json/json.h"

#include "autograd/error.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double MAX_WHOLE = 1e22; /* a whole number below has an exact double */

void lv_json_number_text(char text[LV_JSON_NUMBER_BYTES], double value)
{
    int digits = fabs(value) < DBL_MIN ? 1 : 15; /* any 15 digits of a normal number are kept */
    if (!isfinite(value)) {
        snprintf(text, LV_JSON_NUMBER_BYTES, "null");
    } else if (value == floor(value) && fabs(value) < MAX_WHOLE) {
        snprintf(text, LV_JSON_NUMBER_BYTES, "%.0f", value);
    } else {
        do {
            snprintf(text, LV_JSON_NUMBER_BYTES, "%.*g", digits, value);
        } while (digits++ < 17 && strtod(text, NULL) != value);
    }
}

static void print_string(FILE *out, const char *text)
{
    static const char escaped[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    fputc('"', out);
    for (; *text; text++) {
        const char *escape = strchr(escaped, *text);
        if (escape) {
            fprintf(out, "\\%c", letters[escape - escaped]);
        } else if ((unsigned char)*text < 0x20) {
            fprintf(out, "\\u%04x", (unsigned)*text);
        } else {
            fputc(*text, out);
        }
    }
    fputc('"', out);
}

static void indent(FILE *out, int depth)
{
    while (depth-- > 0) {
        fputc('\t', out);
    }
}

static void print_item(FILE *out, const cJSON *item, bool lines, int depth)
{
    const bool object = cJSON_IsObject(item);
    char number[LV_JSON_NUMBER_BYTES];
    if (cJSON_IsNumber(item)) {
        lv_json_number_text(number, item->valuedouble);
        fputs(number, out);
    } else if (cJSON_IsString(item)) {
        print_string(out, item->valuestring);
    } else if (!object && !cJSON_IsArray(item)) {
        fputs(cJSON_IsRaw(item)     ? item->valuestring
              : cJSON_IsTrue(item)  ? "true"
              : cJSON_IsFalse(item) ? "false"
                                    : "null",
              out);
    } else {
        fputs(!object ? "[" : lines ? "{\n" : "{", out);
        for (const cJSON *child = item->child; child; child = child->next) {
            if (object) {
                indent(out, lines ? depth + 1 : 0);
                print_string(out, child->string);
                fputs(lines ? ":\t" : ":", out);
            }
            print_item(out, child, lines, depth + 1);
            if (child->next) {
                fputs(lines && !object ? ", " : ",", out);
            }
            if (lines && object) {
                fputc('\n', out);
            }
        }
        indent(out, lines && object ? depth : 0);
        fputc(object ? '}' : ']', out);
    }
}

static char *print(const cJSON *item, bool lines)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    LV_CHECK(out, "out of memory for JSON");
    print_item(out, item, lines, 0);
    LV_CHECK(fclose(out) == 0, "out of memory for JSON");
    return text;
}

char *lv_json_print(const cJSON *item)
{
    return print(item, true);
}

char *lv_json_print_line(const cJSON *item)
{
    return print(item, false);
}

static bool equal_members(const cJSON *a, const cJSON *b)
{
    const cJSON *child;
    cJSON_ArrayForEach (child, a) {
        if (!lv_json_equal(child, cJSON_GetObjectItemCaseSensitive(b, child->string))) {
            return false;
        }
    }
    return cJSON_GetArraySize(a) == cJSON_GetArraySize(b);
}

static bool equal_elements(const cJSON *a, const cJSON *b)
{
    for (a = a->child, b = b->child; a && b; a = a->next, b = b->next) {
        if (!lv_json_equal(a, b)) {
            return false;
        }
    }
    return !a && !b;
}

bool lv_json_equal(const cJSON *a, const cJSON *b)
{
    if (!a || !b || (a->type & 0xFF) != (b->type & 0xFF)) {
        return false;
    }
    return cJSON_IsNumber(a)   ? memcmp(&a->valuedouble, &b->valuedouble, sizeof(double)) == 0
           : cJSON_IsObject(a) ? equal_members(a, b)
           : cJSON_IsArray(a)  ? equal_elements(a, b)
           : cJSON_IsString(a) || cJSON_IsRaw(a) ? strcmp(a->valuestring, b->valuestring) == 0
                                                 : true;
}
