/* SPDX-License-Identifier: Apache-2.0
 *
 * llava inspect from the inside: one function for each thing that a path can be.
 */
#ifndef LV_TOOLS_INSPECT_INSPECT_H
#define LV_TOOLS_INSPECT_INSPECT_H

#include "data/pack/pack.h"

#include <stdbool.h>
#include <stdint.h>

enum { LV_NOT_GIVEN = -1 };

/* The flags; all of them are for packs. */
typedef struct {
    int64_t sample;         /* from 0; LV_NOT_GIVEN with NULL as id: the whole pack */
    const char *id;         /* NULL: by number */
    const char *tokenizer;  /* NULL: the pack's */
    const char *png;        /* NULL: none is written */
    const char *aspect;     /* NULL: the pack's, or square */
    int64_t image_size;     /* LV_NOT_GIVEN: the pack's, or 336 */
    int64_t image;          /* of the sample, from 0; LV_NOT_GIVEN: the first */
    int64_t max_length;     /* LV_NOT_GIVEN: 2048 */
    int64_t rows_per_image; /* LV_NOT_GIVEN: (image_size / 14)^2 */
    bool quick, json;
} lv_inspect_options;

/* All of these print on stdout, and fail with what is damaged or missing. */
int lv_inspect_pack(const char *dir, const lv_inspect_options *options);
int lv_inspect_checkpoint(const char *dir);
int lv_inspect_run(const char *dir);
int lv_inspect_model(const char *dir);
int lv_inspect_weights_file(const char *path);

/* lv_inspect_sample: one sample of a pack, as text or JSON, and its image as PNG. */
int lv_inspect_sample(const char *dir, lv_pack *pack, const lv_inspect_options *options);

/* lv_inspect_png: the sample's image at the resolution of the model. */
int lv_inspect_png(lv_pack *pack, const int64_t *image_ids, int n_images,
                   const lv_inspect_options *options);

/* lv_inspect_digests: compare the files of dir, or the one called name, with its digests.json; a
 * message if there is none. */
int lv_inspect_digests(const char *dir, const char *name);

/* lv_inspect_rows_per_image: as given, or of a ViT with patches of 14 pixels at the size of
 * lv_inspect_image_size. */
int lv_inspect_rows_per_image(const lv_pack *pack, const lv_inspect_options *options);

/* lv_inspect_max_length: as given, or the default of data.max_length. */
int64_t lv_inspect_max_length(const lv_inspect_options *options);

/* lv_inspect_image_size: as given, or as the pack stores its pixels, or 336. */
int lv_inspect_image_size(const lv_pack *pack, const lv_inspect_options *options);

/* ---- parts ---- */

/* A line "  label   value". The text may be anything. */
void lv_inspect_text(const char *label, const char *text);
void lv_inspect_count(const char *label, int64_t n);
void lv_inspect_share(const char *label, int64_t n, int64_t all); /* with per cent */
void lv_inspect_bytes(const char *label, int64_t bytes);

/* lv_inspect_result: prints that all bytes are as written if rc is LV_OK. returns rc */
int lv_inspect_result(int rc);

bool lv_inspect_has(const char *dir, const char *name);

#endif
