/* SPDX-License-Identifier: Apache-2.0 */
#include "data/json/scan.h"

#include "autograd/error.h"

#include <string.h>

/* The class of a character outside strings. */
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

bool lv_json_is_space(char c)
{
    return kind(c) == SPACE;
}

/* 8 bytes at a time, by the test for a zero byte: the lowest byte that it marks is one, those above
 * may be none. */
const char *lv_json_string_stop(const char *at, const char *end, bool strict)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones << 7;
    while (end - at >= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        uint64_t quote = word ^ (ones * '"'), backslash = word ^ (ones * '\\');
        uint64_t hit = ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash);
        hit |= strict ? ((word - ones * 0x20) & ~word) | word : 0;
        if (hit & high) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
            return at + __builtin_ctzll(hit & high) / 8;
#else
            break;
#endif
        }
        at += sizeof word;
    }
    while (at < end && *at != '"' && *at != '\\' &&
           !(strict && ((unsigned char)*at < 0x20 || (unsigned char)*at >= 0x80))) {
        at++;
    }
    return at;
}

void lv_json_scan_restart(lv_json_scan *scan)
{
    scan->depth = 0;
    scan->in_string = scan->escaped = scan->in_word = false;
}

/* To after the string's closing quote, or to end if that comes first. */
static const char *scan_string(lv_json_scan *scan, const char *at, const char *end)
{
    at += scan->escaped && at < end;
    for (;;) {
        at = lv_json_string_stop(at, end, false);
        scan->escaped = at < end && *at == '\\' && end - at == 1;
        if (at == end || scan->escaped) {
            return end;
        }
        if (*at == '"') {
            scan->in_string = false;
            return at + 1;
        }
        at += 2;
    }
}

static void open_bracket(lv_json_scan *scan, char bracket)
{
    if (scan->depth < LV_JSON_MAX_DEPTH) {
        scan->open[scan->depth] = bracket;
    }
    scan->depth++;
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
    int rc = 0;
    while (rc == 0 && p < end) {
        int what = scan->in_string ? QUOTE : kind(*p);
        if (scan->in_word && what != OTHER) {
            rc = 1;
        } else if (what == QUOTE) {
            p += !scan->in_string;
            scan->in_string = true;
            p = scan_string(scan, p, end);
            rc = scan->depth == 0 && !scan->in_string;
        } else if (what == OPEN) {
            open_bracket(scan, *p++);
        } else if (what == CLOSE) {
            rc = !close_bracket(scan, *p) ? LV_ERR_FORMAT : scan->depth == 0;
            p += rc >= 0;
        } else {
            scan->in_word = scan->depth == 0;
            p++;
        }
    }
    *at = p;
    return rc;
}

static const char *scan_spaces(const char *at, const char *end)
{
    while (at < end && kind(*at) == SPACE) {
        at++;
    }
    return at;
}

/* To after one of the object's values; false if there is none. */
static bool skip_value(lv_json_scan *scan, const char **at, const char *end)
{
    lv_json_scan_restart(scan);
    return *at < end && kind(**at) != CLOSE && kind(**at) != SEPARATOR &&
           lv_json_scan_value(scan, at, end) == 1;
}

int lv_json_scan_member(const char **value, size_t *value_bytes, const char *text, size_t n,
                        const char *key)
{
    const char *end = text + n, *at = scan_spaces(text, end);
    size_t key_bytes = strlen(key);
    lv_json_scan scan;
    if (at == end || *at != '{') {
        return 0;
    }
    do {
        const char *name = scan_spaces(at + 1, end);
        at = name;
        if (at == end || *at != '"' || !skip_value(&scan, &at, end)) {
            return 0;
        }
        size_t name_bytes = (size_t)(at - name) - 2;
        bool found = name_bytes == key_bytes && memcmp(name + 1, key, key_bytes) == 0;
        if (memchr(name, '\\', (size_t)(at - name))) {
            return -1;
        }
        at = scan_spaces(at, end);
        if (at == end || *at != ':') {
            return 0;
        }
        at = scan_spaces(at + 1, end);
        const char *begin = at;
        if (!skip_value(&scan, &at, end)) {
            return 0;
        }
        if (found) {
            *value = begin;
            *value_bytes = (size_t)(at - begin);
            return 1;
        }
        at = scan_spaces(at, end);
    } while (at < end && *at == ',');
    return 0;
}
