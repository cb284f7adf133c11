/* SPDX-License-Identifier: Apache-2.0 */
#include "data/base/text.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

size_t lv_utf8_step(const char *s, size_t n, bool *valid)
{
    unsigned char lead = (unsigned char)s[0];
    size_t len = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    *valid = false;
    if (len == 0 || lead > 0xF4) {
        return 1;
    }
    for (size_t i = 1; i < len; i++) {
        /* the second byte's range excludes overlong forms, surrogates and what is beyond
         * U+10FFFF */
        unsigned char low = i > 1 ? 0x80 : lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
        unsigned char high = i > 1 ? 0xBF : lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
        if (i >= n || (unsigned char)s[i] < low || (unsigned char)s[i] > high) {
            return i;
        }
    }
    *valid = true;
    return len;
}

uint32_t lv_utf8_code(const char *s, size_t len)
{
    static const unsigned char lead_bits[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    uint32_t code = (unsigned char)s[0] & lead_bits[len];
    for (size_t i = 1; i < len; i++) {
        code = code << 6 | ((unsigned char)s[i] & 0x3F);
    }
    return code;
}

size_t lv_utf8_put(char out[4], uint32_t code)
{
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; code >>= 6) {
        out[i] = (char)(0x80 | (code & 0x3F));
    }
    out[0] = (char)(lead[n] | code);
    return n;
}

size_t lv_text_space_bytes(const char *s, size_t n)
{
    bool valid;
    size_t len = lv_utf8_step(s, n, &valid);
    uint32_t c = valid ? lv_utf8_code(s, len) : 0;
    bool space = (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
                 c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
                 c == 0x202F || c == 0x205F || c == 0x3000;
    return space ? len : 0;
}

void lv_text_strip(const char **begin, const char **end)
{
    const char *kept_end = *begin;
    bool inside = false;
    for (const char *at = *begin; at < *end;) {
        bool valid;
        size_t left = (size_t)(*end - at);
        size_t space = lv_text_space_bytes(at, left);
        if (space == 0) {
            if (!inside) {
                *begin = at;
                inside = true;
            }
            kept_end = at + lv_utf8_step(at, left, &valid);
        }
        at += space ? space : lv_utf8_step(at, left, &valid);
    }
    *end = inside ? kept_end : *begin;
}

size_t lv_text_count_words(const char *text)
{
    size_t n_words = 0;
    bool in_word = false;
    size_t left = strlen(text);
    while (left > 0) {
        bool valid;
        size_t space = lv_text_space_bytes(text, left);
        size_t step = space ? space : lv_utf8_step(text, left, &valid);
        n_words += !space && !in_word;
        in_word = !space;
        text += step;
        left -= step;
    }
    return n_words;
}

size_t lv_text_edit_distance(const char *a, const char *b)
{
    enum { MOST = LV_TEXT_MAX_WORD };
    const size_t n_a = strlen(a), n_b = strlen(b);
    unsigned char d[MOST + 1][MOST + 1];
    if (n_a > MOST || n_b > MOST) {
        return MOST;
    }
    for (size_t i = 0; i <= n_a; i++) {
        for (size_t j = 0; j <= n_b; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = (unsigned char)(i + j);
                continue;
            }
            int x = tolower((unsigned char)a[i - 1]), y = tolower((unsigned char)b[j - 1]);
            int best = d[i - 1][j - 1] + (x != y);
            best = d[i - 1][j] + 1 < best ? d[i - 1][j] + 1 : best;
            best = d[i][j - 1] + 1 < best ? d[i][j - 1] + 1 : best;
            if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
                y == tolower((unsigned char)a[i - 2]) && d[i - 2][j - 2] + 1 < best) {
                best = d[i - 2][j - 2] + 1;
            }
            d[i][j] = (unsigned char)best;
        }
    }
    return d[n_a][n_b];
}
