/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/inspect/prompt_runs.h"

#include "autograd/error.h"
#include "data/chat/template.h"
#include "tests/units/data/text_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_TOKENS = 512 };

typedef struct {
    size_t n;
    int32_t tokens[MAX_TOKENS];
    uint8_t supervised[MAX_TOKENS];
} prompt;

static void add_id(prompt *p, int32_t id, bool supervised)
{
    assert_true(p->n < MAX_TOKENS);
    p->tokens[p->n] = id;
    p->supervised[p->n++] = supervised;
}

static void add_text(prompt *p, const char *text, bool supervised)
{
    lv_tokens tokens = {0};
    assert_ok(lv_tokenizer_encode(tokenizer, text, strlen(text), false, &tokens));
    for (size_t i = 0; i < tokens.n; i++) {
        add_id(p, tokens.ids[i], supervised);
    }
    lv_tokens_free(&tokens);
}

/* The user's own "</s>" is text, the piece is not; bytes of one character stay together. */
static void runs_are_split_where_kind_or_mask_changes(void **state)
{
    (void)state;
    static const struct {
        lv_run_kind kind;
        bool supervised;
        const char *text;
    } want[] = {{LV_RUN_PIECE, false, "<s>"},
                {LV_RUN_TEXT, false, " say </s> now"},
                {LV_RUN_IMAGE, false, "<image>"},
                {LV_RUN_IMAGE, false, "<image>"},
                {LV_RUN_TEXT, true, " \xF0\x9F\x90\x88 and \xE4\xB8\xAD\n \x1b[2J"},
                {LV_RUN_PIECE, true, "</s>"}};
    enum { N = sizeof want / sizeof *want };
    lv_prompt_runs runs = {0};
    prompt p = {0};
    size_t end = 0;
    add_id(&p, lv_tokenizer_bos(tokenizer), false);
    add_text(&p, want[1].text + 1, false); /* its marker is the space in front */
    add_id(&p, LV_IMAGE_TOKEN, false);
    add_id(&p, LV_IMAGE_TOKEN, false);
    add_text(&p, want[4].text + 1, true);
    add_id(&p, lv_tokenizer_eos(tokenizer), true);

    assert_ok(lv_prompt_runs_create(&runs, tokenizer, p.tokens, p.supervised, p.n));
    assert_int_equal(runs.n, N);
    for (size_t r = 0; r < N; r++) {
        assert_int_equal(runs.items[r].kind, want[r].kind);
        assert_int_equal(runs.items[r].supervised, want[r].supervised);
        assert_string_equal(runs.items[r].text, want[r].text);
        assert_int_equal(runs.items[r].begin, end);
        end = runs.items[r].end;
    }
    assert_int_equal(end, p.n);
    lv_prompt_runs_free(&runs);
}

static void an_id_that_there_is_not_is_refused(void **state)
{
    (void)state;
    const int32_t beyond[] = {1, lv_tokenizer_vocab_size(tokenizer)};
    const uint8_t supervised[] = {0, 1};
    lv_prompt_runs runs = {0};
    assert_fails(lv_prompt_runs_create(&runs, tokenizer, beyond, supervised, 2), LV_ERR_FORMAT,
                 "no piece with the id");
    assert_int_equal(runs.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_are_split_where_kind_or_mask_changes),
        cmocka_unit_test(an_id_that_there_is_not_is_refused),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
