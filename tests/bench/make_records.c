/* SPDX-License-Identifier: Apache-2.0
 *
 * make_records BYTES array|jsonl|pretty text|image: about so many bytes of made-up LLaVA data on
 * standard output, the same each time. The three layouts hold the same records.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RECORD_BYTES = 64 << 10, MAX_WORDS = 60, MAX_ROUNDS = 4 };

/* As they are written in JSON: escapes, quotes and other alphabets belong to real data. */
static const char *const words[] = {
    "the",
    "a",
    "man",
    "woman",
    "in",
    "red",
    "standing",
    "near",
    "bus",
    "street",
    "kitchen",
    "with",
    "two",
    "dogs",
    "and",
    "on",
    "table",
    "plate",
    "sign",
    "says",
    "is",
    "smiling",
    "of",
    "holding",
    "large",
    "window",
    "probably",
    "behind",
    "it",
    "\\\"Stop\\\"",
    "caf\xC3\xA9",
    "\xE5\x9B\xBE\xE7\x89\x87",
    "\\u00e9t\\u00e9",
    "C:\\\\dir",
    "first\\nsecond",
    "\xF0\x9F\x98\x80",
};
enum { N_WORDS = sizeof words / sizeof *words };

typedef struct {
    char text[MAX_RECORD_BYTES];
    size_t n;
    uint64_t random;
    int pretty;
} maker;

static uint64_t draw(maker *m, uint64_t below)
{
    m->random = m->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (m->random >> 33) % below;
}

__attribute__((format(printf, 2, 3))) static void add(maker *m, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    m->n += (size_t)vsnprintf(m->text + m->n, sizeof m->text - m->n, fmt, args);
    va_end(args);
    if (m->n >= sizeof m->text) {
        fputs("make_records: a record is too long\n", stderr);
        exit(1);
    }
}

/* A new line indented so far, or a blank between members on one line. */
static void add_line(maker *m, int depth, const char *otherwise)
{
    if (m->pretty) {
        add(m, "\n%*s", 2 * depth, "");
    } else {
        add(m, "%s", otherwise);
    }
}

static void add_turn(maker *m, const char *from, int mark, int is_last)
{
    uint64_t n = 5 + draw(m, MAX_WORDS - 5);
    add_line(m, 3, "");
    add(m, "{");
    add_line(m, 4, "");
    add(m, "\"from\": \"%s\",", from);
    add_line(m, 4, " ");
    add(m, "\"value\": \"%s", mark ? "<image>\\n" : "");
    for (uint64_t i = 0; i < n; i++) {
        add(m, "%s%s", i ? " " : "", words[draw(m, N_WORDS)]);
    }
    add(m, ".\"");
    add_line(m, 3, "");
    add(m, "}%s", is_last ? "" : m->pretty ? "," : ", ");
}

static void make_record(maker *m, int64_t index, int with_image)
{
    uint64_t n_rounds = 1 + draw(m, MAX_ROUNDS);
    m->n = 0;
    add(m, "{");
    add_line(m, 2, "");
    add(m, "\"id\": \"%09" PRId64 "\",", index);
    if (with_image) {
        add_line(m, 2, " ");
        add(m, "\"image\": \"train/%012" PRIu64 ".jpg\",", draw(m, 120000));
    }
    add_line(m, 2, " ");
    add(m, "\"conversations\": [");
    for (uint64_t i = 0; i < n_rounds; i++) {
        add_turn(m, "human", with_image && i == 0, 0);
        add_turn(m, "gpt", 0, i + 1 == n_rounds);
    }
    add_line(m, 2, "");
    add(m, "]");
    add_line(m, 1, "");
    add(m, "}");
}

int main(int argc, char **argv)
{
    static maker m = {.random = 1};
    if (argc != 4) {
        fputs("usage: make_records BYTES array|jsonl|pretty text|image\n", stderr);
        return 2;
    }
    int64_t bytes = strtoll(argv[1], NULL, 10), written = 0;
    int lines = strcmp(argv[2], "jsonl") == 0, with_image = strcmp(argv[3], "image") == 0;
    m.pretty = strcmp(argv[2], "pretty") == 0;
    if (!lines) {
        putchar('[');
    }
    for (int64_t index = 0; written < bytes; index++) {
        make_record(&m, index, with_image);
        fputs(lines || index == 0 ? "" : m.pretty ? "," : ", ", stdout);
        fputs(m.pretty ? "\n  " : "", stdout);
        fwrite(m.text, 1, m.n, stdout);
        fputs(lines ? "\n" : "", stdout);
        written += (int64_t)m.n;
    }
    if (!lines) {
        puts(m.pretty ? "\n]" : "]");
    }
    return fflush(stdout) || ferror(stdout) ? 1 : 0;
}
