/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/arena.h"
#include "autograd/error.h"
#include "autograd/tensor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const size_t MIB = (size_t)1 << 20;

static void memory_is_aligned_and_lies_end_to_end(void **state)
{
    (void)state;
    lv_arena *arena;
    assert_int_equal(lv_arena_create(&arena, "test", 64 * MIB), 0);
    char *first = lv_arena_alloc(arena, 1);
    char *second = lv_arena_alloc(arena, 65);
    char *third = lv_arena_alloc(arena, 0);
    assert_int_equal((uintptr_t)first % 64, 0);
    assert_ptr_equal(second, first + 64);
    assert_ptr_equal(third, second + 128);
    assert_ptr_equal(lv_arena_alloc(arena, 8), third);
    lv_arena_destroy(&arena);
    assert_null(arena);
    lv_arena_destroy(&arena);
    lv_arena_destroy(NULL);
}

static void released_memory_is_handed_out_again_and_the_peak_stays(void **state)
{
    (void)state;
    lv_arena *arena;
    assert_int_equal(lv_arena_create(&arena, "test", 100 * MIB), 0);
    lv_arena_alloc(arena, 100);
    size_t mark = lv_arena_mark(arena);
    char *large = lv_arena_alloc(arena, 70 * MIB); /* more than one grain */
    memset(large, 1, 70 * MIB);
    lv_arena_release(arena, mark);
    assert_int_equal(lv_arena_mark(arena), mark);
    assert_ptr_equal(lv_arena_alloc(arena, 5), large);
    assert_int_equal(lv_arena_peak_bytes(arena), 128 + 70 * MIB);
    lv_arena_destroy(&arena);
}

static void no_limit_means_the_machines_memory(void **state)
{
    (void)state;
    lv_arena *arena;
    assert_int_equal(lv_arena_create(&arena, "test", 0), 0);
    memset(lv_arena_alloc(arena, MIB), 1, MIB);
    lv_arena_destroy(&arena);
}

static void an_impossible_limit_is_an_error_with_a_message(void **state)
{
    (void)state;
    lv_arena *arena = NULL;
    assert_int_equal(lv_arena_create(&arena, "huge", SIZE_MAX), LV_ERR_MEMORY);
    assert_non_null(strstr(lv_error_message(), "huge"));
    assert_int_equal(lv_arena_create(&arena, "huge", (size_t)1 << 60), LV_ERR_MEMORY);
    assert_non_null(strstr(lv_error_message(), "huge"));
    assert_null(arena);
}

static void leave(void)
{
    _exit(42);
}

/* What the child prints before LV_CHECK ends it. */
static void message_of_failing_alloc(char *message, size_t size, size_t bytes)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        lv_arena *arena;
        dup2(ends[1], STDERR_FILENO);
        lv_abort_hook_set(leave);
        if (lv_arena_create(&arena, "step", 32 * MIB) == 0) {
            lv_arena_alloc(arena, MIB);
            lv_arena_alloc(arena, bytes);
        }
        _exit(0);
    }
    close(ends[1]);
    FILE *from = fdopen(ends[0], "r");
    assert_non_null(from);
    message[fread(message, 1, size - 1, from)] = '\0';
    fclose(from);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

static void an_arena_that_is_full_says_what_to_do(void **state)
{
    (void)state;
    char message[2048];
    message_of_failing_alloc(message, sizeof message, 40 * MIB);
    assert_non_null(strstr(message, "step arena"));
    assert_non_null(strstr(message, "41943040 bytes asked for"));
    assert_non_null(strstr(message, "1048576 of 33554432 in use"));
    assert_non_null(strstr(message, "lower train.micro_batch_tokens"));
    message_of_failing_alloc(message, sizeof message, SIZE_MAX);
    assert_non_null(strstr(message, "step arena"));
}

static void shapes_are_printed_and_cut_to_fit(void **state)
{
    (void)state;
    char text[32];
    const int64_t shape[] = {2, 3, 40000};
    assert_string_equal(lv_shape_text(text, sizeof text, 3, shape), "(2, 3, 40000)");
    assert_string_equal(lv_shape_text(text, sizeof text, 0, shape), "()");
    assert_string_equal(lv_shape_text(text, 6, 3, shape), "(2, 3");
    assert_string_equal(lv_shape_text(text, 9, 3, shape), "(2, 3, 4");
}

static void a_limit_on_addresses_is_named(void **state)
{
    (void)state;
    const rlim_t limited = (rlim_t)1 << 42; /* far more than the test itself takes */
    struct rlimit limit;
    lv_arena *arena;
    assert_int_equal(getrlimit(RLIMIT_AS, &limit), 0);
    const rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limited;
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
    int rc = lv_arena_create(&arena, "test", (size_t)limited);
    limit.rlim_cur = before;
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
    assert_int_equal(rc, LV_ERR_MEMORY);
    assert_non_null(strstr(lv_error_message(), "limited to 4398046511104 bytes here: lift"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_aligned_and_lies_end_to_end),
        cmocka_unit_test(released_memory_is_handed_out_again_and_the_peak_stays),
        cmocka_unit_test(no_limit_means_the_machines_memory),
        cmocka_unit_test(an_impossible_limit_is_an_error_with_a_message),
        cmocka_unit_test(a_limit_on_addresses_is_named),
        cmocka_unit_test(an_arena_that_is_full_says_what_to_do),
        cmocka_unit_test(shapes_are_printed_and_cut_to_fit),
    };
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
