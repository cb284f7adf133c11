/* SPDX-License-Identifier: Apache-2.0
 *
 * A scratch folder with images and a source for tests of data/pack/pack.h.
 */
#ifndef LV_TESTS_UNITS_DATA_PACK_FIXTURE_H
#define LV_TESTS_UNITS_DATA_PACK_FIXTURE_H

#include "data/pack/pack.h"

/* A new scratch folder with images/, which holds good images of tests/golden/image; options for a
 * plain pack of source.json there, max_rejects 1. */
typedef struct {
    char *dir, *data_path, *image_dir, *tokenizer_path, *out_dir;
    lv_pack_options options;
} fixture;

/* One for each test, as *state. */
int fixture_set_up(void **state);
int fixture_tear_down(void **state);

/* fixture_write: text to a file of the scratch folder. */
void fixture_write(const fixture *f, const char *name, const char *text);

/* fixture_write_records: source.json with n captions, of 4 images in turn. */
void fixture_write_records(const fixture *f, int n);

/* fixture_write_images: the same with n_images names, copies of the 4, each named by n / n_images
 * records in turn. */
void fixture_write_images(const fixture *f, int n, int n_images);

/* fixture_pack: with teams of that many processes (forked; 1: this process).
 * returns the lowest code of all ranks */
int fixture_pack(lv_pack_summary *summary, const lv_pack_options *options, int n_ranks);

/* fixture_verify: open the pack in out_dir and verify it. */
int fixture_verify(const fixture *f);

/* fixture_fingerprint: names, sizes and CRC-32 of all files of a folder and those in it, sorted;
 * free() it. */
char *fixture_fingerprint(const char *dir);

#endif
