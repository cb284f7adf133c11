/* SPDX-License-Identifier: Apache-2.0 */
#include "data/loader/loader.h"

#include "autograd/error.h"
#include "data/base/thread.h"
#include "tests/units/data/fake_pack.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_SAMPLES = 23, IMAGE_SIZE = 4, N_PACKS = 2 };

typedef struct {
    lv_pack *packs[N_PACKS];
    lv_sampler_pack sampled[N_PACKS];
    lv_loader_options options;
} fixture;

/* 23 samples of different lengths in two packs, every third without an image, in batches of 5. */
static int set_up(void **state)
{
    static const char *const texts[] = {"a@BCDE", "aBCdEFGHiJ", "ab@CD@EFghI", "@A", "abC"};
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->packs[0] = fake_pack_create(9);
    f->packs[1] = fake_pack_create(N_SAMPLES - 9);
    for (int64_t i = 0; i < N_SAMPLES; i++) {
        int64_t images[] = {i % 8, i % 5 + 1};
        fake_pack_set(f->packs[i >= 9], i >= 9 ? i - 9 : i, texts[i % 5], images);
    }
    for (int p = 0; p < N_PACKS; p++) {
        f->sampled[p] =
            (lv_sampler_pack){lv_pack_n_samples(f->packs[p]), 1, lv_pack_counts(f->packs[p])};
    }
    f->options = (lv_loader_options){
        .packs = f->packs,
        .n_packs = N_PACKS,
        .vision = {IMAGE_SIZE, 3, LV_ASPECT_SQUARE, {0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}},
        .max_length = 14,
        .micro_batch_tokens = 20,
        .sampler = {f->sampled, N_PACKS, 5, 42, true, false},
        .n_ranks = 1,
        .n_workers = 1,
        .ahead_bytes = 1 << 20,
        .n_steps = 12,
    };
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    for (int p = 0; p < N_PACKS; p++) {
        fake_pack_destroy(f->packs[p]);
    }
    free(f);
    return 0;
}

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t n)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < n; i++) {
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    }
    return hash;
}

static uint64_t hash_batch(uint64_t hash, const lv_batch *batch)
{
    size_t n = (size_t)batch->n_samples, n_rows = (size_t)batch->seq_start[n];
    size_t n_pixels = (size_t)batch->n_images * 3 * IMAGE_SIZE * IMAGE_SIZE;
    hash = hash_bytes(hash, batch->sample_ids, n * sizeof *batch->sample_ids);
    hash = hash_bytes(hash, batch->seq_start, (n + 1) * sizeof *batch->seq_start);
    hash = hash_bytes(hash, batch->source, n_rows * sizeof *batch->source);
    hash = hash_bytes(hash, batch->position, n_rows * sizeof *batch->position);
    hash = hash_bytes(hash, batch->label, n_rows * sizeof *batch->label);
    return hash_bytes(hash, batch->pixels, n_pixels * sizeof *batch->pixels);
}

/* The samples of a step of the run, from a sampler of its own. */
static int64_t batch_of(const lv_sampler_options *options, int64_t step, int64_t *ids)
{
    const int64_t steps_per_epoch = lv_sampler_steps_per_epoch(options);
    lv_sampler *sampler;
    assert_int_equal(lv_sampler_create(&sampler, options), 0);
    int64_t n = lv_sampler_batch(sampler, step / steps_per_epoch, step % steps_per_epoch, ids);
    lv_sampler_destroy(&sampler);
    return n;
}

/* What sampler, plan and lv_batch_read give one after the other, without a loader. */
static uint64_t hash_without_loader(const lv_loader_options *options)
{
    uint64_t hash = 0;
    for (int64_t step = options->first_step; step < options->n_steps; step++) {
        int64_t ids[N_SAMPLES], length[N_SAMPLES];
        int64_t n = batch_of(&options->sampler, step, ids);
        for (int64_t i = 0; i < n; i++) {
            int64_t index;
            lv_pack *pack = lv_batch_locate(options->packs, options->n_packs, ids[i], &index);
            length[i] = lv_batch_length(&lv_pack_counts(pack)[index],
                                        options->vision.rows_per_image, options->max_length);
        }
        lv_plan plan;
        assert_int_equal(lv_plan_make(&plan, ids, length, n, options->rank, options->n_ranks,
                                      options->micro_batch_tokens),
                         0);
        for (int64_t m = 0; m < plan.n_micro_batches; m++) {
            lv_batch batch;
            int64_t first = plan.micro_start[m], n_here = plan.micro_start[m + 1] - first;
            assert_int_equal(lv_batch_read(&batch, options->packs, options->n_packs,
                                           plan.sample_ids + first, (int)n_here, &options->vision,
                                           options->max_length),
                             0);
            hash = hash_batch(hash, &batch);
            lv_batch_free(&batch);
        }
        lv_plan_free(&plan);
    }
    return hash;
}

/* Runs a loader to its end; checks the heads and the samples on the way. */
static uint64_t hash_with_loader(const lv_loader_options *options)
{
    uint64_t hash = 0;
    lv_loader *loader;
    lv_step_head head;
    int64_t step = options->first_step;
    int64_t steps_per_epoch = lv_sampler_steps_per_epoch(&options->sampler);
    assert_int_equal(lv_loader_create(&loader, options), 0);
    for (; lv_loader_next_step(loader, &head) == 1; step++) {
        int64_t ids[N_SAMPLES];
        int64_t n = batch_of(&options->sampler, step, ids);
        assert_int_equal(head.step, step);
        assert_int_equal(head.epoch, step / steps_per_epoch);
        assert_int_equal(head.n_global_samples, n);
        assert_true(head.samples_hash == lv_sampler_hash(ids, n));
        for (int64_t m = 0; m < head.n_micro_batches; m++) {
            const lv_batch *batch;
            double wait_s = -1;
            assert_int_equal(lv_loader_next_batch(loader, &batch, &wait_s), 0);
            assert_true(wait_s >= 0 && wait_s < 60);
            hash = hash_batch(hash, batch);
        }
    }
    assert_int_equal(step, options->n_steps);
    assert_int_equal(lv_loader_next_step(loader, &head), 0);
    lv_loader_destroy(&loader);
    assert_null(loader);
    return hash;
}

static void batches_are_the_same_for_any_number_of_workers_and_read_ahead(void **state)
{
    fixture *f = *state;
    f->packs[0]->slow = f->packs[1]->slow = true;
    f->options.n_steps = 7;
    uint64_t expected = hash_without_loader(&f->options);
    static const int64_t ahead[] = {0, 1, 1500, 1 << 20};
    for (int n_workers = 1; n_workers <= 4; n_workers *= 2) {
        for (size_t i = 0; i < sizeof ahead / sizeof *ahead; i++) {
            f->options.n_workers = n_workers;
            f->options.ahead_bytes = ahead[i];
            assert_true(hash_with_loader(&f->options) == expected);
        }
    }
}

static void a_run_taken_up_at_any_step_reads_the_rest(void **state)
{
    fixture *f = *state;
    f->options.n_workers = 2;
    for (int64_t first = 0; first <= 12; first++) {
        f->options.first_step = first;
        assert_true(hash_with_loader(&f->options) == hash_without_loader(&f->options));
    }
}

static void weights_and_groups_are_read_as_the_sampler_says(void **state)
{
    fixture *f = *state;
    f->sampled[0].weight = 0.4;
    f->sampled[1].weight = 1.7;
    f->options.n_workers = 2;
    for (int grouped = 0; grouped < 2; grouped++) {
        f->options.sampler.group_by_modality_length = grouped;
        for (int64_t first = 0; first < 12; first += 5) {
            f->options.first_step = first;
            assert_true(hash_with_loader(&f->options) == hash_without_loader(&f->options));
        }
    }
}

/* 5 samples a step, 3 in the last of an epoch: of 7 ranks some have none, some never any. */
static void ranks_without_samples_get_steps_without_micro_batches(void **state)
{
    fixture *f = *state;
    f->options.n_ranks = 7;
    f->options.n_workers = 2;
    f->options.n_steps = 200;
    int64_t n_batches = 0;
    for (f->options.rank = 0; f->options.rank < 7; f->options.rank++) {
        uint64_t hash = hash_with_loader(&f->options);
        assert_true(hash == hash_without_loader(&f->options));
        n_batches += hash != 0;
    }
    assert_int_equal(n_batches, 5);
}

/* The error comes in the place of its micro-batch, and everything before it is delivered. */
static void an_error_is_delivered_in_its_place_and_stays(void **state)
{
    fixture *f = *state;
    f->options.micro_batch_tokens = 1; /* one sample a micro-batch */
    f->options.sampler.shuffle = false;
    f->packs[0]->slow = f->packs[1]->slow = true;
    f->packs[1]->dir = "second";
    f->packs[1]->bad_sample = 5; /* sample 14: in step 2 */
    for (f->options.n_workers = 1; f->options.n_workers <= 4; f->options.n_workers++) {
        lv_loader *loader;
        lv_step_head head;
        const lv_batch *batch;
        bool failed = false;
        assert_int_equal(lv_loader_create(&loader, &f->options), 0);
        for (int64_t step = 0; step < 3; step++) {
            assert_int_equal(lv_loader_next_step(loader, &head), 1);
            assert_int_equal(head.n_micro_batches, 5);
            for (int64_t m = 0; m < 5 && !failed; m++) {
                failed = lv_loader_next_batch(loader, &batch, NULL) != LV_OK;
                assert_true(failed || batch->sample_ids[0] != 14);
                assert_true(failed || batch->sample_ids[0] / 5 == step);
            }
        }
        assert_true(failed);
        assert_string_equal(lv_error_message(), "pack second, sample 5: shard 0, sample 5: gone");
        lv_fail(LV_ERR_CONFIG, "something else");
        assert_int_equal(lv_loader_next_batch(loader, &batch, NULL), LV_ERR_IO);
        assert_int_equal(lv_loader_next_step(loader, &head), LV_ERR_IO);
        assert_string_equal(lv_error_message(), "pack second, sample 5: shard 0, sample 5: gone");
        lv_loader_destroy(&loader);
    }
}

static void destroy_at_any_time_ends_without_deadlock(void **state)
{
    fixture *f = *state;
    f->packs[0]->slow = f->packs[1]->slow = true;
    for (int i = 0; i < 24; i++) {
        lv_loader *loader;
        lv_step_head head;
        const lv_batch *batch;
        f->options.n_workers = 1 + i % 4;
        f->options.ahead_bytes = i % 3 * 1000;
        f->packs[1]->bad_sample = i % 5 == 4 ? 3 : -1;
        assert_int_equal(lv_loader_create(&loader, &f->options), 0);
        for (int k = 0; k < i % 6; k++) {
            if (lv_loader_next_step(loader, &head) != 1) {
                break;
            }
            bool whole = k + 1 < i % 6;
            for (int64_t m = 0; m < head.n_micro_batches - !whole; m++) {
                if (lv_loader_next_batch(loader, &batch, NULL) != LV_OK) {
                    break;
                }
            }
            if (!whole) {
                break;
            }
        }
        lv_loader_destroy(&loader);
        assert_null(loader);
    }
    lv_loader *none = NULL;
    lv_loader_destroy(&none);
}

/* 12 samples of one image each, one a micro-batch: how many are read while none is taken. */
static void read_ahead_stays_within_its_bytes(void **state)
{
    fixture *f = *state;
    lv_pack *pack = fake_pack_create(12);
    for (int64_t i = 0; i < 12; i++) {
        fake_pack_set(pack, i, "@A", &i);
    }
    const int64_t batch_bytes = 3 * 8 + 4 * 3 * 4 + 3 * IMAGE_SIZE * IMAGE_SIZE * 4;
    f->options.packs = &pack;
    f->options.n_packs = 1;
    lv_sampler_pack sampled = {12, 1, lv_pack_counts(pack)};
    f->options.sampler = (lv_sampler_options){&sampled, 1, 12, 1, true, false};
    f->options.micro_batch_tokens = 4;
    f->options.n_workers = 3;
    f->options.n_steps = 1;
    for (int64_t limit = 0; limit <= 5; limit++) {
        lv_loader *loader;
        lv_step_head head;
        const lv_batch *batch;
        const struct timespec pause = {0, 20000000};
        int expected = limit == 0 ? 1 : (int)limit;
        f->options.ahead_bytes = limit * batch_bytes + batch_bytes / 2;
        atomic_store(&pack->n_image_reads, 0);
        assert_int_equal(lv_loader_create(&loader, &f->options), 0);
        assert_int_equal(lv_loader_next_step(loader, &head), 1);
        for (int taken = 0; taken < 12; taken++) {
            nanosleep(&pause, NULL);
            int n_read = atomic_load(&pack->n_image_reads);
            assert_true(n_read <= taken + expected && n_read <= 12);
            assert_int_equal(lv_loader_next_batch(loader, &batch, NULL), 0);
            assert_int_equal(batch->n_bytes, batch_bytes);
        }
        assert_int_equal(atomic_load(&pack->n_image_reads), 12);
        lv_loader_destroy(&loader);
    }
    fake_pack_destroy(pack);
}

static atomic_int n_signals_elsewhere, n_signals, n_begun;
static pthread_t main_thread;

static void count_signal(int signal)
{
    (void)signal;
    atomic_fetch_add(pthread_equal(pthread_self(), main_thread) ? &n_signals : &n_signals_elsewhere,
                     1);
}

static void signals_reach_the_main_thread_and_no_worker(void **state)
{
    fixture *f = *state;
    lv_loader *loader;
    sigset_t usr1, before, after;
    struct sigaction action = {.sa_handler = count_signal}, old;
    main_thread = pthread_self();
    assert_int_equal(sigaction(SIGUSR1, &action, &old), 0);
    f->options.n_workers = 3;
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &before), 0);
    assert_int_equal(lv_loader_create(&loader, &f->options), 0);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &after), 0);
    assert_int_equal(sigismember(&before, SIGUSR1), sigismember(&after, SIGUSR1));
    /* With the main thread not listening the kernel would choose a worker, if one listened. */
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &usr1, NULL), 0);
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    nanosleep(&(struct timespec){0, 20000000}, NULL);
    assert_int_equal(atomic_load(&n_signals), 0);
    assert_int_equal(pthread_sigmask(SIG_UNBLOCK, &usr1, NULL), 0);
    assert_int_equal(atomic_load(&n_signals), 1);
    assert_int_equal(atomic_load(&n_signals_elsewhere), 0);
    lv_loader_destroy(&loader);
    assert_int_equal(sigaction(SIGUSR1, &old, NULL), 0);
}

static void count_beginning(const void *context)
{
    assert_ptr_equal(context, &main_thread);
    atomic_fetch_add(&n_begun, !pthread_equal(pthread_self(), main_thread));
}

static void every_worker_begins_with_the_hook(void **state)
{
    fixture *f = *state;
    lv_loader *loader;
    main_thread = pthread_self();
    f->options.n_workers = 3;
    lv_thread_hook_set(count_beginning, &main_thread);
    assert_int_equal(lv_loader_create(&loader, &f->options), 0);
    lv_thread_hook_set(NULL, NULL);
    lv_loader_destroy(&loader);
    assert_int_equal(atomic_load(&n_begun), 3);
}

static void packs_that_do_not_fit_are_refused_before_any_thread(void **state)
{
    fixture *f = *state;
    lv_loader *loader = NULL;
    f->packs[1]->dir = "second";
    f->packs[1]->stored_size = 336;
    assert_int_equal(lv_loader_create(&loader, &f->options), LV_ERR_CONFIG);
    assert_non_null(strstr(lv_error_message(), "pack second: "));
    assert_non_null(strstr(lv_error_message(), "336"));
    f->packs[1]->stored_size = 0;
    f->options.n_steps = INT64_MAX / 3;
    assert_int_equal(lv_loader_create(&loader, &f->options), LV_ERR_CONFIG);
    assert_non_null(strstr(lv_error_message(), "more than can be counted"));
    f->options.n_packs = f->options.sampler.n_packs = 0;
    assert_int_equal(lv_loader_create(&loader, &f->options), LV_ERR_CONFIG);
    assert_null(loader);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(batches_are_the_same_for_any_number_of_workers_and_read_ahead),
        TEST(a_run_taken_up_at_any_step_reads_the_rest),
        TEST(weights_and_groups_are_read_as_the_sampler_says),
        TEST(ranks_without_samples_get_steps_without_micro_batches),
        TEST(an_error_is_delivered_in_its_place_and_stays),
        TEST(destroy_at_any_time_ends_without_deadlock),
        TEST(read_ahead_stays_within_its_bytes),
        TEST(signals_reach_the_main_thread_and_no_worker),
        TEST(every_worker_begins_with_the_hook),
        TEST(packs_that_do_not_fit_are_refused_before_any_thread),
    };
    return cmocka_run_group_tests_name("data/loader", tests, NULL, NULL);
}
