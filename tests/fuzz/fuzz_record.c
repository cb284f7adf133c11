/* SPDX-License-Identifier: Apache-2.0
 *
 * A file of records, to prompts in all templates. Where the whole text is one JSON array, the
 * records come out of the file as they stand there, whatever way the file is read.
 */
#include "data/json/json.h"
#include "data/pack/write/source.h"
#include "tests/fuzz/prompt.h"
#include "tests/fuzz/support.h"

#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"plain", "v0", "v1", "llama_2", "chatml"};
enum { N_NAMES = sizeof names / sizeof *names };

static lv_tokenizer *tokenizer;
static lv_template *templates[N_NAMES];
static int n_templates;

static void close_all(void)
{
    lv_tokenizer_close(&tokenizer);
    while (n_templates > 0) {
        lv_template_close(&templates[--n_templates]);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    char *path = fuzz_source("configs/tokenizer");
    fuzz_must(lv_tokenizer_open(&tokenizer, path), "opening the tokenizer");
    free(path);
    for (int i = 0; i < N_NAMES; i++) {
        n_templates += lv_template_open(&templates[n_templates], names[i]) == LV_OK;
    }
    LV_CHECK(n_templates > 0, "there is no template");
    return atexit(close_all);
}

static void check_record(const cJSON *json)
{
    lv_record record = {0};
    if (lv_record_parse(&record, json) < 0) {
        return;
    }
    for (int i = 0; i < n_templates; i++) {
        fuzz_prompt(templates[i], tokenizer, &record);
        if (record.n_turns > 0) {
            fuzz_question(templates[i], tokenizer, record.turns[0].text, record.n_images);
        }
    }
    lv_record_free(&record);
}

/* Printed and read again, a text that was accepted gives the same values. */
static void check_json(const cJSON *root)
{
    cJSON *again = NULL;
    char *text = lv_json_print_line(root);
    LV_CHECK(text, "out of memory");
    fuzz_must(lv_json_parse(&again, text, strlen(text)), "reading JSON that was printed");
    LV_CHECK(lv_json_equal(root, again), "JSON changed when it was printed and read");
    cJSON_Delete(again);
    free(text);
}

/* Reads the file as a pack's source. returns the number of records, or -1 after an error. */
static int64_t read_source(const char *path, const cJSON *root)
{
    lv_pack_source *source = NULL;
    const cJSON *record = NULL, *expected = root ? root->child : NULL;
    int64_t index = 0, n = 0;
    int rc = lv_pack_source_open(&source, path);
    while (rc >= 0 && (rc = lv_pack_source_next(source, &index, &record)) > 0) {
        LV_CHECK(index == n, "record %lld has the index %lld", (long long)n, (long long)index);
        if (root) {
            LV_CHECK(expected && lv_json_equal(expected, record), "record %lld is another",
                     (long long)n);
            expected = expected->next;
        }
        check_record(record);
        n++;
    }
    LV_CHECK(rc < 0 || n == lv_pack_source_n_records(source), "%lld records of %lld", (long long)n,
             (long long)lv_pack_source_n_records(source));
    lv_pack_source_close(&source);
    return rc < 0 ? -1 : n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    cJSON *root = NULL;
    const char *path = fuzz_write("records.json", data, n);
    bool parsed = lv_json_parse(&root, (const char *)data, n) == LV_OK;
    if (parsed) {
        check_json(root);
    }
    int64_t n_records = read_source(path, cJSON_IsArray(root) ? root : NULL);
    LV_CHECK(!cJSON_IsArray(root) || n_records == cJSON_GetArraySize(root),
             "an array of %d records gave %lld: %s", cJSON_GetArraySize(root), (long long)n_records,
             lv_error_message());
    cJSON_Delete(root);
    return 0;
}
