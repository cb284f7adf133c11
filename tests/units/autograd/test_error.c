/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void *fail_on_thread(void *failure)
{
    lv_failure_take(failure, lv_fail(LV_ERR_FORMAT, "%s: damaged", "a.json"));
    lv_fail(LV_ERR_IO, "what failed next");
    return NULL;
}

static void a_failure_is_raised_on_another_thread_with_its_code_and_message(void **state)
{
    (void)state;
    lv_failure failure;
    pthread_t thread;
    lv_fail(LV_ERR_MEMORY, "this thread's own");
    assert_int_equal(pthread_create(&thread, NULL, fail_on_thread, &failure), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_string_equal(lv_error_message(), "this thread's own");
    assert_int_equal(lv_failure_raise(&failure), LV_ERR_FORMAT);
    assert_string_equal(lv_error_message(), "a.json: damaged");
    assert_int_equal(lv_fail_within("sample 7"), LV_ERR_FORMAT);
    assert_string_equal(lv_error_message(), "sample 7: a.json: damaged");
}

static void a_success_raises_nothing(void **state)
{
    (void)state;
    lv_failure failure;
    lv_fail(LV_ERR_IO, "an older failure");
    lv_failure_take(&failure, LV_OK);
    assert_string_equal(failure.message, "");
    assert_int_equal(lv_failure_raise(&failure), LV_OK);
    assert_string_equal(lv_error_message(), "an older failure");
}

static void the_longest_message_is_carried_whole(void **state)
{
    (void)state;
    char text[3 * LV_MESSAGE_BYTES];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    lv_failure failure;
    lv_failure_take(&failure, lv_fail(LV_ERR_IO, "%s", text));
    lv_fail(LV_ERR_IO, "short");
    lv_failure_raise(&failure);
    assert_int_equal(strlen(lv_error_message()), LV_MESSAGE_BYTES - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_is_raised_on_another_thread_with_its_code_and_message),
        cmocka_unit_test(a_success_raises_nothing),
        cmocka_unit_test(the_longest_message_is_carried_whole),
    };
    return cmocka_run_group_tests_name("errors", tests, NULL, NULL);
}
