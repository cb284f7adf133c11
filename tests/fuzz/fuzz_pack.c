/* SPDX-License-Identifier: Apache-2.0
 *
 * A pack's files. Two small packs, one of files as found and one of pixels, are written at the
 * start with the program's own code; an input is a list of edits to one of them:
 *
 *   flags (1 byte)  1: of pixels; 2: checksums of samples and images are made to fit; 4: so are
 *                   sizes and checksums of the files in the manifest
 *   then edits      what (1), place (2), bytes to remove (1), bytes to put there (1), those bytes
 *
 * What is edited is the manifest's text, a file as it is, or a column of a shard, which is then
 * written anew with its checksum: so the reader's own checks are reached, and not only HDF5's
 * checksums of its metadata. libhdf5 itself is not instrumented. What opens must give samples and
 * images that hold what the reader promises.
 */
#include "data/base/file.h"
#include "data/base/hdf5.h"
#include "data/chat/template.h"
#include "data/json/json.h"
#include "data/json/manifest.h"
#include "data/pack/format.h"
#include "data/pack/pack.h"
#include "tests/fuzz/support.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

typedef struct {
    uint8_t *data;
    size_t n;
} bytes;

enum { MANIFEST, REJECTS, SAMPLES, IMAGES, N_FILES };
static const char *const file_names[N_FILES] = {"manifest.json", "rejects.jsonl",
                                                "samples-00000.h5", "images-00000.h5"};
enum {
    N_COLUMNS = LV_PACK_N_SAMPLE_FIELDS + LV_PACK_N_IMAGE_FIELDS,
    N_TARGETS = N_FILES + N_COLUMNS,
    MAX_EDITS = 16,
};
enum { OF_PIXELS = 1, FIT_ITEMS = 2, FIT_FILES = 4 };

/* files, then columns, of the pack as it was written */
typedef struct {
    bytes parts[N_TARGETS];
} base_pack;
static base_pack bases[2];

/* libhdf5 forgets some of its own memory when it refuses a file. Handles that we forget are counted
 * below. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libhdf5";
}

static const char RECORDS[] =
    "[{\"id\": \"a\", \"image\": \"gray1.png\", \"conversations\": ["
    "{\"from\": \"human\", \"value\": \"<image>\"}, {\"from\": \"gpt\", \"value\": \"A cat.\"}]},"
    "{\"id\": \"b\", \"image\": \"none.png\", \"conversations\": ["
    "{\"from\": \"human\", \"value\": \"<image>\"}, {\"from\": \"gpt\", \"value\": \"A dog.\"}]},"
    "{\"id\": 3, \"image\": \"gray.jpg\", \"conversations\": ["
    "{\"from\": \"human\", \"value\": \"<image>\"}, {\"from\": \"gpt\", \"value\": \"A bus.\"}]}]";

/* ---- columns ---- */

static const lv_pack_field *field_of(int column)
{
    return column < LV_PACK_N_SAMPLE_FIELDS
               ? &LV_PACK_SAMPLES.fields[column]
               : &LV_PACK_IMAGES.fields[column - LV_PACK_N_SAMPLE_FIELDS];
}

static int file_of(int column)
{
    return column < LV_PACK_N_SAMPLE_FIELDS ? SAMPLES : IMAGES;
}

static hid_t type_of(const lv_pack_field *field)
{
    return field->type == LV_PACK_U8    ? H5T_STD_U8LE
           : field->type == LV_PACK_I32 ? H5T_STD_I32LE
           : field->type == LV_PACK_U32 ? H5T_STD_U32LE
                                        : H5T_STD_I64LE;
}

static bytes read_column(hid_t file, const lv_pack_field *field)
{
    hid_t dataset;
    int64_t n = 0;
    fuzz_must(lv_h5_dataset_open(&dataset, &n, file, field->name, type_of(field), field->n_columns),
              "opening a column");
    bytes column = {.n = (size_t)n * lv_pack_row_bytes(field)};
    column.data = malloc(column.n + 1);
    LV_CHECK(column.data, "out of memory");
    fuzz_must(lv_h5_dataset_read(dataset, type_of(field), 0, n, column.data), "reading a column");
    H5Dclose(dataset);
    return column;
}

/* In place of the column that the file has; what is left of a row is dropped. */
static void write_column(hid_t file, const lv_pack_field *field, bytes column)
{
    hid_t dataset;
    int64_t n = (int64_t)(column.n / lv_pack_row_bytes(field));
    uint32_t crc = (uint32_t)crc32_z(0, column.data, (size_t)n * lv_pack_row_bytes(field));
    LV_CHECK(H5Ldelete(file, field->name, H5P_DEFAULT) >= 0, "removing \"%s\"", field->name);
    fuzz_must(
        lv_h5_dataset_create(&dataset, file, field->name, type_of(field), n, field->n_columns),
        "creating a column");
    fuzz_must(lv_h5_dataset_write(dataset, type_of(field), 0, n, column.data), "writing a column");
    fuzz_must(lv_h5_write_int(dataset, "crc32", crc), "writing a checksum");
    H5Dclose(dataset);
}

static hid_t open_to_edit(const char *path)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, access);
    LV_CHECK(file >= 0, "%s: opening", path);
    H5Pclose(access);
    return file;
}

/* ---- the packs to begin with ---- */

static void copy_image(const char *dir, const char *name)
{
    char *relative = lv_path("tests/golden/image/%s", name);
    char *from = fuzz_source(relative);
    char *to = lv_path("%s/%s", dir, name);
    fuzz_must(lv_file_copy(to, from), "copying an image");
    free(relative);
    free(from);
    free(to);
}

static void read_base(base_pack *base, const char *dir)
{
    for (int i = 0; i < N_FILES; i++) {
        char *path = lv_path("%s/%s", dir, file_names[i]), *text = NULL;
        fuzz_must(lv_file_read(&text, &base->parts[i].n, path), "reading the pack");
        base->parts[i].data = (uint8_t *)text;
        free(path);
    }
    lv_h5_lock();
    for (int i = 0; i < N_COLUMNS; i++) {
        hid_t file = H5I_INVALID_HID;
        char *path = lv_path("%s/%s", dir, file_names[file_of(i)]);
        fuzz_must(lv_h5_open(&file, path), "opening a shard");
        base->parts[N_FILES + i] = read_column(file, field_of(i));
        fuzz_must(lv_h5_close(&file, path), "closing a shard");
        free(path);
    }
    lv_h5_unlock();
}

static void make_base(base_pack *base, bool pixels)
{
    lv_pack_summary summary;
    char *data_path = lv_path("%s", fuzz_write("records.json", RECORDS, sizeof RECORDS - 1));
    char *out_dir = lv_path("%s/base", fuzz_dir());
    char *image_dir = lv_path("%s/images", fuzz_dir());
    char *tokenizer_path = fuzz_source("configs/tokenizer");
    fuzz_must(lv_dir_create(image_dir), "making a folder");
    copy_image(image_dir, "gray1.png");
    copy_image(image_dir, "gray.jpg");
    fuzz_must(lv_pack_write(&summary,
                            &(lv_pack_options){.data_path = data_path,
                                               .image_dir = image_dir,
                                               .tokenizer_path = tokenizer_path,
                                               .template_name = "plain",
                                               .out_dir = out_dir,
                                               .store_rgb = pixels,
                                               .image_size = pixels ? 8 : 0,
                                               .max_rejects = 1},
                            NULL),
              "packing");
    read_base(base, out_dir);
    fuzz_must(lv_dir_remove(out_dir), "removing a folder");
    free(data_path);
    free(out_dir);
    free(image_dir);
    free(tokenizer_path);
}

static void free_bases(void)
{
    for (int i = 0; i < N_TARGETS; i++) {
        free(bases[0].parts[i].data);
        free(bases[1].parts[i].data);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    make_base(&bases[0], false);
    make_base(&bases[1], true);
    return atexit(free_bases);
}

/* ---- edits ---- */

typedef struct {
    bytes parts[N_TARGETS];
    bool changed[N_TARGETS];
} edited_pack;

static void splice(bytes *part, size_t place, size_t n_removed, const uint8_t *put, size_t n_put)
{
    place %= part->n + 1;
    n_removed = n_removed < part->n - place ? n_removed : part->n - place;
    uint8_t *data = malloc(part->n + n_put + 1);
    LV_CHECK(data, "out of memory");
    uint8_t *end = mempcpy(mempcpy(data, part->data, place), put, n_put);
    memcpy(end, part->data + place + n_removed, part->n - place - n_removed);
    free(part->data);
    *part = (bytes){data, part->n - n_removed + n_put};
}

static void edit(edited_pack *pack, const base_pack *base, const uint8_t *data, size_t n)
{
    for (int i = 0; i < N_TARGETS; i++) {
        pack->parts[i] = (bytes){malloc(base->parts[i].n + 1), base->parts[i].n};
        LV_CHECK(pack->parts[i].data, "out of memory");
        memcpy(pack->parts[i].data, base->parts[i].data, base->parts[i].n);
    }
    for (int k = 0; k < MAX_EDITS && n >= 5; k++) {
        int target = data[0] % N_TARGETS;
        size_t n_put = data[4] < n - 5 ? data[4] : n - 5;
        splice(&pack->parts[target], (size_t)(data[1] | data[2] << 8), data[3], data + 5, n_put);
        pack->changed[target] = true;
        data += 5 + n_put;
        n -= 5 + n_put;
    }
}

static bytes *sample_part(edited_pack *pack, int field)
{
    return &pack->parts[N_FILES + field];
}

static bytes *image_part(edited_pack *pack, int field)
{
    return &pack->parts[N_FILES + LV_PACK_N_SAMPLE_FIELDS + field];
}

static int64_t int64_at(const bytes *part, size_t i)
{
    int64_t value;
    memcpy(&value, part->data + i * sizeof value, sizeof value);
    return value;
}

/* Whether the i-th thing owns rows that are there, and which. */
static bool owned(const bytes *offsets, const bytes *rows, size_t row_bytes, size_t i,
                  int64_t *begin, int64_t *n)
{
    if ((i + 2) * sizeof *begin > offsets->n) {
        return false;
    }
    int64_t end = int64_at(offsets, i + 1);
    *begin = int64_at(offsets, i);
    *n = 0;
    if (*begin < 0 || *begin > end || end > (int64_t)(rows->n / row_bytes)) {
        return false;
    }
    *n = end - *begin;
    return true;
}

static void put_crc(bytes *part, size_t i, uint32_t crc)
{
    if ((i + 1) * sizeof crc <= part->n) {
        memcpy(part->data + i * sizeof crc, &crc, sizeof crc);
    }
}

/* The columns' own checksums, of every sample and image whose rows are there. */
static void fit_items(edited_pack *pack)
{
    const bytes *tokens = sample_part(pack, LV_PACK_TOKENS);
    const bytes *supervised = sample_part(pack, LV_PACK_SUPERVISED);
    const bytes *images = sample_part(pack, LV_PACK_SAMPLE_IMAGE);
    int64_t begin, n, first, n_images;
    for (size_t i = 0; i < 4; i++) {
        const bytes *offsets = sample_part(pack, LV_PACK_SAMPLE_OFFSET);
        if (owned(offsets, tokens, sizeof(int32_t), i, &begin, &n) &&
            owned(offsets, supervised, 1, i, &begin, &n) &&
            owned(sample_part(pack, LV_PACK_SAMPLE_IMAGE_OFFSET), images, sizeof(int64_t), i,
                  &first, &n_images)) {
            put_crc(sample_part(pack, LV_PACK_SAMPLE_CRC), i,
                    lv_pack_sample_crc((const int32_t *)tokens->data + begin,
                                       supervised->data + begin, n,
                                       (const int64_t *)images->data + first, n_images));
        }
        const bytes *pixels = image_part(pack, LV_PACK_BYTES);
        if (owned(image_part(pack, LV_PACK_IMAGE_OFFSET), pixels, 1, i, &begin, &n)) {
            put_crc(image_part(pack, LV_PACK_IMAGE_CRC), i,
                    (uint32_t)crc32_z(0, pixels->data + begin, (size_t)n));
        }
    }
    pack->changed[N_FILES + LV_PACK_SAMPLE_CRC] = true;
    pack->changed[N_FILES + LV_PACK_N_SAMPLE_FIELDS + LV_PACK_IMAGE_CRC] = true;
}

/* ---- writing the edited pack ---- */

/* Columns into a shard of which no byte was changed. */
static void write_columns(const edited_pack *pack, int shard, const char *path)
{
    bool any = false;
    for (int i = 0; i < N_COLUMNS; i++) {
        any = any || (file_of(i) == shard && pack->changed[N_FILES + i]);
    }
    if (!any || pack->changed[shard]) {
        return;
    }
    lv_h5_lock();
    hid_t file = open_to_edit(path);
    for (int i = 0; i < N_COLUMNS; i++) {
        if (file_of(i) == shard && pack->changed[N_FILES + i]) {
            write_column(file, field_of(i), pack->parts[N_FILES + i]);
        }
    }
    fuzz_must(lv_h5_close(&file, path), "closing a shard");
    lv_h5_unlock();
}

static void fit_files(cJSON *root)
{
    cJSON *files = cJSON_GetObjectItemCaseSensitive(root, "files");
    for (int i = REJECTS; cJSON_IsObject(files) && i < N_FILES; i++) {
        if (cJSON_GetObjectItemCaseSensitive(files, file_names[i])) {
            cJSON_DeleteItemFromObjectCaseSensitive(files, file_names[i]);
            fuzz_must(lv_manifest_add_file(root, fuzz_dir(), file_names[i]), "listing a file");
        }
    }
}

/* With its checksum, if it is still an object; otherwise as it is. */
static void write_manifest(bytes text, bool fit)
{
    cJSON *root = NULL;
    const char *path = fuzz_write(file_names[MANIFEST], text.data, text.n);
    if (lv_json_parse(&root, (const char *)text.data, text.n) == LV_OK && cJSON_IsObject(root)) {
        cJSON_DeleteItemFromObjectCaseSensitive(root, "self_crc32");
        if (fit) {
            fit_files(root);
        }
        if (root->child) {
            fuzz_must(lv_manifest_write(path, root), "writing the manifest");
        }
    }
    cJSON_Delete(root);
}

static void write_pack(const edited_pack *pack, bool fit)
{
    for (int i = REJECTS; i < N_FILES; i++) {
        const char *path = fuzz_write(file_names[i], pack->parts[i].data, pack->parts[i].n);
        if (i == SAMPLES || i == IMAGES) {
            write_columns(pack, i, path);
        }
    }
    write_manifest(pack->parts[MANIFEST], fit);
}

/* ---- reading it ---- */

static void check_image(lv_pack *pack, int64_t id)
{
    lv_image image = {0};
    lv_aspect aspect;
    int size = lv_pack_stored_size(pack, &aspect);
    if (lv_pack_read_image(pack, id, &image) < 0) {
        return;
    }
    LV_CHECK(image.width > 0 && image.height > 0 && image.rgb, "an image without pixels");
    LV_CHECK(size == 0 || (image.width == size && image.height == size), "another size");
    lv_image_free(&image);
}

static void check_sample(lv_pack *pack, int64_t i)
{
    lv_sample_counts c = lv_pack_counts(pack)[i];
    LV_CHECK(c.n_tokens > 0 && c.n_supervised > 0 && c.n_images >= 0 && c.n_words >= 0,
             "impossible counts");
    int32_t *tokens = calloc((size_t)c.n_tokens, sizeof *tokens);
    uint8_t *supervised = calloc((size_t)c.n_tokens, 1);
    int64_t *images = calloc((size_t)c.n_images + 1, sizeof *images);
    char *id = NULL;
    if (tokens && supervised && images &&
        lv_pack_read_sample(pack, i, tokens, supervised, images, &id) == LV_OK) {
        int32_t n_supervised = 0, n_images = 0;
        for (int32_t t = 0; t < c.n_tokens; t++) {
            LV_CHECK(tokens[t] >= 0 || tokens[t] == LV_IMAGE_TOKEN, "token %d", tokens[t]);
            n_supervised += supervised[t];
            n_images += tokens[t] == LV_IMAGE_TOKEN;
        }
        LV_CHECK(n_supervised == c.n_supervised && n_images == c.n_images && id, "other counts");
        for (int32_t k = 0; k < c.n_images; k++) {
            check_image(pack, images[k]);
        }
    }
    free(tokens);
    free(supervised);
    free(images);
    free(id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    edited_pack edited = {0};
    lv_pack *pack = NULL;
    if (n == 0) {
        return 0;
    }
    edit(&edited, &bases[(data[0] & OF_PIXELS) != 0], data + 1, n - 1);
    if (data[0] & FIT_ITEMS) {
        fit_items(&edited);
    }
    write_pack(&edited, data[0] & FIT_FILES);
    if (lv_pack_open(&pack, fuzz_dir()) == LV_OK) {
        for (int64_t i = 0; i < lv_pack_n_samples(pack); i++) {
            check_sample(pack, i);
        }
        lv_pack_close(&pack);
    }
    LV_CHECK(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL) == 0, "an HDF5 handle is left");
    for (int i = 0; i < N_TARGETS; i++) {
        free(edited.parts[i].data);
    }
    return 0;
}
