/* SPDX-License-Identifier: Apache-2.0
 *
 * data/image/image.h against Pillow and CLIPImageProcessor (tests/golden/image/make_golden.py), and
 * against files that are cut, damaged or hostile.
 */
#include "autograd/error.h"
#include "data/base/file.h"
#include "data/image/image.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

static char *golden_path(const char *name)
{
    return lv_path("%s/tests/golden/image/%s", getenv("LLAVA_TEST_SOURCE"), name);
}

static char *data_path(const char *folder, const char *name)
{
    return lv_path("%s/%s/%s", getenv("LLAVA_TEST_DATA"), folder, name);
}

static FILE *open_golden(const char *name)
{
    char *path = golden_path(name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    free(path);
    return file;
}

static uint8_t *read_file(const char *path, size_t *n)
{
    char *bytes = NULL;
    assert_int_equal(lv_file_read(&bytes, n, path), LV_OK);
    return (uint8_t *)bytes;
}

static int decode_file(lv_image *image, const char *path)
{
    size_t n = 0;
    uint8_t *bytes = read_file(path, &n);
    int rc = lv_image_decode(image, bytes, n);
    free(bytes);
    return rc;
}

static uint32_t crc_of(const lv_image *image)
{
    return (uint32_t)crc32_z(0, image->rgb, (size_t)image->width * (size_t)image->height * 3);
}

static void assert_within_one_level(const uint8_t *a, const uint8_t *b, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (abs(a[i] - b[i]) > 1) {
            fail_msg("%s: byte %zu is %d, Pillow has %d", name, i, a[i], b[i]);
        }
    }
}

static void test_every_kind_of_file_decodes_as_pillow_does(void **state)
{
    (void)state;
    FILE *list = open_golden("decode.txt");
    char name[64], answer[64];
    int width, height, n_files = 0;
    while (fscanf(list, "%63s %d %d %63s", name, &width, &height, answer) == 4) {
        lv_image image = {0};
        char *path = golden_path(name);
        if (decode_file(&image, path) < 0) {
            fail_msg("%s: %s", name, lv_error_message());
        }
        assert_int_equal(image.width, width);
        assert_int_equal(image.height, height);
        if (strstr(answer, ".rgb")) {
            size_t n = 0;
            char *answer_path = golden_path(answer);
            uint8_t *pixels = read_file(answer_path, &n);
            assert_int_equal(n, (size_t)width * (size_t)height * 3);
            assert_within_one_level(image.rgb, pixels, n, name);
            free(pixels);
            free(answer_path);
        } else if (crc_of(&image) != strtoul(answer, NULL, 16)) {
            fail_msg("%s: other pixels than Pillow's", name);
        }
        free(path);
        lv_image_free(&image);
        n_files++;
    }
    fclose(list);
    assert_true(n_files > 50);
}

/* list: lines of file, size, aspect, CRC-32; make_path gives the file. */
static void check_squares(const char *list_name, char *(*make_path)(const char *name))
{
    FILE *list = open_golden(list_name);
    char name[64], aspect[16], answer[16];
    int size, n_lines = 0;
    while (fscanf(list, "%63s %d %15s %15s", name, &size, aspect, answer) == 4) {
        lv_image image = {0}, square = {0};
        char *path = make_path(name);
        assert_int_equal(decode_file(&image, path), LV_OK);
        assert_int_equal(
            lv_image_square(&square, &image, size,
                            strcmp(aspect, "pad") == 0 ? LV_ASPECT_PAD : LV_ASPECT_SQUARE),
            LV_OK);
        assert_int_equal(square.width, size);
        assert_int_equal(square.height, size);
        if (crc_of(&square) != strtoul(answer, NULL, 16)) {
            fail_msg("%s at %d, %s: other pixels than CLIPImageProcessor's", name, size, aspect);
        }
        free(path);
        lv_image_free(&image);
        lv_image_free(&square);
        n_lines++;
    }
    fclose(list);
    assert_true(n_lines >= 20);
}

static void test_square_and_pad_equal_clip_to_the_level(void **state)
{
    (void)state;
    check_squares("square.txt", golden_path);
}

static char *coco_path(const char *name)
{
    return data_path("coco/images", name);
}

static void test_photographs_equal_clip_to_the_level(void **state)
{
    (void)state;
    char *dir = data_path("coco", "images");
    bool there = lv_dir_exists(dir);
    free(dir);
    if (!there) {
        skip();
    }
    check_squares("coco.txt", coco_path);
}

/* ok/ must decode; what Pillow refuses must be refused; what it decodes in bad/ may be refused (a
 * damaged file is), but if it is not, must look the same. */
static void test_odd_images_decode_as_pillow_or_are_refused(void **state)
{
    (void)state;
    char *dir = data_path("odd_images", "ok");
    bool there = lv_dir_exists(dir);
    free(dir);
    if (!there) {
        skip();
    }
    FILE *list = open_golden("odd.txt");
    char name[128], answer[512];
    int width, height, n_lines = 0;
    while (fscanf(list, "%127s %d %d %511s", name, &width, &height, answer) == 4) {
        lv_image image = {0}, thumbnail = {0};
        char *path = data_path("odd_images", name);
        int rc = decode_file(&image, path);
        free(path);
        n_lines++;
        if (rc < 0) {
            assert_int_equal(rc, LV_ERR_FORMAT);
            assert_true(strlen(lv_error_message()) > 10);
            assert_int_equal(strncmp(name, "bad/", 4), 0);
            assert_null(image.rgb);
            continue;
        }
        assert_string_not_equal(answer, "refused");
        assert_int_equal(image.width, width);
        assert_int_equal(image.height, height);
        assert_int_equal(lv_image_square(&thumbnail, &image, 8, LV_ASPECT_PAD), LV_OK);
        uint8_t pixels[192];
        for (size_t i = 0; i < sizeof pixels; i++) {
            char digits[3] = {answer[2 * i], answer[2 * i + 1], 0};
            pixels[i] = (uint8_t)strtoul(digits, NULL, 16);
        }
        assert_within_one_level(thumbnail.rgb, pixels, sizeof pixels, name);
        lv_image_free(&image);
        lv_image_free(&thumbnail);
    }
    fclose(list);
    assert_true(n_lines > 50);
}

static const char *const whole_files[] = {"baseline.jpg",
                                          "progressive.jpg",
                                          "cmyk.jpg",
                                          "rgb8.png",
                                          "palette4_interlaced.png",
                                          "gray16.png",
                                          "restart.jpg",
                                          "arithmetic.jpg",
                                          "lossy.webp",
                                          "lossless_alpha.webp",
                                          "lossy_alpha.webp",
                                          "animated_offset.webp"};
enum { N_WHOLE_FILES = sizeof whole_files / sizeof *whole_files };

static void test_a_file_cut_short_anywhere_is_refused(void **state)
{
    (void)state;
    for (size_t f = 0; f < N_WHOLE_FILES; f++) {
        size_t n = 0;
        char *path = golden_path(whole_files[f]);
        uint8_t *bytes = read_file(path, &n);
        for (size_t cut = 0; cut < n; cut++) {
            lv_image image = {0};
            uint8_t *part = malloc(cut + 1); /* its own memory: a sanitizer finds reads past it */
            assert_non_null(part);
            memcpy(part, bytes, cut);
            int rc = lv_image_decode(&image, part, cut);
            if (rc != LV_ERR_FORMAT || image.rgb) {
                fail_msg("%s, cut to %zu of %zu bytes: code %d", whole_files[f], cut, n, rc);
            }
            free(part);
        }
        free(bytes);
        free(path);
    }
}

static void test_a_changed_byte_of_a_png_is_refused(void **state)
{
    (void)state;
    size_t n = 0;
    char *path = golden_path("rgb8.png");
    uint8_t *bytes = read_file(path, &n);
    for (size_t i = 0; i < n; i++) {
        lv_image image = {0};
        bytes[i] ^= 0x10;
        if (lv_image_decode(&image, bytes, n) != LV_ERR_FORMAT) {
            fail_msg("byte %zu of %zu was changed", i, n);
        }
        bytes[i] ^= 0x10;
    }
    free(bytes);
    free(path);
}

/* lv_image_check must agree with lv_image_decode in code and size. */
static int decode_and_check(lv_image *image, const uint8_t *bytes, size_t n, const char *name)
{
    int width = 0, height = 0;
    int rc = lv_image_decode(image, bytes, n);
    if (lv_image_check(&width, &height, bytes, n) != rc || width != image->width ||
        height != image->height) {
        fail_msg("%s: decoding gives %d, the check differs (%d x %d)", name, rc, width, height);
    }
    return rc;
}

static void test_the_check_agrees_with_decoding_on_whole_and_cut_files(void **state)
{
    (void)state;
    FILE *list = open_golden("decode.txt");
    char name[64];
    while (fscanf(list, "%63s %*d %*d %*s", name) == 1) {
        size_t n = 0;
        char *path = golden_path(name);
        uint8_t *bytes = read_file(path, &n);
        for (size_t part = 0; part <= 16; part++) {
            lv_image image = {0};
            decode_and_check(&image, bytes, n * part / 16, name);
            lv_image_free(&image);
        }
        free(bytes);
        free(path);
    }
    fclose(list);
}

/* JPEG and lossy WebP have no checksums: a change may go unseen, but must do no harm. */
static void test_a_changed_byte_of_a_jpeg_or_webp_does_no_harm(void **state)
{
    (void)state;
    static const char *const names[] = {
        "baseline.jpg", "progressive.jpg",     "cmyk.jpg",         "arithmetic.jpg",      "410.jpg",
        "ycck.jpg",     "lossless_alpha.webp", "lossy_alpha.webp", "animated_offset.webp"};
    for (size_t f = 0; f < sizeof names / sizeof *names; f++) {
        size_t n = 0, n_refused = 0;
        char *path = golden_path(names[f]);
        uint8_t *bytes = read_file(path, &n);
        for (size_t i = 0; i < n; i++) {
            static const uint8_t flips[] = {0x01, 0x80, 0xFF};
            for (size_t k = 0; k < 3; k++) {
                lv_image image = {0};
                bytes[i] ^= flips[k];
                int rc = decode_and_check(&image, bytes, n, names[f]);
                assert_true(rc == LV_OK || rc == LV_ERR_FORMAT);
                assert_true((rc == LV_OK) == (image.rgb != NULL));
                n_refused += rc < 0;
                lv_image_free(&image);
                bytes[i] ^= flips[k];
            }
        }
        assert_true(n_refused > 0);
        free(bytes);
        free(path);
    }
}

static void store_be32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

static void test_a_bomb_is_refused_before_memory_is_asked_for(void **state)
{
    (void)state;
    lv_image image = {0};
    size_t n = 0;
    char *path = golden_path("rgb8.png");
    uint8_t *bytes = read_file(path, &n);
    store_be32(bytes + 16, 2147483647); /* width in IHDR */
    store_be32(bytes + 20, 2147483647);
    store_be32(bytes + 29, (uint32_t)crc32_z(0, bytes + 12, 17));
    assert_int_equal(lv_image_decode(&image, bytes, n), LV_ERR_FORMAT);
    assert_non_null(strstr(lv_error_message(), "178956970"));
    free(bytes);
    free(path);
    path = golden_path("baseline.jpg");
    bytes = read_file(path, &n);
    uint8_t *frame = memmem(bytes, n, "\xFF\xC0", 2);
    assert_non_null(frame);
    memcpy(frame + 5, "\xFD\xE8\xFD\xE8", 4); /* 65000 x 65000 */
    assert_int_equal(decode_and_check(&image, bytes, n, "bomb"), LV_ERR_FORMAT);
    assert_non_null(strstr(lv_error_message(), "178956970"));
    free(bytes);
    free(path);
    path = golden_path("lossless.webp");
    bytes = read_file(path, &n);
    uint8_t *picture = memmem(bytes, n, "VP8L", 4);
    assert_non_null(picture);
    memcpy(picture + 9, "\xFF\xFF\xFF\x0F", 4); /* 16384 x 16384 */
    assert_int_equal(decode_and_check(&image, bytes, n, "bomb"), LV_ERR_FORMAT);
    assert_non_null(strstr(lv_error_message(), "178956970"));
    free(bytes);
    free(path);
}

/* Each scan is a pass over the picture, so that a small file could take hours of work. */
static void test_a_jpeg_of_more_than_100_scans_is_refused(void **state)
{
    (void)state;
    size_t n = 0;
    lv_image image = {0};
    char *path = golden_path("scans100.jpg");
    uint8_t *bytes = read_file(path, &n);
    assert_int_equal(decode_and_check(&image, bytes, n, path), LV_OK);
    lv_image_free(&image);
    free(bytes);
    free(path);
    path = golden_path("scans101.jpg");
    bytes = read_file(path, &n);
    assert_int_equal(decode_and_check(&image, bytes, n, path), LV_ERR_FORMAT);
    assert_non_null(strstr(lv_error_message(), "100 scans"));
    free(bytes);
    free(path);
}

static void test_a_jpeg_of_12_bits_is_refused(void **state)
{
    (void)state;
    size_t n = 0;
    lv_image image = {0};
    char *path = golden_path("baseline.jpg");
    uint8_t *bytes = read_file(path, &n);
    uint8_t *frame = memmem(bytes, n, "\xFF\xC0", 2);
    assert_non_null(frame);
    frame[1] = 0xC1; /* extended, which may have 12 */
    frame[4] = 12;
    assert_int_equal(decode_and_check(&image, bytes, n, path), LV_ERR_FORMAT);
    assert_non_null(strstr(lv_error_message(), "12"));
    free(bytes);
    free(path);
}

static void test_other_formats_are_refused_by_their_name(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *name;
    } cases[] = {{"", 0, "an empty file"},
                 {"\xFF\xD8", 2, "something else"},
                 {"GIF89a", 6, "GIF"},
                 {"<!DOCTYPE html>", 15, "HTML"},
                 {"BM\66\0\0\0", 6, "BMP"},
                 {"\0\0\0\40ftypavif", 12, "AVIF"},
                 {"\0\0\0\30ftypheic", 12, "HEIC"},
                 {"\0\0\0\14jP  \r\n\x87\n", 12, "JPEG 2000"},
                 {"RIFF\4\0\0\0WAVEfmt ", 16, "something else"},
                 {"II*\0\10\0\0\0", 8, "TIFF"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lv_image_format format;
        assert_int_equal(lv_image_format_of(&format, (const uint8_t *)cases[i].bytes, cases[i].n),
                         LV_ERR_FORMAT);
        assert_non_null(strstr(lv_error_message(), cases[i].name));
        assert_non_null(strstr(lv_error_message(), "convert it"));
    }
}

/* A line of pixels would be 2e9 pixels if it were resized or padded as a whole. */
static void test_the_longest_image_is_squared_in_little_memory(void **state)
{
    (void)state;
    enum { LONG = 3000000 };
    static const lv_aspect aspects[] = {LV_ASPECT_SQUARE, LV_ASPECT_PAD};
    lv_image line = {.width = LONG, .height = 1, .rgb = malloc((size_t)LONG * 3)};
    assert_non_null(line.rgb);
    memset(line.rgb, 200, (size_t)LONG * 3);
    for (int turned = 0; turned < 2; turned++) {
        for (size_t a = 0; a < 2; a++) {
            lv_image square = {0};
            line.width = turned ? 1 : LONG;
            line.height = turned ? LONG : 1;
            assert_int_equal(lv_image_square(&square, &line, 14, aspects[a]), LV_OK);
            assert_int_equal(square.rgb[0], a == 0 ? 200 : 122);
            lv_image_free(&square);
        }
    }
    lv_image_free(&line);
}

static void test_normalize_is_levels_over_255_less_mean_by_std_channels_first(void **state)
{
    (void)state;
    uint8_t pixels[12] = {0, 255, 128, 1, 2, 3, 254, 100, 50, 255, 0, 77};
    lv_image image = {.width = 2, .height = 2, .rgb = pixels};
    float out[12];
    lv_image_normalize(out, &image, LV_CLIP_MEAN, LV_CLIP_STD);
    for (int c = 0; c < 3; c++) {
        for (int i = 0; i < 4; i++) {
            double want =
                (pixels[3 * i + c] / 255.0 - (double)LV_CLIP_MEAN[c]) / (double)LV_CLIP_STD[c];
            assert_true(want - 1e-6 < (double)out[4 * c + i] &&
                        (double)out[4 * c + i] < want + 1e-6);
        }
    }
}

static void test_a_png_that_is_written_reads_back_equal(void **state)
{
    (void)state;
    enum { WIDTH = 37, HEIGHT = 5 };
    uint8_t pixels[WIDTH * HEIGHT * 3];
    for (size_t i = 0; i < sizeof pixels; i++) {
        pixels[i] = (uint8_t)(i * i + i / 7);
    }
    lv_image image = {.width = WIDTH, .height = HEIGHT, .rgb = pixels}, again = {0};
    char dir[] = "/tmp/lv_test_image_XXXXXX";
    assert_non_null(mkdtemp(dir));
    char *path = lv_path("%s/a.png", dir);
    for (int twice = 0; twice < 2; twice++) { /* the second replaces the first */
        assert_int_equal(lv_image_write_png(path, &image), LV_OK);
        assert_int_equal(decode_file(&again, path), LV_OK);
        assert_int_equal(again.width, WIDTH);
        assert_int_equal(again.height, HEIGHT);
        assert_memory_equal(again.rgb, pixels, sizeof pixels);
        lv_image_free(&again);
        pixels[7] ^= 1;
    }
    free(path);
    path = lv_path("%s/nowhere/a.png", dir);
    assert_int_equal(lv_image_write_png(path, &image), LV_ERR_IO);
    assert_non_null(strstr(lv_error_message(), path));
    assert_int_equal(lv_dir_remove(dir), LV_OK);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_of_file_decodes_as_pillow_does),
        cmocka_unit_test(test_square_and_pad_equal_clip_to_the_level),
        cmocka_unit_test(test_photographs_equal_clip_to_the_level),
        cmocka_unit_test(test_odd_images_decode_as_pillow_or_are_refused),
        cmocka_unit_test(test_a_file_cut_short_anywhere_is_refused),
        cmocka_unit_test(test_a_changed_byte_of_a_png_is_refused),
        cmocka_unit_test(test_the_check_agrees_with_decoding_on_whole_and_cut_files),
        cmocka_unit_test(test_a_changed_byte_of_a_jpeg_or_webp_does_no_harm),
        cmocka_unit_test(test_a_bomb_is_refused_before_memory_is_asked_for),
        cmocka_unit_test(test_a_jpeg_of_more_than_100_scans_is_refused),
        cmocka_unit_test(test_a_jpeg_of_12_bits_is_refused),
        cmocka_unit_test(test_other_formats_are_refused_by_their_name),
        cmocka_unit_test(test_the_longest_image_is_squared_in_little_memory),
        cmocka_unit_test(test_normalize_is_levels_over_255_less_mean_by_std_channels_first),
        cmocka_unit_test(test_a_png_that_is_written_reads_back_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
