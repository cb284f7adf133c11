/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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

/* What print() writes to stderr, of which each write is one packet. */
static ssize_t first_write(char *out, size_t n, void (*print)(const char *), const char *text)
{
    int ends[2], kept = dup(STDERR_FILENO);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    print(text);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    ssize_t got = recv(ends[0], out, n - 1, MSG_DONTWAIT);
    assert_true(got > 0);
    out[got] = '\0';
    assert_int_equal(recv(ends[0], &(char){0}, 1, MSG_DONTWAIT), -1); /* nothing follows */
    close(kept);
    close(ends[0]);
    close(ends[1]);
    return got;
}

static void tell(const char *text)
{
    lv_tell("%s", text);
}

static void warn(const char *text)
{
    lv_warn("%s\n", text);
}

static void a_message_of_any_length_is_one_write(void **state)
{
    (void)state;
    enum { MOST = 20000 };
    static char text[MOST + 1], out[MOST + 64];
    for (int n = 0; n <= MOST; n = n < 3 * LV_MESSAGE_BYTES ? n + 97 : n + 5001) {
        memset(text, 'x', (size_t)n);
        text[n] = '\0';
        lv_rank_label_set("rank 3 on node07");
        assert_int_equal(first_write(out, sizeof out, tell, text), 26 + n);
        assert_memory_equal(out, "llava: rank 3 on node07: ", 25);
        assert_memory_equal(out + 25, text, (size_t)n);
        assert_int_equal(out[25 + n], '\n');
        assert_int_equal(first_write(out, sizeof out, warn, text), 8 + n);
        assert_memory_equal(out, "llava: ", 7);
        assert_int_equal(out[7 + n], '\n');
        lv_rank_label_set("");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_is_raised_on_another_thread_with_its_code_and_message),
        cmocka_unit_test(a_success_raises_nothing),
        cmocka_unit_test(the_longest_message_is_carried_whole),
        cmocka_unit_test(a_message_of_any_length_is_one_write),
    };
    return cmocka_run_group_tests_name("errors", tests, NULL, NULL);
}
