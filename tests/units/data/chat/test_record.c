/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"
#include "data/chat/record.h"
#include "data/json/json.h"
#include "tests/units/data/text_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TURNS "\"conversations\": [{\"from\": \"human\", \"value\": \"q\"}]"

static cJSON *json(const char *text)
{
    cJSON *root = NULL;
    assert_ok(lv_json_parse(&root, text, strlen(text)));
    return root;
}

static void refuses(const char *text, const char *message)
{
    cJSON *root = json(text);
    lv_record record = {0};
    assert_fails(lv_record_parse(&record, root), LV_ERR_FORMAT, message);
    assert_null(record.turns);
    cJSON_Delete(root);
}

static void has_id(const char *text, const char *id)
{
    cJSON *root = json(text);
    lv_record record;
    assert_ok(lv_record_parse(&record, root));
    assert_string_equal(record.id, id);
    lv_record_free(&record);
    cJSON_Delete(root);
}

static void has_images(const char *text, size_t n)
{
    cJSON *root = json(text);
    lv_record record;
    assert_ok(lv_record_parse(&record, root));
    assert_int_equal(record.n_images, n);
    lv_record_free(&record);
    cJSON_Delete(root);
}

static void a_sample_is_read_with_all_its_parts(void **state)
{
    (void)state;
    cJSON *root = json(
        "{\"id\": \"7-a\", \"image\": \"d/1.jpg\", \"model\": \"\", \"system_prompt\": \"Be.\","
        "\"conversations\": [{\"from\": \"human\", \"value\": \"<image>\\nq\", \"x\": 1},"
        "{\"from\": \"gpt\", \"value\": \"\"}]}");
    lv_record record;
    assert_ok(lv_record_parse(&record, root));
    assert_string_equal(record.id, "7-a");
    assert_int_equal(record.n_images, 1);
    assert_string_equal(record.images[0], "d/1.jpg");
    assert_string_equal(record.system_prompt, "Be.");
    assert_int_equal(record.n_turns, 2);
    assert_int_equal(record.turns[0].role, LV_ROLE_HUMAN);
    assert_string_equal(record.turns[0].text, "<image>\nq");
    assert_int_equal(record.turns[1].role, LV_ROLE_GPT);
    assert_string_equal(record.turns[1].text, "");
    lv_record_free(&record);
    lv_record_free(&record); /* harmless */
    cJSON_Delete(root);
}

static void an_id_may_be_a_number_or_absent(void **state)
{
    (void)state;
    has_id("{\"id\": 139, " TURNS "}", "139");
    has_id("{\"id\": 9007199254740991, " TURNS "}", "9007199254740991");
    has_id("{\"id\": 1000000000000000, " TURNS "}", "1000000000000000");
    has_id("{\"id\": -1.25, " TURNS "}", "-1.25");
    has_id("{\"id\": 0.1, " TURNS "}", "0.1");
    has_id("{\"id\": null, " TURNS "}", "");
    has_id("{" TURNS "}", "");
    refuses("{\"id\": [1], " TURNS "}", "\"id\": expected a string or a number");
}

static void images_may_be_one_several_or_none(void **state)
{
    (void)state;
    has_images("{" TURNS "}", 0);
    has_images("{\"image\": null, " TURNS "}", 0);
    has_images("{\"image\": [], " TURNS "}", 0);
    has_images("{\"image\": \"a\", " TURNS "}", 1);
    has_images("{\"image\": [\"a\", \"b\", \"a\"], " TURNS "}", 3);
    refuses("{\"image\": 5, " TURNS "}", "\"image\": expected a file name");
    refuses("{\"image\": {\"a\": \"b\"}, " TURNS "}", "\"image\": expected a file name");
    refuses("{\"image\": [\"a\", null], " TURNS "}", "\"image\": expected a file name");
    refuses("{\"image\": \"\", " TURNS "}", "a file name is empty");
}

static void broken_conversations_are_refused_by_their_turn(void **state)
{
    (void)state;
    refuses("[]", "expected an object");
    refuses("{\"id\": 1}", "\"conversations\": expected a list of turns, found nothing");
    refuses("{\"conversations\": []}", "an empty list");
    refuses("{\"conversations\": \"hello\"}", "found a string");
    refuses("{\"conversations\": [\"hello\"]}", "conversations[0]: expected an object");
    refuses("{\"conversations\": [{\"from\": \"human\", \"value\": \"q\"}, {\"from\": \"gpt\"}]}",
            "conversations[1]: \"value\" is missing");
    refuses("{\"conversations\": [{\"from\": \"human\", \"value\": 3}]}", "expected a string");
    /* LLaVA has these two roles only */
    refuses("{\"conversations\": [{\"from\": \"user\", \"value\": \"q\"}]}",
            "expected \"human\" or \"gpt\", found \"user\"");
    refuses("{\"conversations\": [{\"from\": \"System\", \"value\": \"Be.\"}]}",
            "found \"System\" (a system text is the sample's \"system_prompt\"");
    refuses("{\"conversations\": [{\"from\": \"Human\", \"value\": \"q\"}]}", "found \"Human\"");
    refuses("{\"system_prompt\": 3, " TURNS "}", "\"system_prompt\": expected a string");
}

/* The warning about a file of that one record; "" if there is none. */
static const char *warning_of(const char *text)
{
    static char warning[512];
    lv_record_keys keys = {0};
    cJSON *root = json(text);
    lv_record_keys_add(&keys, root);
    char *made = lv_record_keys_warning(&keys);
    snprintf(warning, sizeof warning, "%s", made ? made : "");
    free(made);
    cJSON_Delete(root);
    return warning;
}

static void a_misspelt_key_is_warned_of(void **state)
{
    (void)state;
    static const char *const images[] = {"images", "Image",  "IMAGE",      "imgae",      "imge",
                                         "image ", " image", "image_path", "image-file", "img"};
    static const char *const turns[] = {"conversation", "conversations ", "Conversations",
                                        "converstaions", "conversatons"};
    char text[256];
    for (size_t i = 0; i < sizeof images / sizeof *images; i++) {
        snprintf(text, sizeof text, "{\"%s\": \"a.jpg\", " TURNS "}", images[i]);
        has_images(text, 0);
        assert_non_null(strstr(warning_of(text), "\" but no \"image\""));
    }
    for (size_t i = 0; i < sizeof turns / sizeof *turns; i++) {
        snprintf(text, sizeof text, "{\"%s\": [{\"from\": \"human\", \"value\": \"q\"}]}",
                 turns[i]);
        refuses(text, "\"conversations\": expected a list of turns, found nothing");
        assert_non_null(strstr(warning_of(text), "\" but no \"conversations\""));
    }
    assert_non_null(strstr(warning_of("{\"image\": null, \"images\": [\"a.jpg\"], " TURNS "}"),
                           "1 with \"images\" but no \"image\""));
    assert_non_null(
        strstr(warning_of("{\"system-prompt\": \"Be.\", " TURNS "}"), "no \"system_prompt\""));
    assert_non_null(strstr(warning_of("{\"image\\u001B\": 1, " TURNS "}"), "\"image?\""));
}

/* Keys of other meanings, empty ones, the right one is there too. */
static void other_keys_are_not_warned_of(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"model\": \"\", \"image_id\": 7, \"height_list\": [1], \"source\": \"x\", "
        "\"question_id\": 1, \"metadata\": {}, \"\": 1, \"type\": \"conv\", \"id\": 1, " TURNS "}",
        "{\"images\": [], \"img\": \"\", \"Image\": null, " TURNS "}",
        "{\"images\": [\"b\", \"c\"], \"image\": \"a\", \"system_prompt\": \"b\", " TURNS "}",
        "{\"a_very_long_key_that_is_none_of_the_known_ones_at_all\": 1, " TURNS "}",
        "[1, {\"images\": \"a\"}]"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_string_equal(warning_of(texts[i]), "");
    }
}

static void the_keys_of_a_file_are_counted_over_its_parts(void **state)
{
    (void)state;
    lv_record_keys all = {0}, part = {0};
    cJSON *root = json("[{\"images\": \"a\"}, {\"images\": \"b\", \"x\": 1}, {\"img\": \"c\"}]");
    lv_record_keys_add(&all, root->child);
    lv_record_keys_add(&part, root->child->next);
    lv_record_keys_add(&part, root->child->next->next);
    lv_record_keys_merge(&all, &part);
    char *warning = lv_record_keys_warning(&all);
    assert_string_equal(warning, "records with a key that is not read: 2 with \"images\" but no "
                                 "\"image\", 1 with \"img\" but no \"image\"");
    free(warning);
    for (int i = 0; i < 2 * LV_RECORD_MAX_KEYS; i++) {
        cJSON *many = cJSON_CreateObject();
        char key[16];
        snprintf(key, sizeof key, "key%d", i);
        cJSON_AddNumberToObject(many, key, 1);
        lv_record_keys_add(&all, many);
        cJSON_Delete(many);
    }
    assert_int_equal(all.n, LV_RECORD_MAX_KEYS);
    cJSON_Delete(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sample_is_read_with_all_its_parts),
        cmocka_unit_test(an_id_may_be_a_number_or_absent),
        cmocka_unit_test(images_may_be_one_several_or_none),
        cmocka_unit_test(broken_conversations_are_refused_by_their_turn),
        cmocka_unit_test(a_misspelt_key_is_warned_of),
        cmocka_unit_test(other_keys_are_not_warned_of),
        cmocka_unit_test(the_keys_of_a_file_are_counted_over_its_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
