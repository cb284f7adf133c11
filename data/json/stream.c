/* SPDX-License-Identifier: Apache-2.0 */
#include "data/json/stream.h"

#include "autograd/error.h"
#include "data/base/file_window.h"
#include "data/json/scan.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    PIECE_BYTES = 256 << 10, /* stays in the L2 cache between reading, checksum and scanning */
    MARK_EVERY = 1024,       /* records from one remembered place to the next */
};

typedef enum {
    LINE,           /* of JSONL, or the end */
    FIRST,          /* after '[': a record or ']' */
    RECORD,         /* after ',': a record */
    COMMA_OR_CLOSE, /* after a record */
    END             /* after ']' */
} stream_next;

typedef struct {
    int64_t offset; /* in the file, of a record's first byte */
    lv_json_place place;
} stream_mark;

struct lv_json_stream {
    bool indexed; /* the first pass is over: the next three are whole */
    int64_t n_records;
    uint32_t crc32;
    stream_mark *marks; /* of the records 0, MARK_EVERY, 2 MARK_EVERY, ... */
    int64_t marks_capacity;
    lv_file_window window;
    lv_json_place place; /* of the window's first byte */
    int64_t kept, at;    /* offsets: the record that was read, or is being read, is [kept, at) */
    bool too_large;      /* it is larger than the limit: what was read of it is not kept */
    lv_json_place first; /* of its first character then */
    stream_next next;    /* what is expected */
    lv_json_scan scan;
    int ended;      /* of a line: 0 in its value, 1 after it, < 0 not one value */
    int64_t index;  /* of the record that read_record reads next */
    int64_t wanted; /* of the record that the caller gets next */
};

static const char *pointer(const lv_json_stream *s, int64_t offset)
{
    return lv_file_window_at(&s->window, offset);
}

static lv_json_place place_of(const lv_json_stream *s, int64_t offset)
{
    lv_json_place place = s->place;
    lv_json_place_advance(&place, s->window.data, (size_t)(offset - s->window.begin));
    return place;
}

static bool is_one_of(char c, const char *set)
{
    return c && strchr(set, c);
}

/* ---- failures ---- */

/* The last message, at that place. */
static int stream_fail(const lv_json_stream *s, lv_json_place place)
{
    if (s->indexed) { /* the first pass found it whole */
        return lv_file_window_changed(&s->window);
    }
    lv_json_fail_at(place);
    return lv_fail_within("%s", s->window.path);
}

/* A record that does not end, or whose brackets do not match, with the place that the check of the
 * grammar finds. */
static int fail_record(const lv_json_stream *s, int64_t end, const char *hint)
{
    size_t at = 0;
    if (s->too_large) {
        lv_fail(LV_ERR_FORMAT, "record %" PRId64 ", larger than %d MB, is not valid JSON%s",
                s->index, LV_JSON_MAX_RECORD_BYTES >> 20, hint);
        return stream_fail(s, s->first);
    }
    int64_t line = place_of(s, s->kept).line;
    if (lv_json_check(pointer(s, s->kept), (size_t)(end - s->kept), &at) == LV_OK) {
        lv_fail(LV_ERR_FORMAT, "not valid JSON");
    }
    lv_fail(LV_ERR_FORMAT, "%s (in record %" PRId64 ", which begins on line %" PRId64 ")%s",
            lv_error_message(), s->index, line, hint);
    return stream_fail(s, place_of(s, s->kept + (int64_t)at));
}

static const char cut_off[] = "; the file ends in it: was it cut off?";

/* ---- reading ---- */

static void begin_line(lv_json_stream *s)
{
    lv_json_scan_restart(&s->scan);
    s->ended = is_one_of(*pointer(s, s->kept), "]},:") ? LV_ERR_FORMAT : 0;
}

/* Scans to that offset: the line's value, brackets and quotes closed, and then white space. */
static void follow_line(lv_json_stream *s, int64_t end)
{
    const char *at = pointer(s, s->kept), *stop = pointer(s, end);
    if (s->ended == 0) {
        s->ended = lv_json_scan_value(&s->scan, &at, stop);
    }
    while (s->ended == 1 && at < stop && is_one_of(*at, " \t\r")) {
        at++;
    }
    s->ended = s->ended == 1 && at < stop ? LV_ERR_FORMAT : s->ended;
}

/* Drops the part of a too large record that was read, so that memory stays within the limit. */
static void drop_large(lv_json_stream *s)
{
    if (!s->too_large && s->at - s->kept > LV_JSON_MAX_RECORD_BYTES) {
        s->too_large = true;
        s->first = place_of(s, s->kept);
        if (s->next == LINE) {
            begin_line(s);
        }
    }
    if (s->too_large) {
        if (s->next == LINE) {
            follow_line(s, s->at);
        }
        s->kept = s->at;
    }
}

/* Reads one more piece. returns 1, or 0 at the end of the file */
static int read_more(lv_json_stream *s)
{
    int64_t old_end = s->window.end;
    drop_large(s);
    lv_json_place place = place_of(s, s->kept);
    int rc = lv_file_window_fill(&s->window, s->kept);
    if (rc < 0) {
        return rc;
    }
    s->place = place;
    if (!s->indexed) {
        s->crc32 = (uint32_t)crc32_z(s->crc32, (const unsigned char *)pointer(s, old_end),
                                     (size_t)(s->window.end - old_end));
    }
    return rc;
}

static int stream_fail_expected(lv_json_stream *s)
{
    static const char *const names[] = {
        [LINE] = "'[' (an array of samples) or '{' (JSONL, one object a line)",
        [FIRST] = "a record or ']'",
        [RECORD] = "a record",
        [COMMA_OR_CLOSE] = "',' or ']' after a record",
        [END] = "nothing after the array",
    };
    char found[LV_JSON_FOUND_BYTES];
    while (s->window.end - s->at < LV_JSON_FOUND_BYTES && read_more(s) > 0) {
        /* so that the message does not depend on the ends of pieces */
    }
    lv_json_found(found, pointer(s, s->at), (size_t)(s->window.end - s->at));
    lv_fail(LV_ERR_FORMAT, "expected %s, found %s%s", names[s->next], found,
            s->at == s->window.end ? " of the file; was it cut off?" : "");
    return stream_fail(s, place_of(s, s->at));
}

/* To the next character that is not white space. returns 1, or 0 at the end of the file */
static int stream_skip_spaces(lv_json_stream *s)
{
    for (;;) {
        const char *from = pointer(s, s->at), *end = pointer(s, s->window.end), *to = from;
        while (to < end && lv_json_is_space(*to)) {
            to++;
        }
        s->at += to - from;
        s->kept = s->at;
        int rc = to < end ? 1 : read_more(s);
        if (rc <= 0 || to < end) {
            return rc;
        }
    }
}

/* The byte order mark, and whether it is an array or lines. */
static int read_start(lv_json_stream *s)
{
    int rc = 1;
    while (rc > 0 && s->window.end < 3) {
        rc = read_more(s);
    }
    if (rc < 0) {
        return rc;
    }
    const char *text = s->window.data;
    if (s->window.end >= 2 && (!memcmp(text, "\xFF\xFE", 2) || !memcmp(text, "\xFE\xFF", 2))) {
        return lv_fail(LV_ERR_FORMAT, "%s: is in UTF-16; it must be in UTF-8", s->window.path);
    }
    if (s->window.end >= 3 && memcmp(text, LV_JSON_MARK, 3) == 0) {
        s->at = 3;
        s->place.column--; /* the mark counts for none */
    }
    rc = stream_skip_spaces(s);
    if (rc < 0) {
        return rc;
    }
    char first = rc ? *pointer(s, s->at) : '\0';
    if (first != '[' && first != '{') {
        return stream_fail_expected(s);
    }
    if (first == '[') {
        s->at++;
        s->next = FIRST;
    }
    return LV_OK;
}

/* Whether the line [kept, at) is one value and white space. */
static bool is_closed(lv_json_stream *s)
{
    if (!s->too_large) {
        begin_line(s);
        follow_line(s, s->at);
    }
    return s->ended == 1;
}

/* Whether the line [kept, at) ends as lines of a pretty-printed object do. */
static bool is_broken_off(lv_json_stream *s)
{
    int64_t last = s->at - 1;
    if (s->too_large) {
        return false;
    }
    while (is_one_of(*pointer(s, last), " \t\r")) {
        last--;
    }
    return is_one_of(*pointer(s, last), "{[,") && !is_closed(s) && !s->scan.in_string;
}

/* A line of JSONL. returns 1 */
static int read_line(lv_json_stream *s)
{
    const char *newline = NULL;
    int rc = 1;
    while (rc > 0 && !newline) {
        newline = memchr(pointer(s, s->at), '\n', (size_t)(s->window.end - s->at));
        s->at = newline ? s->at + (newline - pointer(s, s->at)) : s->window.end;
        rc = newline ? 1 : read_more(s);
    }
    if (rc < 0) {
        return rc;
    }
    if (!newline && !is_closed(s)) {
        return fail_record(s, s->at, cut_off);
    }
    if (s->index == 0 && is_broken_off(s)) {
        return fail_record(s, s->at,
                           "; a file that begins with '{' is read as JSONL, one object a line: "
                           "samples over several lines have to be in an array, [...]");
    }
    return 1;
}

/* Past the comma, if any, to an element of the array. returns 1, or 0 after the array's end */
static int find_element(lv_json_stream *s)
{
    for (;;) {
        int rc = stream_skip_spaces(s);
        if (rc < 0) {
            return rc;
        }
        char c = rc ? *pointer(s, s->at) : '\0';
        if (s->next == END) {
            return rc ? stream_fail_expected(s) : 0;
        }
        if (c == ']' && s->next != RECORD) {
            s->next = END;
        } else if (c == ',' && s->next == COMMA_OR_CLOSE) {
            s->next = RECORD;
        } else if (s->next != COMMA_OR_CLOSE &&
                   (isalnum((unsigned char)c) || is_one_of(c, "{[\"-"))) {
            return 1;
        } else {
            return stream_fail_expected(s);
        }
        s->at++;
    }
}

/* An element of the array, from its first character. returns 1 */
static int read_element(lv_json_stream *s)
{
    int ended = 0, rc = 1;
    lv_json_scan_restart(&s->scan);
    while (rc > 0 && !ended) {
        const char *from = pointer(s, s->at), *to = from;
        ended = lv_json_scan_value(&s->scan, &to, pointer(s, s->window.end));
        s->at += to - from;
        if (ended < 0) {
            return fail_record(s, s->at + 1, "");
        }
        rc = ended ? 1 : read_more(s);
    }
    if (rc == 0) {
        return fail_record(s, s->at, cut_off);
    }
    s->next = COMMA_OR_CLOSE;
    return rc;
}

/* Remembers where the record at kept begins; in the second pass it must be there again. */
static int note_mark(lv_json_stream *s)
{
    int64_t i = s->index / MARK_EVERY;
    if (s->index % MARK_EVERY != 0) {
        return LV_OK;
    }
    if (s->indexed) {
        return s->marks[i].offset == s->kept ? LV_OK : lv_file_window_changed(&s->window);
    }
    if (i == s->marks_capacity) {
        int64_t capacity = 2 * s->marks_capacity + 64;
        stream_mark *marks = realloc(s->marks, (size_t)capacity * sizeof *marks);
        if (!marks) {
            return lv_fail(LV_ERR_MEMORY, "%s: no memory to find its records again",
                           s->window.path);
        }
        s->marks = marks;
        s->marks_capacity = capacity;
    }
    s->marks[i] = (stream_mark){.offset = s->kept, .place = place_of(s, s->kept)};
    return LV_OK;
}

/* The next record, which is then [kept, at). returns 1, or 0 at the end of the file */
static int read_record(lv_json_stream *s)
{
    s->too_large = false;
    int rc = s->next == LINE ? stream_skip_spaces(s) : find_element(s);
    if (rc <= 0) {
        return rc;
    }
    rc = note_mark(s);
    if (rc == LV_OK) rc = s->next == LINE ? read_line(s) : read_element(s);
    drop_large(s);
    s->index++;
    return rc < 0 ? rc : 1;
}

/* ---- the stream ---- */

int lv_json_stream_open(lv_json_stream **out, const char *path, size_t piece_bytes)
{
    lv_json_stream *s = calloc(1, sizeof *s);
    if (!s) {
        return lv_fail(LV_ERR_MEMORY, "%s: no memory to read it", path);
    }
    s->place = (lv_json_place){1, 1};
    int rc = lv_file_window_open(&s->window, path, piece_bytes ? piece_bytes : PIECE_BYTES);
    if (rc == LV_OK) rc = read_start(s);
    while (rc >= 0 && (rc = read_record(s)) > 0) {
    }
    if (rc < 0) {
        lv_json_stream_close(&s);
        return rc;
    }
    s->n_records = s->index;
    s->indexed = true;
    lv_json_stream_seek(s, 0);
    *out = s;
    return LV_OK;
}

void lv_json_stream_close(lv_json_stream **stream)
{
    if (*stream) {
        lv_file_window_close(&(*stream)->window);
        free((*stream)->marks);
        free(*stream);
    }
    *stream = NULL;
}

int64_t lv_json_stream_n_records(const lv_json_stream *stream)
{
    return stream->n_records;
}

int64_t lv_json_stream_n_bytes(const lv_json_stream *stream)
{
    return stream->window.n_bytes;
}

uint32_t lv_json_stream_crc32(const lv_json_stream *stream)
{
    return stream->crc32;
}

void lv_json_stream_seek(lv_json_stream *stream, int64_t index)
{
    LV_CHECK(index >= 0 && index <= stream->n_records, "seeking outside the records");
    int64_t i = index / MARK_EVERY;
    stream->wanted = index;
    if (index == stream->n_records || (index >= stream->index && i == stream->index / MARK_EVERY)) {
        return; /* the end, or read on */
    }
    lv_file_window_seek(&stream->window, stream->marks[i].offset);
    stream->place = stream->marks[i].place;
    stream->kept = stream->at = stream->marks[i].offset;
    stream->index = i * MARK_EVERY;
    stream->next = stream->next == LINE ? LINE : RECORD;
}

int lv_json_stream_next(lv_json_stream *stream, int64_t *index, const char **text, size_t *n)
{
    if (stream->wanted == stream->n_records) {
        return 0;
    }
    while (stream->index <= stream->wanted) {
        int rc = read_record(stream);
        if (rc <= 0) {
            return rc < 0 ? rc : lv_file_window_changed(&stream->window);
        }
    }
    *index = stream->wanted++;
    *text = stream->too_large ? NULL : pointer(stream, stream->kept);
    *n = (size_t)(stream->at - stream->kept);
    return 1;
}

lv_json_place lv_json_stream_place(const lv_json_stream *stream, size_t at)
{
    return stream->too_large ? stream->first : place_of(stream, stream->kept + (int64_t)at);
}
