/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/units/data/pack_fixture.h"

#include "autograd/error.h"
#include "data/base/file.h"

#include <dirent.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const images[] = {"baseline.jpg", "rgb8.png", "progressive.jpg", "palette8.png"};
enum { N_IMAGES = 4 };

static void create(fixture *f)
{
    char scratch[] = "/tmp/llava-pack-XXXXXX";
    const char *source = getenv("LLAVA_TEST_SOURCE");
    assert_non_null(mkdtemp(scratch));
    *f = (fixture){.dir = lv_path("%s", scratch),
                   .data_path = lv_path("%s/source.json", scratch),
                   .image_dir = lv_path("%s/images", scratch),
                   .tokenizer_path = lv_path("%s/configs/tokenizer", source),
                   .out_dir = lv_path("%s/pack", scratch)};
    assert_int_equal(lv_dir_create(f->image_dir), LV_OK);
    for (int i = 0; i < N_IMAGES; i++) {
        char *from = lv_path("%s/tests/golden/image/%s", source, images[i]);
        char *to = lv_path("%s/%s", f->image_dir, images[i]);
        assert_int_equal(lv_file_copy(to, from), LV_OK);
        free(from);
        free(to);
    }
    f->options = (lv_pack_options){.data_path = f->data_path,
                                   .image_dir = f->image_dir,
                                   .tokenizer_path = f->tokenizer_path,
                                   .template_name = "plain",
                                   .out_dir = f->out_dir,
                                   .max_rejects = 1.0};
}

static void destroy(fixture *f)
{
    assert_int_equal(lv_dir_remove(f->dir), LV_OK);
    free(f->dir);
    free(f->data_path);
    free(f->image_dir);
    free(f->tokenizer_path);
    free(f->out_dir);
}

int fixture_set_up(void **state)
{
    fixture *f = malloc(sizeof *f);
    if (!f) {
        return -1;
    }
    create(f);
    *state = f;
    return 0;
}

int fixture_tear_down(void **state)
{
    destroy(*state);
    free(*state);
    return 0;
}

void fixture_write(const fixture *f, const char *name, const char *text)
{
    char *path = lv_path("%s/%s", f->dir, name);
    assert_int_equal(lv_file_write(path, text, strlen(text)), LV_OK);
    free(path);
}

/* Record i has the image of names[i % n_names]. */
static void write_records(const fixture *f, int n, const char *const *names, int n_names)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    for (int i = 0; i < n; i++) {
        fprintf(out,
                "%s{\"id\": \"r%d\", \"image\": \"%s\", \"conversations\": ["
                "{\"from\": \"human\", \"value\": \"What?\\n<image>\"},"
                "{\"from\": \"gpt\", \"value\": \"caption number %d\"}]}",
                i ? ",\n" : "[", i, names[i % n_names], i);
    }
    fprintf(out, "]\n");
    fclose(out);
    fixture_write(f, "source.json", text);
    free(text);
}

void fixture_write_records(const fixture *f, int n)
{
    write_records(f, n, images, N_IMAGES);
}

void fixture_write_images(const fixture *f, int n, int n_images)
{
    char **names = calloc((size_t)n_images, sizeof *names);
    assert_non_null(names);
    for (int i = 0; i < n_images; i++) {
        names[i] = lv_path("copy%d-%s", i, images[i % N_IMAGES]);
        char *from = lv_path("%s/%s", f->image_dir, images[i % N_IMAGES]);
        char *to = lv_path("%s/%s", f->image_dir, names[i]);
        assert_int_equal(lv_file_copy(to, from), LV_OK);
        free(from);
        free(to);
    }
    write_records(f, n, (const char *const *)names, n_images);
    for (int i = 0; i < n_images; i++) {
        free(names[i]);
    }
    free(names);
}

enum { MAX_SUMS = 1 << 16, MAX_SENT = 1 << 20 };

/* The team's state, in the memory that its forked ranks share. */
typedef struct {
    pthread_barrier_t barrier;
    pthread_mutex_t lock;
    int lowest, n_ranks;
    char sent[MAX_SENT];
    int64_t sums[MAX_SUMS];
    lv_pack_summary summary;
} fixture_team;

typedef struct {
    fixture_team *team;
    int rank;
} fixture_rank;

static int barrier(void *context, int error)
{
    fixture_team *m = ((fixture_rank *)context)->team;
    pthread_mutex_lock(&m->lock);
    m->lowest = error < m->lowest ? error : m->lowest;
    pthread_mutex_unlock(&m->lock);
    pthread_barrier_wait(&m->barrier);
    int agreed = m->lowest;
    pthread_barrier_wait(&m->barrier);
    return agreed;
}

static int broadcast(void *context, void *data, int64_t n)
{
    const fixture_rank *r = context;
    assert_true(n <= (int64_t)sizeof r->team->sent);
    if (r->rank == 0) {
        memcpy(r->team->sent, data, (size_t)n);
    }
    pthread_barrier_wait(&r->team->barrier);
    memcpy(data, r->team->sent, (size_t)n);
    pthread_barrier_wait(&r->team->barrier);
    return LV_OK;
}

static int sum(void *context, int64_t *x, int64_t n)
{
    fixture_team *m = ((fixture_rank *)context)->team;
    assert_true(n <= MAX_SUMS);
    pthread_mutex_lock(&m->lock);
    for (int64_t i = 0; i < n; i++) {
        m->sums[i] += x[i];
    }
    pthread_mutex_unlock(&m->lock);
    pthread_barrier_wait(&m->barrier);
    memcpy(x, m->sums, (size_t)n * sizeof *x);
    if (pthread_barrier_wait(&m->barrier) == PTHREAD_BARRIER_SERIAL_THREAD) {
        memset(m->sums, 0, (size_t)n * sizeof *x);
    }
    pthread_barrier_wait(&m->barrier);
    return LV_OK;
}

static int gather(void *context, void *all, const void *own, int64_t n)
{
    const fixture_rank *r = context;
    fixture_team *m = r->team;
    assert_true(n * m->n_ranks <= MAX_SENT);
    memcpy(m->sent + r->rank * n, own, (size_t)n);
    pthread_barrier_wait(&m->barrier);
    memcpy(all, m->sent, (size_t)(n * m->n_ranks));
    pthread_barrier_wait(&m->barrier);
    return LV_OK;
}

static fixture_team *team_create(int n_ranks)
{
    fixture_team *m =
        mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_barrierattr_t barrier;
    pthread_mutexattr_t lock;
    assert_true(m != MAP_FAILED);
    pthread_barrierattr_init(&barrier);
    pthread_mutexattr_init(&lock);
    pthread_barrierattr_setpshared(&barrier, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setpshared(&lock, PTHREAD_PROCESS_SHARED);
    m->n_ranks = n_ranks;
    pthread_barrier_init(&m->barrier, &barrier, (unsigned)n_ranks);
    pthread_mutex_init(&m->lock, &lock);
    return m;
}

int fixture_pack(lv_pack_summary *summary, const lv_pack_options *options, int n_ranks)
{
    if (n_ranks == 1) {
        return lv_pack_write(summary, options, NULL);
    }
    fixture_team *m = team_create(n_ranks);
    for (int rank = 0; rank < n_ranks; rank++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            fixture_rank own_rank = {m, rank};
            lv_pack_team team = {.rank = rank,
                                 .n_ranks = n_ranks,
                                 .barrier = barrier,
                                 .broadcast = broadcast,
                                 .sum = sum,
                                 .gather = gather,
                                 .context = &own_rank};
            lv_pack_summary own = {0};
            int rc = lv_pack_write(&own, options, &team);
            if (rank == n_ranks - 1) {
                m->summary = own;
            }
            _exit(-rc);
        }
    }
    int lowest = LV_OK;
    for (int rank = 0; rank < n_ranks; rank++) {
        int status = 0;
        assert_true(wait(&status) > 0);
        assert_true(WIFEXITED(status));
        lowest = -WEXITSTATUS(status) < lowest ? -WEXITSTATUS(status) : lowest;
    }
    *summary = m->summary;
    munmap(m, sizeof *m);
    return lowest;
}

static void add_files(FILE *out, const char *dir, const char *within)
{
    struct dirent **entries = NULL;
    int n = scandir(dir, &entries, NULL, alphasort);
    assert_true(n >= 2);
    for (int i = 0; i < n; i++) {
        char *path = lv_path("%s/%s", dir, entries[i]->d_name);
        char *name = lv_path("%s%s", within, entries[i]->d_name);
        uint32_t crc = 0;
        int64_t n_bytes = 0;
        if (entries[i]->d_name[0] != '.' && lv_dir_exists(path)) {
            char *inside = lv_path("%s/", name);
            add_files(out, path, inside);
            free(inside);
        } else if (entries[i]->d_name[0] != '.') {
            assert_int_equal(lv_file_crc32(&crc, &n_bytes, path), LV_OK);
            fprintf(out, "%s %" PRId64 " %08" PRIx32 "\n", name, n_bytes, crc);
        }
        free(name);
        free(path);
        free(entries[i]);
    }
    free(entries);
}

int fixture_verify(const fixture *f)
{
    lv_pack *pack = NULL;
    int rc = lv_pack_open(&pack, f->out_dir);
    rc = rc < 0 ? rc : lv_pack_verify(pack, NULL);
    lv_pack_close(&pack);
    return rc;
}

char *fixture_fingerprint(const char *dir)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    add_files(out, dir, "");
    fclose(out);
    return text;
}
