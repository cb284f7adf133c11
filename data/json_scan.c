/* SPDX-License-Identifier: Apache-2.0 */
#include "data/json_scan.h"

#include "autograd/error.h"

#include <string.h>

/* What a character outside strings is to the scanner. */
enum { OTHER, SPACE, QUOTE, OPEN, CLOSE, SEPARATOR };
static const unsigned char kinds[256] = {
    [' '] = SPACE, ['\t'] = SPACE,    ['\n'] = SPACE,    ['\r'] = SPACE,
    ['"'] = QUOTE, ['{'] = OPEN,      ['['] = OPEN,      ['}'] = CLOSE,
    [']'] = CLOSE, [','] = SEPARATOR, [':'] = SEPARATOR,
};

static int kind(char c)
{
    return kinds[(unsigned char)c];
}

/* The next quote or backslash, or end: 8 bytes at a time, by the trick that finds a zero byte. */
static const char *string_stop(const char *at, const char *end)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones << 7;
    while (end - at >= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        uint64_t quote = word ^ (ones * '"'), backslash = word ^ (ones * '\\');
        if ((((quote - ones) & ~quote) | ((backslash - ones) & ~backslash)) & high) {
            break;
        }
        at += sizeof word;
    }
    while (at < end && *at != '"' && *at != '\\') {
        at++;
    }
    return at;
}

void lv_json_scan_restart(lv_json_scan *scan)
{
    scan->depth = 0;
    scan->in_string = scan->escaped = scan->in_word = false;
}

/* To behind the string's closing quote: true, or false at the end. */
static bool scan_string(lv_json_scan *scan, const char **at, const char *end)
{
    const char *p = *at;
    while (p < end) {
        if (scan->escaped) {
            scan->escaped = false;
            p++;
            continue;
        }
        p = string_stop(p, end);
        if (p == end) {
            break;
        }
        scan->escaped = *p == '\\';
        scan->in_string = scan->escaped;
        p++;
        if (!scan->in_string) {
            *at = p;
            return true;
        }
    }
    *at = end;
    return false;
}

static bool close_bracket(lv_json_scan *scan, char bracket)
{
    scan->depth--;
    return scan->depth >= LV_JSON_MAX_DEPTH ||
           scan->open[scan->depth] == (bracket == '}' ? '{' : '[');
}

int lv_json_scan_value(lv_json_scan *scan, const char **at, const char *end)
{
    const char *p = *at;
    while (p < end) {
        if (scan->in_string) {
            if (scan_string(scan, &p, end) && scan->depth == 0) {
                *at = p;
                return 1;
            }
            continue;
        }
        int what = kind(*p);
        if (scan->in_word && what != OTHER) {
            *at = p;
            return 1;
        }
        if (what == QUOTE) {
            scan->in_string = true;
        } else if (what == OPEN) {
            if (scan->depth < LV_JSON_MAX_DEPTH) {
                scan->open[scan->depth] = *p;
            }
            scan->depth++;
        } else if (what == CLOSE) {
            if (!close_bracket(scan, *p)) {
                *at = p;
                return LV_ERR_FORMAT;
            }
            if (scan->depth == 0) {
                *at = p + 1;
                return 1;
            }
        } else if (scan->depth == 0) {
            scan->in_word = true;
        }
        p++;
    }
    *at = end;
    return 0;
}

static const char *skip_spaces(const char *at, const char *end)
{
    while (at < end && kind(*at) == SPACE) {
        at++;
    }
    return at;
}

/* To behind one of the object's values; false if there is none. */
static bool skip_value(lv_json_scan *scan, const char **at, const char *end)
{
    lv_json_scan_restart(scan);
    return *at < end && kind(**at) != CLOSE && kind(**at) != SEPARATOR &&
           lv_json_scan_value(scan, at, end) == 1;
}

int lv_json_scan_member(const char **value, size_t *value_bytes, const char *text, size_t n,
                        const char *key)
{
    const char *end = text + n, *at = skip_spaces(text, end);
    size_t key_bytes = strlen(key);
    lv_json_scan scan;
    if (at == end || *at != '{') {
        return 0;
    }
    do {
        const char *name = skip_spaces(at + 1, end);
        at = name;
        if (at == end || *at != '"' || !skip_value(&scan, &at, end)) {
            return 0;
        }
        size_t name_bytes = (size_t)(at - name) - 2;
        bool found = name_bytes == key_bytes && memcmp(name + 1, key, key_bytes) == 0;
        if (memchr(name, '\\', (size_t)(at - name))) {
            return -1;
        }
        at = skip_spaces(at, end);
        if (at == end || *at != ':') {
            return 0;
        }
        at = skip_spaces(at + 1, end);
        const char *begin = at;
        if (!skip_value(&scan, &at, end)) {
            return 0;
        }
        if (found) {
            *value = begin;
            *value_bytes = (size_t)(at - begin);
            return 1;
        }
        at = skip_spaces(at, end);
    } while (at < end && *at == ',');
    return 0;
}
