/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/inspect/inspect.h"

#include "autograd/error.h"
#include "data/base/file.h"
#include "data/image/image.h"
#include "tests/units/data/fake_pack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const int64_t ids[] = {5, 2};
static char path[] = "/tmp/llava-test-XXXXXX";

static int make_path(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

static lv_inspect_options options_of(int64_t size, const char *aspect, int64_t image)
{
    return (lv_inspect_options){.sample = 0,
                                .png = path,
                                .json = true, /* nothing on stdout */
                                .image_size = size,
                                .aspect = aspect,
                                .image = image,
                                .max_length = LV_NOT_GIVEN,
                                .rows_per_image = LV_NOT_GIVEN};
}

static void assert_png(const lv_image *want)
{
    char *bytes = NULL;
    size_t n = 0;
    lv_image_format format;
    lv_image got = {0};
    assert_int_equal(lv_file_read(&bytes, &n, path), LV_OK);
    assert_int_equal(lv_image_format_of(&format, (uint8_t *)bytes, n), LV_OK);
    assert_int_equal(format, LV_IMAGE_PNG);
    assert_int_equal(lv_image_decode(&got, (uint8_t *)bytes, n), LV_OK);
    assert_int_equal(got.width, want->width);
    assert_int_equal(got.height, want->height);
    assert_memory_equal(got.rgb, want->rgb, 3 * (size_t)want->width * (size_t)want->height);
    lv_image_free(&got);
    free(bytes);
}

static void the_png_holds_what_the_tower_gets(void **state)
{
    (void)state;
    lv_pack *pack = fake_pack_create(1);
    pack->image_width = 31;
    pack->image_height = 17;
    for (int k = 0; k < 8; k++) {
        const bool pad = k & 1, second = k & 2, small = k & 4;
        lv_image image = {0}, square = {0};
        lv_inspect_options o =
            options_of(small ? 12 : LV_NOT_GIVEN, pad ? "pad" : NULL, second ? 1 : LV_NOT_GIVEN);
        assert_int_equal(lv_pack_read_image(pack, ids[second], &image), LV_OK);
        assert_int_equal(lv_image_square(&square, &image, small ? 12 : 336,
                                         pad ? LV_ASPECT_PAD : LV_ASPECT_SQUARE),
                         LV_OK);
        assert_int_equal(lv_inspect_png(pack, ids, 2, &o), LV_OK);
        assert_png(&square);
        lv_image_free(&image);
        lv_image_free(&square);
    }
    fake_pack_destroy(pack);
}

static void stored_pixels_are_written_as_they_are(void **state)
{
    (void)state;
    lv_pack *pack = fake_pack_create(1);
    lv_image image = {0};
    pack->image_width = pack->image_height = pack->stored_size = 24;
    pack->aspect = LV_ASPECT_PAD;
    lv_inspect_options o = options_of(LV_NOT_GIVEN, NULL, LV_NOT_GIVEN);
    assert_int_equal(lv_pack_read_image(pack, ids[0], &image), LV_OK);
    assert_int_equal(lv_inspect_png(pack, ids, 2, &o), LV_OK);
    assert_png(&image);
    lv_image_free(&image);
    fake_pack_destroy(pack);
}

static void assert_refused(lv_pack *pack, int n_images, lv_inspect_options o, const char *message)
{
    assert_int_equal(lv_inspect_png(pack, ids, n_images, &o), LV_ERR_CONFIG);
    assert_non_null(strstr(lv_error_message(), message));
}

static void what_can_not_be_is_refused(void **state)
{
    (void)state;
    lv_pack *pack = fake_pack_create(1);
    assert_refused(pack, 0, options_of(LV_NOT_GIVEN, NULL, LV_NOT_GIVEN), "no image");
    assert_refused(pack, 2, options_of(LV_NOT_GIVEN, NULL, 2), "--image 2");
    pack->image_width = pack->image_height = pack->stored_size = 24;
    assert_refused(pack, 2, options_of(25, NULL, LV_NOT_GIVEN), "24 x 24");
    assert_refused(pack, 2, options_of(24, "pad", LV_NOT_GIVEN), "\"square\"");
    fake_pack_destroy(pack);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_png_holds_what_the_tower_gets),
        cmocka_unit_test(stored_pixels_are_written_as_they_are),
        cmocka_unit_test(what_can_not_be_is_refused),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
