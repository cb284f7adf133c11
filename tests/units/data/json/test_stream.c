/* SPDX-License-Identifier: Apache-2.0 */
#include "data/json/stream.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/json/scan.h"
#include "tests/units/data/text_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

static const char name[] = "data.json";

typedef struct {
    char *folder, *path;
} place;

static int set_up(void **state)
{
    place *p = malloc(sizeof *p);
    p->folder = make_folder();
    p->path = lv_path("%s/%s", p->folder, name);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    place *p = *state;
    remove_folder(p->folder);
    free(p->path);
    free(p);
    return 0;
}

static void write_bytes(const place *p, const char *text, size_t n)
{
    FILE *file = fopen(p->path, "wb"); /* not synced: there are thousands of them */
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static int open_text(lv_json_stream **out, const place *p, const char *text, size_t piece)
{
    write_bytes(p, text, strlen(text));
    return lv_json_stream_open(out, p->path, piece);
}

/* The texts of all records, each followed by a bar; free() it. */
static char *read_all(lv_json_stream *stream)
{
    char *all = calloc(1, (size_t)lv_json_stream_n_bytes(stream) * 2 + 1);
    int64_t index = 0, expected = 0;
    const char *text = NULL;
    size_t n = 0;
    int more;
    while ((more = lv_json_stream_next(stream, &index, &text, &n)) > 0) {
        assert_int_equal(index, expected++);
        strncat(all, text, n);
        strcat(all, "|");
    }
    assert_ok(more);
    assert_int_equal(expected, lv_json_stream_n_records(stream));
    return all;
}

static void assert_records(const place *p, const char *text, const char *expected)
{
    for (size_t piece = 1; piece <= strlen(text) + 2; piece++) {
        lv_json_stream *stream = NULL;
        assert_ok(open_text(&stream, p, text, piece));
        assert_int_equal(lv_json_stream_n_bytes(stream), strlen(text));
        assert_int_equal(lv_json_stream_crc32(stream),
                         crc32_z(0, (const void *)text, strlen(text)));
        char *all = read_all(stream);
        assert_string_equal(all, expected);
        free(all);
        lv_json_stream_close(&stream);
    }
}

static void records_are_split_alike_wherever_a_piece_ends(void **state)
{
    const place *p = *state;
    assert_records(p, "[]", "");
    assert_records(p, " [ \n ] \n", "");
    assert_records(p, "[{}]", "{}|");
    assert_records(p, "[1,2 , -3.5e2\n,true,null,NaN]", "1|2|-3.5e2|true|null|NaN|");
    assert_records(p, "[\"a\", \"\",\"]\" , \"\\\"\",\"\\\\\"]",
                   "\"a\"|\"\"|\"]\"|\"\\\"\"|\"\\\\\"|");
    assert_records(
        p,
        "\xEF\xBB\xBF[{\"a\": [1, {\"}\": \"\\\\\\\"]\"}]},\r\n\t{\"b\":\"\xE5\x9B\xBE\"}\n]\n\n",
        "{\"a\": [1, {\"}\": \"\\\\\\\"]\"}]}|{\"b\":\"\xE5\x9B\xBE\"}|");
    assert_records(p, "[[[]],[{}]]", "[[]]|[{}]|");
}

static void lines_are_records_and_empty_ones_are_skipped(void **state)
{
    const place *p = *state;
    assert_records(p, "{}", "{}|");
    assert_records(p, "{\"a\": 1}\n{\"a\": 2}\n", "{\"a\": 1}|{\"a\": 2}|");
    assert_records(p, "\n \r\n{\"a\": 1}\r\n\r\n \t\n{\"a\": \"\\n\"} \n\n",
                   "{\"a\": 1}\r|{\"a\": \"\\n\"} |");
    assert_records(p, "\xEF\xBB\xBF{}\n[1]\n3\n{\"a\": 2}", "{}|[1]|3|{\"a\": 2}|");
    /* a line that is not JSON is an error of the parser, for that line alone */
    assert_records(p, "{}\n{\"a\": \n}\n{\"b\": \"\n{}x\n{}\n", "{}|{\"a\": |}|{\"b\": \"|{}x|{}|");
    assert_records(p, "{\"a\": \"{\n{}\n", "{\"a\": \"{|{}|");
}

static void refuses(const place *p, const char *text, const char *message)
{
    for (size_t piece = 1; piece <= strlen(text) + 2; piece++) {
        lv_json_stream *stream = NULL;
        int rc = open_text(&stream, p, text, piece);
        if (rc == LV_OK) {
            print_error("accepted: %s\n", text);
        }
        assert_fails(rc, LV_ERR_FORMAT, message);
        assert_non_null(strstr(lv_error_message(), name));
        assert_null(stream);
    }
}

static void a_broken_structure_is_refused_with_its_place(void **state)
{
    static const char *const cases[][2] = {
        {"",
         "line 1 column 1: expected '[' (an array of samples) or '{' (JSONL, one object a line), "
         "found the end of the file; was it cut off?"},
        {" \n ", "line 2 column 2: expected '['"},
        {"\xEF\xBB\xBF", "line 1 column 1: expected '['"},
        {"id,image\n", "found 'id'"},
        {"\xEF\xBB\xBF\n\xEF\xBB\xBF[]",
         "line 2 column 1: expected '[' (an array of samples) or '{' "
         "(JSONL, one object a line), found a byte order mark"},
        {"\x1F\x8B\x08", "found byte 0x1F"},
        {"\xFF\xFE[", "is in UTF-16; it must be in UTF-8"},
        {"[",
         "line 1 column 2: expected a record or ']', found the end of the file; was it cut off?"},
        {"[{}", "line 1 column 4: expected ',' or ']' after a record, found the end of the file"},
        {"[{}\n", "line 2 column 1: expected ',' or ']' after a record, found the end of the file"},
        {"[{},", "line 1 column 5: expected a record, found the end of the file"},
        {"[{},\n]", "line 2 column 1: expected a record, found ']'"},
        {"[,{}]", "line 1 column 2: expected a record or ']', found ','"},
        {"[1,,2]", "line 1 column 4: expected a record, found ','"},
        {"[{}\n {}]", "line 2 column 2: expected ',' or ']' after a record, found '{'"},
        {"[{};{}]", "found ';'"},
        {"[1 2]", "column 4: expected ',' or ']' after a record, found '2'"},
        {"[\"a\"\"b\"]", "column 5: expected ',' or ']' after a record, found '\"'"},
        {"[}", "expected a record or ']', found '}'"},
        {"[:]", "expected a record or ']', found ':'"},
        {"[{}]\n]", "line 2 column 1: expected nothing after the array, found ']'"},
        {"[{}][{}]", "line 1 column 5: expected nothing after the array, found '['"},
        {"[{}]\n{}\n", "line 2 column 1: expected nothing after the array, found '{'"},
        {"[{},\n {\"a\": [1}]",
         "line 2 column 10: not valid JSON: expected ',' or ']', found '}' (in "
         "record 1, which begins on line 2)"},
        {"[{},\n {\"\xC3\xA9\": \"b}\n]", "line 2 column 11: a control character inside a string"},
        {"[{}, {\"a\": \"b",
         "column 14: a string is not closed (in record 1, which begins on line 1); "
         "the file ends in it: was it cut off?"},
        {"[{\"a\": \"b\\", "was it cut off?"},
        {"[12", "the file ends in it: was it cut off?"},
        {"{}\n{\"a\": 1",
         "line 2 column 8: not valid JSON: expected ',' or '}', found the end (in record "
         "1, which begins on line 2); the file ends in it: was it cut off?"},
        {"{}\n{}{\"a\"", "line 2 column 3: text after the end of the JSON value (in record 1"},
        {"{}\n{\"a\": \"b", "a string is not closed"},
        {"{}\n]", "line 2 column 1: not valid JSON: expected a value, found ']'"},
        {"{\n  \"a\": 1\n}\n",
         "line 1 column 2: not valid JSON: expected a key in quotes or '}', found the "
         "end (in record 0, which begins on line 1); a file that begins with '{' is "
         "read as JSONL, one object a line"},
        {"{\"a\": 1, \r\n\"b\": 2}", "is read as JSONL"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        refuses(*state, cases[i][0], cases[i][1]);
    }
    lv_json_stream *stream = NULL; /* zeros that a crash left at the end */
    write_bytes(*state, "[{}]\0\0", 6);
    place *p = *state;
    assert_fails(lv_json_stream_open(&stream, p->path, 0), LV_ERR_FORMAT, "found byte 0x00");
    write_bytes(p, "{}\n\0\0", 5);
    assert_fails(lv_json_stream_open(&stream, p->path, 0), LV_ERR_FORMAT, "line 2 column 1: ");
}

static void no_part_of_an_array_passes_for_a_shorter_one(void **state)
{
    const place *p = *state;
    const char *whole = "[{\"a\": [1, \"x]\\\"}\"]}, {\"b\": {\"c\": null}}, 7, \"[]\"]";
    for (size_t n = 0; n < strlen(whole); n++) {
        lv_json_stream *stream = NULL;
        write_bytes(p, whole, n);
        assert_int_equal(lv_json_stream_open(&stream, p->path, 5), LV_ERR_FORMAT);
    }
    /* of lines, only whole ones pass */
    whole = "{\"a\": [1, \"x]\\\"}\"]}\n{\"b\": {\"c\": null}}\n{\"d\": \"{}\"}\n";
    for (size_t n = 0; n < strlen(whole); n++) {
        lv_json_stream *stream = NULL;
        write_bytes(p, whole, n);
        bool ends_line = n > 0 && (whole[n] == '\n' || whole[n - 1] == '\n');
        assert_int_equal(lv_json_stream_open(&stream, p->path, 5),
                         ends_line ? LV_OK : LV_ERR_FORMAT);
        lv_json_stream_close(&stream);
    }
}

/* ---- arrays made at random ---- */

static uint64_t draw(uint64_t below)
{
    static uint64_t random = 88172645463325252u;
    random ^= random << 13, random ^= random >> 7, random ^= random << 17;
    return (random >> 11) % below;
}

#define PICK(list) list[draw(sizeof list / sizeof *list)]

static void add_space(char *text)
{
    static const char *const spaces[] = {"", "", "", " ", "\n", "\r\n\t", "                "};
    strcat(text, PICK(spaces));
}

static void add_string(char *text)
{
    static const char *const parts[] = {"a",
                                        "]",
                                        "{",
                                        ",",
                                        "\\\"",
                                        "\\\\",
                                        "\\n",
                                        "\\u00e9",
                                        "\\/",
                                        "\xC3\xA9",
                                        "\xF0\x9F\x98\x80",
                                        "plain text of some length"};
    strcat(text, "\"");
    for (uint64_t n = draw(6); n > 0; n--) {
        strcat(text, PICK(parts));
    }
    strcat(text, "\"");
}

static void add_value(char *text, int depth)
{
    static const char *const words[] = {"0", "-1.5e3", "true", "false", "null", "12345"};
    uint64_t kind = draw(depth ? 4 : 2);
    if (kind == 0) {
        strcat(text, PICK(words));
    } else if (kind == 1) {
        add_string(text);
    } else {
        strcat(text, kind == 2 ? "[" : "{");
        for (uint64_t i = 0, n = draw(4); i < n; i++) {
            strcat(text, i ? "," : "");
            add_space(text);
            if (kind == 3) {
                sprintf(text + strlen(text), "\"%c%c\"", (char)('a' + i), (char)('a' + draw(26)));
                add_space(text);
                strcat(text, ":");
                add_space(text);
            }
            add_value(text, depth - 1);
            add_space(text);
        }
        strcat(text, kind == 2 ? "]" : "}");
    }
}

static void a_random_array_split_and_parsed_is_what_cjson_makes_of_the_whole(void **state)
{
    enum { TEXT_BYTES = 1 << 18 };
    const place *p = *state;
    char *text = malloc(TEXT_BYTES);
    for (int round = 0; round < 300; round++) {
        uint64_t n = draw(12);
        strcpy(text, draw(2) ? "[" : " \n[");
        for (uint64_t i = 0; i < n; i++) {
            strcat(text, i ? "," : "");
            add_space(text);
            add_value(text, 3);
            add_space(text);
        }
        strcat(text, "]\n");
        cJSON *whole = cJSON_Parse(text);
        assert_non_null(whole);
        for (int times = 0; times < 4; times++) {
            lv_json_stream *stream = NULL;
            int64_t index = 0;
            const char *record = NULL;
            size_t n_bytes = 0;
            assert_ok(open_text(&stream, p, text, 1 + draw(times ? 40 : 4)));
            assert_int_equal(lv_json_stream_n_records(stream), n);
            for (const cJSON *child = whole->child; child; child = child->next) {
                cJSON *item = NULL;
                size_t at;
                assert_int_equal(lv_json_stream_next(stream, &index, &record, &n_bytes), 1);
                assert_ok(lv_json_parse_part(&item, record, n_bytes, &at));
                assert_true(cJSON_Compare(child, item, true));
                /* and the place is that of the text */
                lv_json_place is = lv_json_stream_place(stream, 0), from = {1, 1};
                const char *found = text;
                while (from.line != is.line || from.column != is.column) {
                    from.column = *found == '\n' ? 1 : from.column + ((*found & 0xC0) != 0x80);
                    from.line += *found++ == '\n';
                    assert_true(*found);
                }
                assert_memory_equal(found, record, n_bytes);
                cJSON_Delete(item);
            }
            assert_int_equal(lv_json_stream_next(stream, &index, &record, &n_bytes), 0);
            lv_json_stream_close(&stream);
        }
        cJSON_Delete(whole);
    }
    free(text);
}

/* ---- seeking ---- */

enum { N_MANY = 5000 };

static void write_many(const place *p, bool lines)
{
    FILE *file = fopen(p->path, "wb");
    assert_non_null(file);
    fputs(lines ? "" : "[", file);
    for (int i = 0; i < N_MANY; i++) {
        fprintf(file, "%s{\"id\": %d, \"pad\": \"%.*s\"}%s", lines || i == 0 ? "" : ",\n ", i,
                i % 37, "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]", lines ? "\n" : "");
    }
    fputs(lines ? "" : "]", file);
    assert_int_equal(fclose(file), 0);
}

static void seeking_gives_what_reading_in_order_gives(void **state)
{
    const place *p = *state;
    for (int lines = 0; lines < 2; lines++) {
        lv_json_stream *stream = NULL;
        int64_t index = 0;
        const char *text = NULL;
        size_t n = 0;
        write_many(p, lines);
        assert_ok(lv_json_stream_open(&stream, p->path, 1000));
        assert_int_equal(lv_json_stream_n_records(stream), N_MANY);
        for (int i = 0; i < 400; i++) {
            static const int64_t edges[] = {0, 1, 1023, 1024, 1025, 4095, 4096, N_MANY - 1, N_MANY};
            int64_t from = i % 3 ? (int64_t)draw(N_MANY + 1) : PICK(edges);
            lv_json_stream_seek(stream, from);
            for (int64_t k = from; k < from + 3 && k < N_MANY; k++) {
                char expected[64];
                int length =
                    snprintf(expected, sizeof expected, "{\"id\": %d, \"pad\": \"", (int)k);
                assert_int_equal(lv_json_stream_next(stream, &index, &text, &n), 1);
                assert_int_equal(index, k);
                assert_int_equal(n, (size_t)length + (size_t)(k % 37) + 2);
                assert_memory_equal(text, expected, (size_t)length);
                assert_int_equal(lv_json_stream_place(stream, 0).line, k + 1);
            }
            if (from + 3 >= N_MANY) {
                assert_int_equal(lv_json_stream_next(stream, &index, &text, &n), 0);
            }
        }
        lv_json_stream_close(&stream);
    }
}

/* ---- files that change or are none ---- */

static void a_file_that_changes_while_it_is_read_is_an_error(void **state)
{
    const place *p = *state;
    for (int change = 0; change < 3; change++) {
        lv_json_stream *stream = NULL;
        int64_t index = 0;
        const char *text = NULL;
        size_t n = 0;
        int rc = 1, n_read = 0;
        write_many(p, false);
        assert_ok(lv_json_stream_open(&stream, p->path, 1000));
        assert_int_equal(lv_json_stream_next(stream, &index, &text, &n), 1);
        if (change == 0) {
            assert_int_equal(truncate(p->path, 20000), 0);
        } else if (change == 1) {
            FILE *file = fopen(p->path, "ab");
            fputs(" ", file);
            fclose(file);
        } else {
            struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1}};
            assert_int_equal(utimensat(AT_FDCWD, p->path, times, 0), 0);
        }
        while (rc > 0) {
            rc = lv_json_stream_next(stream, &index, &text, &n);
            n_read += rc > 0;
        }
        assert_fails(rc, LV_ERR_IO, "data.json: was changed by another program");
        assert_true(n_read < 200);
        lv_json_stream_close(&stream);
    }
}

/* The same size and time, but other text. */
static void records_that_are_no_longer_where_they_were_are_an_error(void **state)
{
    const place *p = *state;
    static const char other[] = "{}]}";
    for (size_t i = 0; i < sizeof other - 1; i++) {
        lv_json_stream *stream = NULL;
        int64_t index = 0;
        const char *text = NULL;
        size_t n = 0;
        struct stat st;
        write_many(p, false);
        assert_int_equal(stat(p->path, &st), 0);
        assert_ok(lv_json_stream_open(&stream, p->path, 1000));
        FILE *file = fopen(p->path, "r+b");
        fseek(file, 3000, SEEK_SET);
        for (int k = 0; k < 40; k++) {
            fputc(other[i], file);
        }
        fclose(file);
        struct timespec times[2] = {st.st_atim, st.st_mtim};
        assert_int_equal(utimensat(AT_FDCWD, p->path, times, 0), 0);
        int rc = 1;
        while (rc > 0) {
            rc = lv_json_stream_next(stream, &index, &text, &n);
        }
        assert_fails(rc, LV_ERR_IO, "was changed by another program");
        lv_json_stream_close(&stream);
    }
}

/* The same, and the array is still whole: one space moved from after a mark to before it. */
static void a_record_that_moved_by_one_byte_is_an_error(void **state)
{
    const place *p = *state;
    lv_json_stream *stream = NULL;
    int64_t index = 0;
    const char *record = NULL;
    char *text = NULL;
    size_t n = 0;
    struct stat st;
    write_many(p, false);
    assert_int_equal(stat(p->path, &st), 0);
    assert_ok(lv_json_stream_open(&stream, p->path, 1000));
    assert_ok(lv_file_read(&text, &n, p->path));
    char *space = strstr(text, " {\"id\": 2000,");
    assert_non_null(space);
    memmove(text + 3, text + 2, (size_t)(space - text) - 2);
    text[2] = ' ';
    FILE *file = fopen(p->path, "r+b");
    assert_int_equal(fwrite(text, 1, n, file), n);
    fclose(file);
    struct timespec times[2] = {st.st_atim, st.st_mtim};
    assert_int_equal(utimensat(AT_FDCWD, p->path, times, 0), 0);
    int rc = 1;
    while (rc > 0) {
        rc = lv_json_stream_next(stream, &index, &record, &n);
    }
    assert_fails(rc, LV_ERR_IO, "was changed by another program");
    assert_int_equal(index, 1023);
    lv_json_stream_close(&stream);
    free(text);
}

static void what_is_no_file_is_refused_at_once(void **state)
{
    const place *p = *state;
    lv_json_stream *stream = NULL;
    assert_fails(lv_json_stream_open(&stream, p->path, 0), LV_ERR_IO, "No such file");
    assert_fails(lv_json_stream_open(&stream, p->folder, 0), LV_ERR_IO, "not a regular file");
    assert_int_equal(mkfifo(p->path, 0600), 0);
    assert_fails(lv_json_stream_open(&stream, p->path, 0), LV_ERR_IO, "not a regular file");
    assert_fails(lv_json_stream_open(&stream, "/dev/zero", 0), LV_ERR_IO, "not a regular file");
}

/* Records of which the second is larger than the limit by so many bytes, in an array or lines. */
static void write_large(const place *p, bool lines, int more)
{
    size_t n = LV_JSON_MAX_RECORD_BYTES + (size_t)more;
    char *text = malloc(n + 64);
    int front = sprintf(text, lines ? "{}\n {\"a\": \"" : "[{},\n {\"a\": \"");
    size_t first = lines ? 4 : 6;
    memset(text + front, 'x', n);
    memcpy(text + first + n - 2, "\"}", 2);
    int end = sprintf(text + first + n, lines ? "\n{\"b\": 1}" : ", {\"b\": 1}]");
    write_bytes(p, text, first + n + (size_t)end);
    free(text);
}

static void a_record_beyond_the_limit_is_passed_over_alone(void **state)
{
    const place *p = *state;
    for (int i = 0; i < 4; i++) {
        lv_json_stream *stream = NULL;
        int64_t index = 0;
        const char *text = NULL;
        size_t n = 0;
        bool large = i < 2;
        write_large(p, i % 2, large);
        assert_ok(lv_json_stream_open(&stream, p->path, 0));
        assert_int_equal(lv_json_stream_n_records(stream), 3);
        assert_int_equal(lv_json_stream_next(stream, &index, &text, &n), 1);
        assert_int_equal(lv_json_stream_next(stream, &index, &text, &n), 1);
        assert_int_equal(index, 1);
        assert_int_equal(n, large ? 0 : LV_JSON_MAX_RECORD_BYTES);
        assert_true(large == !text);
        lv_json_place at = lv_json_stream_place(stream, 0);
        assert_int_equal(at.line, 2);
        assert_int_equal(at.column, 2);
        assert_int_equal(lv_json_stream_next(stream, &index, &text, &n), 1);
        assert_int_equal(index, 2);
        assert_int_equal(n, 8);
        assert_memory_equal(text, "{\"b\": 1}", n);
        assert_int_equal(lv_json_stream_next(stream, &index, &text, &n), 0);
        lv_json_stream_close(&stream);
    }
}

/* A record of HUGE bytes, which the file system does not store. */
enum { HUGE = 384 << 20 };
static int open_huge(lv_json_stream **out, const place *p, const char *front, const char *back)
{
    write_bytes(p, front, strlen(front));
    FILE *file = fopen(p->path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, HUGE, SEEK_SET), 0);
    assert_int_equal(fwrite(back, 1, strlen(back), file), strlen(back));
    assert_int_equal(fclose(file), 0);
    return lv_json_stream_open(out, p->path, 0);
}

static void a_huge_record_takes_the_memory_of_the_limit(void **state)
{
    const place *p = *state;
    static const char *const whole[][2] = {
        {"[{\"a\": \"", "\"}, {}]"}, {"{\"a\": \"", "\"}\n{}"}, {"{}\n{\"a\": \"", "\"} "}};
    static const char *const broken[][3] = {
        {"[{\"a\": \"", "\", {}]", "line 1 column 2: record 0, larger than 64 MB, is not valid"},
        {"[{\"a\": \"", "\"", "the file ends in it: was it cut off?"},
        {"{}\n{\"a\": \"", "x",
         "line 2 column 1: record 1, larger than 64 MB, is not valid JSON; "},
        {"{}\n{\"a\": \"", "\"}}", "was it cut off?"},
    };
    struct rusage before, after;
    lv_json_stream *stream = NULL;
    assert_int_equal(getrusage(RUSAGE_SELF, &before), 0);
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        assert_ok(open_huge(&stream, p, whole[i][0], whole[i][1]));
        assert_int_equal(lv_json_stream_n_records(stream), 2);
        lv_json_stream_close(&stream);
    }
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        assert_fails(open_huge(&stream, p, broken[i][0], broken[i][1]), LV_ERR_FORMAT,
                     broken[i][2]);
    }
    assert_int_equal(getrusage(RUSAGE_SELF, &after), 0);
    assert_true(after.ru_maxrss - before.ru_maxrss < 100 << 10); /* in KB */
}

static void nesting_without_end_takes_no_memory(void **state)
{
    const place *p = *state;
    enum { DEPTH = 1000000 };
    lv_json_stream *stream = NULL;
    char *text = malloc(2 * DEPTH + 2);
    text[0] = '[';
    memset(text + 1, '[', DEPTH);
    memset(text + 1 + DEPTH, ']', DEPTH);
    text[2 * DEPTH + 1] = ']';
    write_bytes(p, text, 2 * DEPTH + 2); /* a record that a parser will refuse */
    assert_ok(lv_json_stream_open(&stream, p->path, 0));
    assert_int_equal(lv_json_stream_n_records(stream), 1);
    lv_json_stream_close(&stream);
    write_bytes(p, text, 2 * DEPTH);
    assert_fails(lv_json_stream_open(&stream, p->path, 0), LV_ERR_FORMAT, "nested more than 1000");
    free(text);
}

static void finds(const char *text, int expected, const char *value)
{
    const char *found = "";
    size_t n = 0;
    assert_int_equal(lv_json_scan_member(&found, &n, text, strlen(text), "image"), expected);
    assert_int_equal(n, strlen(value));
    assert_memory_equal(found, value, n);
}

static void a_member_is_found_at_the_top_alone(void **state)
{
    (void)state;
    finds("{\"image\": \"a.jpg\"}", 1, "\"a.jpg\"");
    finds(" { \"id\" : 1 , \"image\" : [ \"a\", \"b\" ] , \"x", 1, "[ \"a\", \"b\" ]");
    finds("{\"a\": {\"image\": 1}, \"b\": [{\"image\": 2}], \"c\": \"\\\"image\\\": 3\", "
          "\"image\":4}",
          1, "4");
    finds("{\"Image\": 1, \"images\": 2, \"imag\": 3, \"x\": \"image\"}", 0, "");
    finds("{\"\\u0069mage\": 1}", -1, "");
    finds("{\"a\\n\": 1, \"image\": 1}", -1, "");
    static const char *const none[] = {"",
                                       "{}",
                                       "[\"image\"]",
                                       "\"image\"",
                                       "{\"image\"",
                                       "{\"image\":",
                                       "{",
                                       "{\"image\" 1}",
                                       "{\"image\":}",
                                       "{\"a\",\"image\":1}",
                                       "{\"image\": \"a"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        finds(none[i], 0, "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(records_are_split_alike_wherever_a_piece_ends, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(lines_are_records_and_empty_ones_are_skipped, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_broken_structure_is_refused_with_its_place, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(no_part_of_an_array_passes_for_a_shorter_one, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            a_random_array_split_and_parsed_is_what_cjson_makes_of_the_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(seeking_gives_what_reading_in_order_gives, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_changes_while_it_is_read_is_an_error, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(records_that_are_no_longer_where_they_were_are_an_error,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_record_that_moved_by_one_byte_is_an_error, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_file_is_refused_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_record_beyond_the_limit_is_passed_over_alone, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_huge_record_takes_the_memory_of_the_limit, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(nesting_without_end_takes_no_memory, set_up, tear_down),
        cmocka_unit_test(a_member_is_found_at_the_top_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
