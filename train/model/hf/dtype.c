/* SPDX-License-Identifier: Apache-2.0
 *
 * The dtype that a config.json names. It is changed in the text: a parser that prints again would
 * make 10000.0 a whole number and lose the order of digits.
 */
#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "train/model/hf/hf.h"
#include "train/model/hf/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const keys[] = {"torch_dtype", "dtype"}; /* transformers 4, 5 */

/* Behind the string that begins at text. */
static const char *skip_string(const char *text)
{
    for (text++; *text && *text != '"'; text++) {
        text += *text == '\\' && text[1];
    }
    return *text ? text + 1 : text;
}

static const char *skip_space(const char *text)
{
    return text + strspn(text, " \t\r\n");
}

/* The value's text if a member with one of the keys begins at text, or NULL. */
static const char *value_of_key(const char *text)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        size_t n = strlen(keys[i]);
        if (strncmp(text + 1, keys[i], n) == 0 && text[n + 1] == '"') {
            const char *colon = skip_space(text + n + 2);
            return *colon == ':' ? skip_space(colon + 1) : NULL;
        }
    }
    return NULL;
}

lv_dtype lv_hf_dtype_of(const char *dir)
{
    cJSON *root = NULL;
    lv_dtype dtype = LV_BF16;
    char *path = lv_path("%s/config.json", dir);
    if (lv_file_exists(path) && lv_json_read(&root, path) == LV_OK) {
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
            const char *name =
                cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, keys[i]));
            dtype = !name                          ? dtype
                    : strcmp(name, "float32") == 0 ? LV_F32
                    : strcmp(name, "float16") == 0 ? LV_F16
                                                   : dtype;
        }
    }
    cJSON_Delete(root);
    free(path);
    return dtype;
}

char *lv_hf_config_with_dtype(const char *text, lv_dtype dtype)
{
    const char *name = dtype == LV_BF16 ? "bfloat16" : dtype == LV_F16 ? "float16" : "float32";
    const char *from = text, *first = strchr(text, '{');
    char *out_text = NULL;
    size_t n = 0;
    int depth = 0;
    bool named = false;
    FILE *out = open_memstream(&out_text, &n);
    LV_CHECK(out && first, "config.json: no object, or out of memory");
    for (const char *at = first; *at;) {
        const char *value = *at == '"' ? value_of_key(at) : NULL;
        if (value && (*value == '"' || strncmp(value, "null", 4) == 0)) {
            fprintf(out, "%.*s\"%s\"", (int)(value - from), from, name);
            named = named || depth == 1;
            at = from = *value == '"' ? skip_string(value) : value + 4;
        } else if (*at == '"') {
            at = skip_string(at);
        } else {
            depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
            at++;
        }
    }
    fprintf(out, "%s", from);
    LV_CHECK(fclose(out) == 0, "config.json: out of memory");
    if (!named) {
        bool empty = *skip_space(first + 1) == '}';
        char *with = lv_path("%.*s{\n  \"%s\": \"%s\"%s%s", (int)(first - text), text, keys[0],
                             name, empty ? "" : ",", out_text + (first + 1 - text));
        free(out_text);
        return with;
    }
    return out_text;
}
