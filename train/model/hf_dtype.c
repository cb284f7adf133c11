/* SPDX-License-Identifier: Apache-2.0
 *
 * The dtype that a config.json names, changed in its text: a parser that prints again would make
 * 10000.0 a whole number and lose the order of digits.
 */
#include "autograd/error.h"
#include "data/file.h"
#include "train/model/hf_internal.h"

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
