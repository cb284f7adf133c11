/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of text share: the committed tokenizer, golden files, the real data if it is
 * there.
 */
#ifndef LV_TESTS_TEXT_FIXTURE_H
#define LV_TESTS_TEXT_FIXTURE_H

#include "data/tokenizer/tokenizer.h"

#include <cjson/cJSON.h>

/* A path under the source root; free() it. */
char *source_path(const char *relative);

/* A path under the real data, or NULL if that is not there. free() it. */
char *data_path(const char *relative);

/* Fails the test with the message if rc is an error. */
#define assert_ok(rc) assert_ok_at(rc, __FILE__, __LINE__)
void assert_ok_at(int rc, const char *file, int line);

/* Fails the test unless rc is the error and its message has the part. */
#define assert_fails(rc, error, part) assert_fails_at(rc, error, part, __FILE__, __LINE__)
void assert_fails_at(int rc, int error, const char *part, const char *file, int line);

cJSON *read_golden(const char *name);

/* The committed tokenizer, between these two: set-up and end of a group of tests. */
extern lv_tokenizer *tokenizer;
int open_tokenizer(void **state);
int close_tokenizer(void **state);

/* Variants of the committed tokenizer: its tokenizer.json, to be changed; a member set to JSON
 * text; Metaspace with a prepend_scheme in place of the normalizer; the tokenizer that comes of it.
 */
cJSON *committed_tokenizer_file(void);
void set_member(cJSON *object, const char *key, const char *json);
void set_metaspace(cJSON *root, const char *scheme);
int open_tokenizer_json(lv_tokenizer **out, const cJSON *root);

/* A new folder under the system's temporary one; remove_folder also frees the name. */
char *make_folder(void);
void remove_folder(char *folder);
void write_text(const char *folder, const char *name, const char *text);

#endif
