/* SPDX-License-Identifier: Apache-2.0
 *
 * What data/image/image.h makes of files, and how long it takes, for the scripts beside it.
 *     image_probe pixels SIZE square|pad   a path a line on stdin; for each on stdout int32 code,
 *         width, height, then as bytes the picture, its square and the normalized floats; on
 *         failure int32 code, 0, length of the message, and the message
 *     image_probe time SIZE square|pad FILE...   for each line on stdin a pass over the files,
 * which are in memory; on stdout the thread's seconds for check, decode, square and normalize
 */
#include "autograd/error.h"
#include "data/base/file.h"
#include "data/image/image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    char *bytes;
    size_t n;
} file_bytes;

typedef struct {
    int size;
    lv_aspect aspect;
    float *floats; /* (3, size, size) */
} work;

static double thread_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void write_all(const void *bytes, size_t n)
{
    LV_CHECK(fwrite(bytes, 1, n, stdout) == n, "stdout can not be written");
}

static int make(lv_image *image, lv_image *square, const work *w, const char *path)
{
    file_bytes file = {0};
    int rc = lv_file_read(&file.bytes, &file.n, path);
    rc = rc < 0 ? rc : lv_image_decode(image, (const uint8_t *)file.bytes, file.n);
    rc = rc < 0 ? rc : lv_image_square(square, image, w->size, w->aspect);
    if (rc == LV_OK) {
        lv_image_normalize(w->floats, square, LV_CLIP_MEAN, LV_CLIP_STD);
    }
    free(file.bytes);
    return rc;
}

static void write_pixels(const work *w)
{
    char path[4096];
    size_t n_square = 3 * (size_t)w->size * (size_t)w->size;
    while (fgets(path, sizeof path, stdin)) {
        lv_image image = {0}, square = {0};
        path[strcspn(path, "\n")] = '\0';
        int32_t head[3] = {make(&image, &square, w, path), image.width, image.height};
        if (head[0] < 0) {
            head[1] = 0;
            head[2] = (int32_t)strlen(lv_error_message());
            write_all(head, sizeof head);
            write_all(lv_error_message(), (size_t)head[2]);
        } else {
            write_all(head, sizeof head);
            write_all(image.rgb, 3 * (size_t)image.width * (size_t)image.height);
            write_all(square.rgb, n_square);
            write_all(w->floats, n_square * sizeof *w->floats);
        }
        lv_image_free(&image);
        lv_image_free(&square);
        LV_CHECK(fflush(stdout) == 0, "stdout can not be written");
    }
}

/* Adds to s the seconds of check, decode, square and normalize. */
static void time_file(double s[4], const work *w, const file_bytes *file)
{
    const uint8_t *bytes = (const uint8_t *)file->bytes;
    lv_image image = {0}, square = {0};
    int width, height;
    double t[5] = {thread_s()};
    LV_CHECK(lv_image_check(&width, &height, bytes, file->n) == LV_OK, "%s", lv_error_message());
    t[1] = thread_s();
    LV_CHECK(lv_image_decode(&image, bytes, file->n) == LV_OK, "%s", lv_error_message());
    t[2] = thread_s();
    LV_CHECK(lv_image_square(&square, &image, w->size, w->aspect) == LV_OK, "%s",
             lv_error_message());
    lv_image_free(&image);
    t[3] = thread_s();
    lv_image_normalize(w->floats, &square, LV_CLIP_MEAN, LV_CLIP_STD);
    lv_image_free(&square);
    t[4] = thread_s();
    for (int i = 0; i < 4; i++) {
        s[i] += t[i + 1] - t[i];
    }
}

static void time_passes(const work *w, char **paths, size_t n)
{
    char line[16];
    file_bytes *files = calloc(n, sizeof *files);
    LV_CHECK(files, "out of memory");
    for (size_t i = 0; i < n; i++) {
        LV_CHECK(lv_file_read(&files[i].bytes, &files[i].n, paths[i]) == LV_OK, "%s",
                 lv_error_message());
    }
    while (fgets(line, sizeof line, stdin)) {
        double s[4] = {0};
        for (size_t i = 0; i < n; i++) {
            time_file(s, w, &files[i]);
        }
        printf("%.6f %.6f %.6f %.6f\n", s[0], s[1], s[2], s[3]);
        fflush(stdout);
    }
    for (size_t i = 0; i < n; i++) {
        free(files[i].bytes);
    }
    free(files);
}

int main(int argc, char **argv)
{
    int size = argc > 3 ? atoi(argv[2]) : 0;
    if (size <= 0) {
        fprintf(stderr, "usage: image_probe pixels|time SIZE square|pad [FILE]...\n");
        return 2;
    }
    work w = {.size = size,
              .aspect = strcmp(argv[3], "pad") == 0 ? LV_ASPECT_PAD : LV_ASPECT_SQUARE,
              .floats = malloc(3 * (size_t)size * (size_t)size * sizeof(float))};
    LV_CHECK(w.floats, "out of memory");
    if (strcmp(argv[1], "time") == 0) {
        time_passes(&w, argv + 4, (size_t)(argc - 4));
    } else {
        write_pixels(&w);
    }
    free(w.floats);
    return 0;
}
