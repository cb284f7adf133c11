/* SPDX-License-Identifier: Apache-2.0
 *
 * Of a model with random weights: its answers are any tokens, byte pieces among them.
 */
#include "train/answer/session.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "golden.h"
#include "train/model/llava/init.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { N = 4, MAX_NEW = 24 };

typedef struct {
    char *folder, *tower, *text, *photo;
    lv_session *session;
} fixture;

static char *source(const char *relative)
{
    return lv_path("%s/%s", getenv("LLAVA_TEST_SOURCE"), relative);
}

static lv_session *open_session(const fixture *f, lv_precision precision, const char *template)
{
    lv_session *session = NULL;
    const lv_session_options options = {.model = {.vision_tower = f->tower,
                                                  .language_model = f->text,
                                                  .projector_type = "linear",
                                                  .precision = precision},
                                        .template_name = template};
    golden_ok(lv_session_open(&session, &options));
    return session;
}

static int open_fixture(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->folder = strdup("/tmp/llava_session_XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    char *shape = source("configs/shapes/tiny.json"), *tokenizer = source("configs/tokenizer");
    char *model = lv_path("%s/model", f->folder);
    golden_ok(lv_model_init(shape, 7, tokenizer, model));
    f->tower = lv_path("%s/vision_tower", model);
    f->text = lv_path("%s/language_model", model);
    f->photo = source("configs/quickstart/photos/000000001993.jpg");
    f->session = open_session(f, LV_PRECISION_F32, "v1");
    free(shape);
    free(tokenizer);
    free(model);
    *state = f;
    return 0;
}

static int close_fixture(void **state)
{
    fixture *f = *state;
    lv_session_close(&f->session);
    lv_dir_remove(f->folder);
    free(f->folder);
    free(f->tower);
    free(f->text);
    free(f->photo);
    free(f);
    return 0;
}

/* Some with a photograph, greedy and sampled, of different lengths. */
static lv_question question(const fixture *f, int i)
{
    static const char *const texts[N] = {"What is this?", "Who?", "How many dogs are there here?",
                                         "Why is the sky blue, and the grass green?"};
    return (lv_question){.text = texts[i],
                         .images = (const char *const *)&f->photo,
                         .n_images = i % 2,
                         .options = {.max_new_tokens = MAX_NEW - 3 * i,
                                     .temperature = i < 2 ? 0 : 1,
                                     .top_p = 1,
                                     .seed = 3,
                                     .key = (uint64_t)i}};
}

static void run(lv_session *session, int64_t n_steps)
{
    for (int64_t i = 0; i < n_steps && lv_session_count(session) > 0; i++) {
        golden_ok(lv_session_step(session));
    }
}

static void same(const lv_answer *a, const lv_answer *b)
{
    assert_int_equal(a->end, b->end);
    assert_int_equal(a->n_tokens, b->n_tokens);
    assert_memory_equal(a->tokens, b->tokens, (size_t)a->n_tokens * sizeof *a->tokens);
    assert_string_equal(a->text, b->text);
}

static const lv_answer *ask(lv_session *session, const lv_question *q)
{
    const lv_answer *answer = NULL;
    golden_ok(lv_session_ask(session, &answer, q));
    return answer;
}

static void answers_are_those_of_each_question_alone_in(const fixture *f, lv_session *session)
{
    const lv_answer *alone[N], *together[N];
    for (int i = 0; i < N; i++) {
        lv_question q = question(f, i);
        alone[i] = ask(session, &q);
        run(session, MAX_NEW);
        assert_int_equal(alone[i]->end == LV_ANSWER_OPEN, false);
        assert_true(alone[i]->n_tokens > 0);
    }
    for (int i = 0; i < N; i++) { /* each joins while the others are being written */
        lv_question q = question(f, i);
        together[i] = ask(session, &q);
        run(session, 3);
    }
    assert_true(lv_session_count(session) > 1);
    run(session, MAX_NEW);
    assert_int_equal(lv_session_count(session), 0);
    for (int i = 0; i < N; i++) {
        same(alone[i], together[i]);
        lv_session_release(session, &alone[i]);
        lv_session_release(session, &together[i]);
        assert_null(together[i]);
    }
}

static void an_answer_does_not_depend_on_its_company(void **state)
{
    fixture *f = *state;
    answers_are_those_of_each_question_alone_in(f, f->session);
    lv_session *bf16 = open_session(f, LV_PRECISION_BF16, "v1");
    answers_are_those_of_each_question_alone_in(f, bf16);
    lv_session_close(&bf16);
}

static void draws_are_of_seed_and_key(void **state)
{
    fixture *f = *state;
    lv_question q = question(f, 2);
    const lv_answer *a = ask(f->session, &q), *again = ask(f->session, &q);
    q.options.key++;
    const lv_answer *other_key = ask(f->session, &q);
    q.options.key--;
    q.options.seed++;
    const lv_answer *other_seed = ask(f->session, &q);
    run(f->session, MAX_NEW);
    same(a, again);
    assert_string_not_equal(a->text, other_key->text);
    assert_string_not_equal(a->text, other_seed->text);
    assert_string_not_equal(other_key->text, other_seed->text);
}

typedef struct {
    char text[4096];
    size_t n, calls;
} heard;

static void hear(void *context, const char *text, size_t n)
{
    heard *h = context;
    assert_true(n > 0 && h->n + n < sizeof h->text);
    memcpy(h->text + h->n, text, n);
    h->n += n;
    h->calls++;
}

static void each_answer_is_streamed_to_its_own_caller(void **state)
{
    fixture *f = *state;
    heard h[N] = {0};
    const lv_answer *answers[N];
    for (int i = 0; i < N; i++) {
        lv_question q = question(f, i);
        q.on_text = hear;
        q.context = &h[i];
        answers[i] = ask(f->session, &q);
    }
    run(f->session, MAX_NEW);
    for (int i = 0; i < N; i++) {
        assert_string_equal(h[i].text, answers[i]->text);
        assert_int_equal(h[i].n, answers[i]->n_bytes);
        assert_true(h[i].calls > 1);
    }
}

static void an_answer_can_be_cancelled_or_released_while_others_go_on(void **state)
{
    fixture *f = *state;
    lv_question q = question(f, 3);
    const lv_answer *whole = ask(f->session, &q);
    run(f->session, MAX_NEW);
    const lv_answer *cancelled = ask(f->session, &q), *kept = ask(f->session, &q),
                    *released = ask(f->session, &q);
    run(f->session, 4);
    golden_ok(lv_session_cancel(f->session, cancelled));
    golden_ok(lv_session_cancel(f->session, cancelled));
    lv_session_release(f->session, &released);
    assert_int_equal(lv_session_count(f->session), 1);
    run(f->session, MAX_NEW);
    same(kept, whole);
    assert_int_equal(cancelled->end, LV_ANSWER_CANCELLED);
    assert_int_equal(cancelled->n_tokens, 4);
    assert_memory_equal(cancelled->tokens, whole->tokens, 4 * sizeof *whole->tokens);
}

/* A stop of what the model says anyway. */
static void an_answer_ends_before_a_stop(void **state)
{
    fixture *f = *state;
    char stop[3] = "";
    lv_question q = question(f, 0);
    const lv_answer *whole = ask(f->session, &q);
    run(f->session, MAX_NEW);
    assert_int_equal(whole->end, LV_ANSWER_LENGTH);
    size_t at = 1;
    while (whole->text[at] < 'a' || whole->text[at] > 'z' || whole->text[at + 1] < 'a' ||
           whole->text[at + 1] > 'z') {
        assert_true(whole->text[++at]);
    }
    memcpy(stop, whole->text + at, 2);
    q.stops = (const char *const[]){"never said", stop};
    q.n_stops = 2;
    const lv_answer *stopped = ask(f->session, &q);
    run(f->session, MAX_NEW);
    assert_int_equal(stopped->end, LV_ANSWER_STOP);
    assert_true(stopped->n_tokens < whole->n_tokens);
    assert_int_equal(stopped->n_bytes, strstr(whole->text, stop) - whole->text);
    assert_memory_equal(stopped->text, whole->text, stopped->n_bytes);
}

static void refused(const fixture *f, const lv_question *q, int code, const char *part)
{
    const lv_answer *answer = NULL;
    assert_int_equal(lv_session_ask(f->session, &answer, q), code);
    assert_non_null(strstr(lv_error_message(), part));
    assert_null(answer);
}

static void a_question_that_can_not_be_asked_leaves_the_others(void **state)
{
    fixture *f = *state;
    lv_question q = question(f, 1), bad = q;
    const lv_answer *answer = ask(f->session, &q);
    run(f->session, 2);
    bad.images = (const char *const[]){"/no/such.jpg"};
    refused(f, &bad, LV_ERR_IO, "/no/such.jpg");
    bad.images = (const char *const[]){"/proc/version"};
    refused(f, &bad, LV_ERR_FORMAT, "/proc/version");
    bad = q;
    bad.options.top_p = 0;
    refused(f, &bad, LV_ERR_CONFIG, "top_p");
    bad = q;
    bad.stops = (const char *const[]){""};
    bad.n_stops = 1;
    refused(f, &bad, LV_ERR_CONFIG, "stop 1 is empty");
    bad = q;
    bad.text = "<image> and <image>";
    refused(f, &bad, LV_ERR_CONFIG, "image");
    run(f->session, MAX_NEW);
    assert_int_equal(answer->n_tokens, q.options.max_new_tokens);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_does_not_depend_on_its_company),
        cmocka_unit_test(draws_are_of_seed_and_key),
        cmocka_unit_test(each_answer_is_streamed_to_its_own_caller),
        cmocka_unit_test(an_answer_can_be_cancelled_or_released_while_others_go_on),
        cmocka_unit_test(an_answer_ends_before_a_stop),
        cmocka_unit_test(a_question_that_can_not_be_asked_leaves_the_others),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
