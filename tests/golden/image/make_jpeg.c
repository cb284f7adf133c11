/* SPDX-License-Identifier: Apache-2.0
 *
 * JPEG files of the forms that Pillow does not write, for make_golden.py and compare.py:
 *     cc make_jpeg.c -o make_jpeg -ljpeg
 *     make_jpeg OUT.jpg WIDTH HEIGHT FORM
 * FORM: 411, 440, 410 (chroma sampling), odd (chroma finer than luma), arithmetic,
 * arithmetic_progressive, rgb, ycck, gray, or scansN (a progressive gray file of 2 to 150 scans).
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

/* Smooth in one corner, noise in the other. */
static void draw_row(uint8_t *row, int width, int height, int y, int n_channels)
{
    static uint32_t noise = 12345;
    for (int x = 0; x < width; x++) {
        for (int c = 0; c < n_channels; c++) {
            noise = noise * 1664525 + 1013904223;
            row[n_channels * x + c] =
                (uint8_t)(x + y > (width + height) / 2 ? (int)(noise >> 24)
                                                       : x * 5 + y * 3 + c * 40);
        }
    }
}

static void set_sampling(j_compress_ptr info, int luma_across, int luma_down)
{
    info->comp_info[0].h_samp_factor = luma_across;
    info->comp_info[0].v_samp_factor = luma_down;
}

/* The means, then bit by bit one coefficient after the other, then the rest at once. */
static void set_scans(j_compress_ptr info, int n)
{
    static jpeg_scan_info scans[4096];
    int k = 1, at = 0;
    scans[at++] = (jpeg_scan_info){.comps_in_scan = 1};
    for (; at + 4 <= n; k++) {
        for (int bit = 2; bit >= 0; bit--) {
            scans[at++] = (jpeg_scan_info){
                .comps_in_scan = 1, .Ss = k, .Se = k, .Ah = bit == 2 ? 0 : bit + 1, .Al = bit};
        }
    }
    for (; at < n - 1; k++) {
        scans[at++] = (jpeg_scan_info){.comps_in_scan = 1, .Ss = k, .Se = k};
    }
    scans[at++] = (jpeg_scan_info){.comps_in_scan = 1, .Ss = k, .Se = 63};
    info->scan_info = scans;
    info->num_scans = at;
}

static void set_form(j_compress_ptr info, const char *form)
{
    if (strcmp(form, "411") == 0) {
        set_sampling(info, 4, 1);
    } else if (strcmp(form, "440") == 0) {
        set_sampling(info, 1, 2);
    } else if (strcmp(form, "410") == 0) {
        set_sampling(info, 4, 2);
    } else if (strcmp(form, "odd") == 0) {
        set_sampling(info, 1, 1);
        info->comp_info[2].h_samp_factor = 2;
    } else if (strcmp(form, "rgb") == 0) {
        jpeg_set_colorspace(info, JCS_RGB);
    } else if (strcmp(form, "ycck") == 0) {
        jpeg_set_colorspace(info, JCS_YCCK);
    } else if (strncmp(form, "arithmetic", 10) == 0) {
        info->arith_code = TRUE;
        if (form[10]) {
            jpeg_simple_progression(info);
        }
    } else if (strncmp(form, "scans", 5) == 0) {
        set_scans(info, atoi(form + 5));
    }
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: make_jpeg OUT.jpg WIDTH HEIGHT FORM\n");
        return 2;
    }
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    const char *form = argv[4];
    FILE *file = fopen(argv[1], "wb");
    if (!file) {
        perror(argv[1]);
        return 1;
    }
    info.err = jpeg_std_error(&errors);
    jpeg_create_compress(&info);
    jpeg_stdio_dest(&info, file);
    info.image_width = (JDIMENSION)atoi(argv[2]);
    info.image_height = (JDIMENSION)atoi(argv[3]);
    int gray = strcmp(form, "gray") == 0 || strncmp(form, "scans", 5) == 0;
    info.input_components = gray ? 1 : strcmp(form, "ycck") == 0 ? 4 : 3;
    info.in_color_space = info.input_components == 1   ? JCS_GRAYSCALE
                          : info.input_components == 3 ? JCS_RGB
                                                       : JCS_CMYK;
    jpeg_set_defaults(&info);
    jpeg_set_quality(&info, 85, TRUE);
    set_form(&info, form);
    jpeg_start_compress(&info, TRUE);
    uint8_t *row = malloc((size_t)info.image_width * 4);
    while (row && info.next_scanline < info.image_height) {
        draw_row(row, (int)info.image_width, (int)info.image_height, (int)info.next_scanline,
                 info.input_components);
        jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
    free(row);
    return fclose(file) == 0 ? 0 : 1;
}
