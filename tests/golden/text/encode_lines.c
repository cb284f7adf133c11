/* SPDX-License-Identifier: Apache-2.0
 *
 * encode_lines TOKENIZER: texts from stdin through a tokenizer, for compare_tokenizers.py. First
 * a line with the fingerprint; then for each text, given as "<bytes> <first: 0 or 1>\n" and the
 * bytes, a line "id:begin ..." and the decoded text as "<bytes>\n" and the bytes.
 * encode_lines TOKENIZER --decode: the other way, "<number of ids> <ids>" to a decoded text.
 * encode_lines TOKENIZER --time FILE REPEATS: seconds to encode each line of the file.
 */
#include "autograd/error.h"
#include "data/base/file.h"
#include "data/tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int write_tokens(const lv_tokenizer *t, const lv_tokens *tokens)
{
    char *text = NULL;
    int rc = lv_tokenizer_decode(t, tokens->ids, tokens->n, &text);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < tokens->n; i++) {
        printf("%d:%zu ", tokens->ids[i], tokens->begin[i]);
    }
    printf("\n%zu\n%s", strlen(text), text);
    free(text);
    return LV_OK;
}

static int answer(const lv_tokenizer *t)
{
    lv_tokens tokens = {0};
    char *text = NULL;
    size_t n = 0;
    int first = 1, rc = LV_OK;
    printf("%s\n", lv_tokenizer_fingerprint(t));
    while (rc == LV_OK && scanf("%zu %d", &n, &first) == 2 && getchar() == '\n') {
        char *grown = realloc(text, n + 1);
        if (!grown || (text = grown, fread(text, 1, n, stdin)) != n) {
            rc = lv_fail(LV_ERR_IO, "stdin ends in a text of %zu bytes", n);
            break;
        }
        tokens.n = 0;
        rc = lv_tokenizer_encode(t, text, n, first != 0, &tokens);
        rc = rc < 0 ? rc : write_tokens(t, &tokens);
    }
    free(text);
    lv_tokens_free(&tokens);
    return rc;
}

static int decode_all(const lv_tokenizer *t)
{
    int32_t ids[64];
    size_t n = 0;
    int rc = LV_OK;
    while (rc == LV_OK && scanf("%zu", &n) == 1) {
        char *text = NULL;
        for (size_t i = 0; i < n && rc == LV_OK; i++) {
            rc = n <= 64 && scanf("%d", &ids[i]) == 1 ? LV_OK : lv_fail(LV_ERR_FORMAT, "no ids");
        }
        rc = rc < 0 ? rc : lv_tokenizer_decode(t, ids, n, &text);
        if (rc == LV_OK) {
            printf("%zu\n%s", strlen(text), text);
        }
        free(text);
    }
    return rc;
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int measure(const lv_tokenizer *t, const char *path, int repeats)
{
    lv_tokens tokens = {0};
    char *text = NULL;
    size_t n = 0;
    int rc = lv_file_read(&text, &n, path);
    for (int i = 0; rc == LV_OK && i < repeats; i++) {
        double start_s = now_s();
        tokens.n = 0;
        for (const char *line = text, *end; rc == LV_OK && line < text + n; line = end + 1) {
            end = memchr(line, '\n', (size_t)(text + n - line));
            end = end ? end : text + n;
            rc = lv_tokenizer_encode(t, line, (size_t)(end - line), true, &tokens);
        }
        printf("%.6f s for %zu bytes, %zu tokens\n", now_s() - start_s, n, tokens.n);
    }
    lv_tokens_free(&tokens);
    free(text);
    return rc;
}

int main(int argc, char **argv)
{
    lv_tokenizer *t = NULL;
    if (argc < 2) {
        fprintf(stderr, "usage: encode_lines TOKENIZER [--decode | --time FILE REPEATS]\n");
        return 2;
    }
    int rc = lv_tokenizer_open(&t, argv[1]);
    rc = rc < 0      ? rc
         : argc == 5 ? measure(t, argv[3], atoi(argv[4]))
         : argc == 3 ? decode_all(t)
                     : answer(t);
    if (rc < 0) {
        fprintf(stderr, "encode_lines: %s\n", lv_error_message());
    }
    lv_tokenizer_close(&t);
    return rc < 0;
}
