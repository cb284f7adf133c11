/* SPDX-License-Identifier: Apache-2.0 */
#include "data/json/scan.h"

#include "autograd/error.h"
#include "data/base/text.h"
#include "data/json/json.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_DIGITS = 63,     /* cJSON reads no further into a number */
    MAX_FOUND_WORD = 24, /* characters of a word in a message */
};
_Static_assert(LV_JSON_MAX_DEPTH <= CJSON_NESTING_LIMIT, "cJSON would refuse what was checked");

typedef enum { VALUE, VALUE_OR_CLOSE, KEY, KEY_OR_CLOSE, COLON, COMMA_OR_CLOSE, NOTHING } json_next;

typedef struct {
    const char *text;
    size_t n, at;
    json_next next; /* what is expected */
    int depth;
    char open[LV_JSON_MAX_DEPTH]; /* the brackets around */
} checker;

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-' || c == '+' || c == '.';
}

void lv_json_found(char found[LV_JSON_FOUND_BYTES], const char *text, size_t n)
{
    bool valid = false;
    size_t len = 0;
    if (n == 0) {
        snprintf(found, LV_JSON_FOUND_BYTES, "the end");
        return;
    }
    while (len < n && len < MAX_FOUND_WORD && is_word(text[len])) {
        len++;
    }
    if (len == 0) {
        len = lv_utf8_step(text, n, &valid);
    }
    if (n >= 3 && memcmp(text, LV_JSON_MARK, 3) == 0) {
        snprintf(found, LV_JSON_FOUND_BYTES, "a byte order mark");
    } else if (is_word(text[0]) || (valid && !iscntrl((unsigned char)text[0]))) {
        snprintf(found, LV_JSON_FOUND_BYTES, "'%.*s'", (int)len, text);
    } else {
        snprintf(found, LV_JSON_FOUND_BYTES, "byte 0x%02X", (unsigned char)text[0]);
    }
}

static int check_fail(checker *c, size_t at, const char *what)
{
    c->at = at;
    return lv_fail(LV_ERR_FORMAT, "%s", what);
}

static int check_fail_expected(checker *c)
{
    static const char *const in_object[] = {
        [KEY] = "a key in quotes",
        [KEY_OR_CLOSE] = "a key in quotes or '}'",
        [COLON] = "':'",
        [COMMA_OR_CLOSE] = "',' or '}'",
    };
    char found[LV_JSON_FOUND_BYTES];
    lv_json_found(found, c->text + c->at, c->n - c->at);
    const char *what = c->next == VALUE            ? "a value"
                       : c->next == VALUE_OR_CLOSE ? "a value or ']'"
                       : c->next == COMMA_OR_CLOSE && c->open[c->depth - 1] == '['
                           ? "',' or ']'"
                           : in_object[c->next];
    return lv_fail(LV_ERR_FORMAT, "not valid JSON: expected %s, found %s", what, found);
}

/* The value of four hexadecimal digits; -1 if text does not begin with them. */
static int hex4(const char *text, size_t n)
{
    int code = 0;
    for (size_t i = 0; i < 4; i++) {
        if (i >= n || !isxdigit((unsigned char)text[i])) {
            return -1;
        }
        int digit = tolower((unsigned char)text[i]);
        code = code * 16 + (digit <= '9' ? digit - '0' : digit - 'a' + 10);
    }
    return code;
}

/* An escape, from its backslash; *end is set after it. */
static int check_escape(checker *c, size_t at, size_t *end)
{
    const char *text = c->text + at;
    size_t n = c->n - at;
    if (n < 2 || text[1] != 'u') {
        *end = at + 2;
        return n < 2 || (text[1] && strchr("\"\\/bfnrt", text[1]))
                   ? LV_OK
                   : check_fail(c, at,
                                "not valid JSON: an escape that there is not (a backslash is "
                                "written as \\\\)");
    }
    int code = hex4(text + 2, n - 2);
    *end = at + 6;
    if (code < 0) {
        return check_fail(c, at, "\\u without four hexadecimal digits");
    }
    if (code == 0) {
        return check_fail(c, at, "\\u0000 inside a string is not supported");
    }
    if (code >= 0xD800 && code <= 0xDFFF) {
        int low = n >= 8 && text[6] == '\\' && text[7] == 'u' ? hex4(text + 8, n - 8) : -1;
        *end = at + 12;
        if (code >= 0xDC00 || low < 0xDC00 || low > 0xDFFF) {
            return check_fail(c, at, "not valid JSON: half of a surrogate pair");
        }
    }
    return LV_OK;
}

/* A string, from its quote. */
static int check_string(checker *c)
{
    size_t at = c->at + 1;
    for (;;) {
        at = (size_t)(lv_json_string_stop(c->text + at, c->text + c->n, true) - c->text);
        if (at >= c->n) {
            return check_fail(c, c->n, "a string is not closed");
        }
        unsigned char byte = (unsigned char)c->text[at];
        if (byte == '"') {
            c->at = at + 1;
            return LV_OK;
        }
        if (byte < 0x20) {
            return check_fail(c, at, "a control character inside a string (write it as \\u00XX)");
        }
        if (byte == '\\') {
            int rc = check_escape(c, at, &at);
            if (rc < 0) {
                return rc;
            }
            at = at < c->n ? at : c->n;
            continue;
        }
        bool valid;
        size_t len = lv_utf8_step(c->text + at, c->n - at, &valid);
        if (!valid) {
            return check_fail(c, at, "invalid UTF-8");
        }
        at += len;
    }
}

static size_t skip_digits(const checker *c, size_t at)
{
    while (at < c->n && c->text[at] >= '0' && c->text[at] <= '9') {
        at++;
    }
    return at;
}

/* Whether a double keeps a whole number of n characters, so that it prints as it is written. */
static bool is_exact(const char *text, size_t n)
{
    char digits[MAX_DIGITS + 1], back[MAX_DIGITS + 1];
    if (n < 16) {
        return true;
    }
    if (n > MAX_DIGITS) {
        return false;
    }
    memcpy(digits, text, n);
    digits[n] = '\0';
    int printed = snprintf(back, sizeof back, "%.0f", strtod(digits, NULL));
    return printed == (int)n && memcmp(digits, back, n) == 0;
}

/* Whether a number of n characters, at most MAX_DIGITS, is within a double's range. */
static bool is_finite(const char *text, size_t n)
{
    char number[MAX_DIGITS + 1];
    memcpy(number, text, n);
    number[n] = '\0';
    return isfinite(strtod(number, NULL));
}

static int check_number(checker *c)
{
    const char *text = c->text;
    size_t at = c->at + (text[c->at] == '-');
    size_t end = skip_digits(c, at);
    bool whole = true;
    if (end == at || (text[at] == '0' && end > at + 1)) {
        return check_fail(c, c->at, "not a JSON number");
    }
    if (end < c->n && text[end] == '.') {
        whole = false;
        at = end + 1;
        end = skip_digits(c, at);
        if (end == at) {
            return check_fail(c, c->at, "not a JSON number");
        }
    }
    if (end < c->n && (text[end] == 'e' || text[end] == 'E')) {
        whole = false;
        at = end + 1;
        at += at < c->n && (text[at] == '+' || text[at] == '-');
        end = skip_digits(c, at);
        if (end == at) {
            return check_fail(c, c->at, "not a JSON number");
        }
    }
    if (whole && !is_exact(text + c->at, end - c->at)) {
        return check_fail(c, c->at, "a whole number so large that it would be rounded");
    }
    if (end - c->at > MAX_DIGITS) {
        return check_fail(c, c->at, "a number of more than 63 characters");
    }
    if (!is_finite(text + c->at, end - c->at)) {
        return check_fail(c, c->at, "a number so large that it would become infinite");
    }
    c->at = end;
    return LV_OK;
}

static int check_word(checker *c)
{
    static const char *const words[] = {"true", "false", "null"};
    size_t end = c->at;
    while (end < c->n && is_word(c->text[end])) {
        end++;
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strlen(words[i]) == end - c->at && !memcmp(words[i], c->text + c->at, end - c->at)) {
            c->at = end;
            return LV_OK;
        }
    }
    return check_fail_expected(c);
}

static json_next next_after_value(const checker *c)
{
    return c->depth ? COMMA_OR_CLOSE : NOTHING;
}

static int check_value(checker *c)
{
    char first = c->text[c->at];
    if (first == '{' || first == '[') {
        if (c->depth == LV_JSON_MAX_DEPTH) {
            return check_fail(c, c->at, "nested more than 1000 deep");
        }
        c->open[c->depth++] = first;
        c->next = first == '{' ? KEY_OR_CLOSE : VALUE_OR_CLOSE;
        c->at++;
        return LV_OK;
    }
    int rc = first == '"'                                     ? check_string(c)
             : first == '-' || (first >= '0' && first <= '9') ? check_number(c)
                                                              : check_word(c);
    c->next = rc < 0 ? c->next : next_after_value(c);
    return rc;
}

/* One token, at a character that is not white space. */
static int check_token(checker *c)
{
    char first = c->text[c->at];
    bool in_array = c->depth && c->open[c->depth - 1] == '[';
    bool may_close =
        c->next == VALUE_OR_CLOSE || c->next == KEY_OR_CLOSE || c->next == COMMA_OR_CLOSE;
    if ((unsigned char)first < 0x20) {
        return check_fail(c, c->at, "a control character");
    }
    if (c->next == NOTHING) {
        return check_fail(c, c->at, "text after the end of the JSON value");
    }
    if (may_close && first == (in_array ? ']' : '}')) {
        c->at++;
        c->depth--;
        c->next = next_after_value(c);
        return LV_OK;
    }
    if (c->next == VALUE || c->next == VALUE_OR_CLOSE) {
        return check_value(c);
    }
    if (c->next == COMMA_OR_CLOSE && first == ',') {
        c->at++;
        c->next = in_array ? VALUE : KEY;
        return LV_OK;
    }
    if (c->next == COLON && first == ':') {
        c->at++;
        c->next = VALUE;
        return LV_OK;
    }
    if ((c->next == KEY || c->next == KEY_OR_CLOSE) && first == '"') {
        int rc = check_string(c);
        c->next = rc < 0 ? c->next : COLON;
        return rc;
    }
    return check_fail_expected(c);
}

int lv_json_check(const char *text, size_t n, size_t *at)
{
    checker c = {.text = text, .n = n, .next = VALUE};
    int rc = LV_OK;
    while (rc == LV_OK) {
        while (c.at < n && lv_json_is_space(text[c.at])) {
            c.at++;
        }
        if (c.at == n) {
            rc = c.next == NOTHING ? LV_OK : check_fail_expected(&c);
            break;
        }
        rc = check_token(&c);
    }
    *at = c.at;
    return rc;
}
