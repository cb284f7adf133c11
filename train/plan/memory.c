/* SPDX-License-Identifier: Apache-2.0 */
#include "train/plan/memory.h"

#include "autograd/error.h"
#include "autograd/kernels/gemm.h"
#include "data/base/clock.h"
#include "train/exchange/exchange.h"
#include "train/exchange/sparse_rows.h"
#include "train/host/memory.h"
#include "train/model/hf/hf.h"
#include "train/plan/batch.h"
#include "train/setup.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TRIED = 256, MAX_ROWS = 1 << 24 };

/* A micro-batch that was run dry; one that is nowhere larger takes no more memory. */
typedef struct {
    int64_t n_rows, n_images, n_supervised;
} tried_batch;

typedef struct {
    lv_memory_plan *plan;
    lv_step_work *work; /* NULL: not counted */
    lv_setup *setup;
    lv_vision_input vision;
    tried_batch tried[MAX_TRIED];
    int n_tried, next; /* a ring */
} peak_search;

static void add_note(lv_memory_plan *plan, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void add_note(lv_memory_plan *plan, const char *format, ...)
{
    const size_t at = strlen(plan->notes);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(plan->notes + at, sizeof plan->notes - at, format, arguments);
    va_end(arguments);
}

/* ---- activations ---- */

static bool is_covered(const peak_search *s, const tried_batch *e)
{
    for (int i = 0; i < s->n_tried; i++) {
        const tried_batch *t = &s->tried[i];
        if (e->n_rows <= t->n_rows && e->n_images <= t->n_images &&
            e->n_supervised <= t->n_supervised) {
            return true;
        }
    }
    return false;
}

static int run_dry(peak_search *s, const lv_plan_sample *samples, int64_t n)
{
    lv_tape *tape = s->setup->tape;
    tried_batch e = {0};
    for (int64_t i = 0; i < n; i++) {
        e.n_rows += samples[i].n_rows;
        e.n_images += samples[i].n_images;
        e.n_supervised += samples[i].n_supervised;
    }
    if (e.n_supervised == 0 || is_covered(s, &e)) {
        return LV_OK;
    }
    lv_batch batch = {0};
    int rc = lv_plan_batch(&batch, samples, n, &s->vision);
    if (rc < 0) {
        return rc;
    }
    const size_t before = lv_tape_peak_bytes(tape);
    const double flop = lv_tape_flop(tape);
    double loss_sum;
    lv_tape_reset(tape);
    lv_params_grad_begin(lv_llava_params(s->setup->model));
    lv_backward(tape, lv_llava_loss(s->setup->model, tape, &batch, &loss_sum));
    lv_batch_free(&batch);
    if (lv_tape_peak_bytes(tape) > before) {
        s->plan->activation_bytes = (int64_t)lv_tape_peak_bytes(tape);
        s->plan->n_rows = e.n_rows;
        s->plan->n_images = e.n_images;
        s->plan->n_supervised = e.n_supervised;
        s->plan->flop = lv_tape_flop(tape) - flop;
    }
    s->tried[s->next] = e;
    s->next = (s->next + 1) % MAX_TRIED;
    s->n_tried += s->n_tried < MAX_TRIED;
    return LV_OK;
}

/* A lv_plan_visit. */
static int visit_batch(void *context, const lv_plan_position *position,
                       const lv_plan_sample *samples, int64_t n)
{
    peak_search *s = context;
    if (s->work) {
        lv_step_work_add(s->work, position, samples, n);
    }
    return run_dry(s, samples, n);
}

/* n samples with n_rows in all, each with an image or none, all of their text supervised. */
static int run_alike(peak_search *s, int64_t n, int64_t n_rows, bool image,
                     const lv_loader_options *options)
{
    const int64_t image_rows = image ? s->vision.rows_per_image : 0;
    lv_plan_sample *samples = calloc((size_t)n, sizeof *samples);
    if (!samples) {
        return lv_fail(LV_ERR_MEMORY, "no memory for %" PRId64 " samples", n);
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t rows = n_rows / n + (i < n_rows % n);
        samples[i] = (lv_plan_sample){.n_rows = rows,
                                      .n_image_rows = image_rows,
                                      .n_images = image,
                                      .n_supervised = rows - image_rows - 1};
    }
    const int64_t batch_size = options->sampler.global_batch_size;
    const int64_t n_batches = (batch_size - 1) / n / s->plan->n_ranks + 1;
    const int64_t bytes = lv_plan_batch_bytes(samples, n, &s->vision);
    const int64_t ahead = lv_plan_read_ahead(options, n_batches * bytes, bytes);
    s->plan->read_ahead_bytes =
        ahead > s->plan->read_ahead_bytes ? ahead : s->plan->read_ahead_bytes;
    int rc = run_dry(s, samples, n);
    free(samples);
    return rc;
}

/* The largest micro-batches that the budgets and a global batch allow: with as many images as
 * possible, and of text alone. */
static int run_worst_case(peak_search *s, const lv_config *config, const lv_loader_options *options)
{
    const int64_t max_length = config->data.max_length, budget = config->train.micro_batch_tokens;
    const int64_t batch_size = config->train.global_batch_size;
    const int64_t n_rows =
        lv_min_i64(max_length > budget ? max_length : budget, batch_size * max_length);
    const int64_t least_rows = s->vision.rows_per_image + 2; /* two of text: one is supervised */
    const int64_t n_images = lv_min_i64(n_rows / least_rows, batch_size);
    if (n_rows > MAX_ROWS) {
        return lv_fail(LV_ERR_CONFIG,
                       "train.micro_batch_tokens: %" PRId64 " rows at once cannot be planned, at "
                       "most %d",
                       n_rows, MAX_ROWS);
    }
    int rc = n_images > 0 ? run_alike(s, n_images, n_rows, true, options) : LV_OK;
    return rc < 0 ? rc : run_alike(s, (n_rows - 1) / max_length + 1, n_rows, false, options);
}

/* A step of samples of the greatest length, each with an image if one fits. */
static int count_worst_case(peak_search *s, const lv_config *config)
{
    const int64_t size = config->train.global_batch_size, N = s->plan->n_ranks;
    const int64_t rows = s->vision.rows_per_image, length = config->data.max_length;
    const bool image = rows + 2 <= length;
    const int64_t fit = config->train.micro_batch_tokens / length, most = lv_min_i64(size, 256);
    const int64_t in_batch = fit < 1 ? 1 : lv_min_i64(fit, most);
    lv_plan_sample *samples = calloc((size_t)in_batch, sizeof *samples);
    if (!samples) {
        return lv_fail(LV_ERR_MEMORY, "no memory for %" PRId64 " samples", in_batch);
    }
    for (int64_t i = 0; i < in_batch; i++) {
        samples[i] = (lv_plan_sample){.n_rows = length,
                                      .n_image_rows = image ? rows : 0,
                                      .n_images = image,
                                      .n_supervised = length - (image ? rows : 0) - 1};
    }
    for (int64_t rank = 0; rank < N && rank < size; rank++) {
        int64_t left = size / N + (rank < size % N);
        for (; left > 0; left -= in_batch) {
            lv_step_work_add(s->work, &(lv_plan_position){.rank = (int)rank}, samples,
                             lv_min_i64(left, in_batch));
        }
    }
    free(samples);
    return LV_OK;
}

/* ---- the rest ---- */

/* The first matrix product allocates a block of memory for each thread. */
static int warm_up(const lv_llava_config *config, lv_dtype dtype)
{
    enum { M = 64, MAX_K = 512 };
    const int64_t N = config->text.intermediate_size;
    const int64_t K = config->text.hidden_size < MAX_K ? config->text.hidden_size : MAX_K;
    char *memory = calloc((size_t)(M * K + N * K + M * N), lv_dtype_bytes(dtype));
    if (!memory) {
        return lv_fail(LV_ERR_MEMORY, "no memory for a matrix product");
    }
    lv_gemm(&(lv_gemm_args){.M = M,
                            .N = N,
                            .K = K,
                            .A = {memory, dtype, K, false},
                            .B = {lv_element(memory, dtype, M * K), dtype, K, true},
                            .C = lv_element(memory, dtype, M * K + N * K),
                            .C_dtype = dtype,
                            .ldc = N});
    free(memory);
    return LV_OK;
}

static void note_weights(lv_memory_plan *plan, const lv_config *config, const lv_llava *model)
{
    const char *const dirs[] = {config->model.llava, config->model.vision_tower,
                                config->model.language_model, config->model.projector_weights};
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        if (dirs[i] && !lv_weights_exist(dirs[i])) {
            add_note(plan, "  %s holds no weights yet: taken to be %s\n", dirs[i],
                     lv_dtype_name(lv_hf_dtype_of(dirs[i])));
        }
    }
    for (int i = 0; i < LV_LLAVA_N_NOTES; i++) {
        const char *of_weights = lv_llava_note(model, i);
        if (of_weights) {
            add_note(plan, "  %s\n", of_weights);
        }
    }
}

static lv_step_traffic traffic_of(const lv_setup *setup, const lv_config *config)
{
    lv_params *params = lv_llava_params(setup->model);
    const lv_dtype wire = config->comm.wire_bf16 ? LV_BF16 : LV_F32;
    const lv_dtype weight = config->train.precision == LV_PRECISION_BF16 ? LV_BF16 : LV_F32;
    const int64_t n_buckets = lv_params_shard(params)->n_buckets;
    const lv_param *by_rows = lv_sparse_rows_param(params);
    const int64_t n_rows = by_rows ? by_rows->tensor.shape[0] : 0;
    return (lv_step_traffic){.n_params = lv_params_flat_count(params),
                             .n_rows = n_rows,
                             .row_params = by_rows ? lv_tensor_count(&by_rows->tensor) / n_rows : 0,
                             .wire_bytes = (int)lv_dtype_bytes(wire),
                             .weight_bytes = (int)lv_dtype_bytes(weight),
                             .n_buckets = n_buckets > 0 ? n_buckets : 1,
                             /* its gradients are complete before the backward pass ends */
                             .hidden = config->comm.overlap &&
                                       lv_params_trains(params, LV_PART_LANGUAGE)};
}

static int plan_batches(peak_search *s, const lv_config *config, const char *no_pack)
{
    const lv_comm comm = lv_comm_single();
    const lv_loader_options options =
        lv_setup_loader(s->setup, &comm, config, &s->setup->train_packs);
    s->vision = options.vision;
    int rc = s->work ? lv_flop_costs_find(&s->work->costs, s->setup->model, &s->vision) : LV_OK;
    if (rc == LV_OK && !no_pack) {
        return lv_plan_walk(&s->plan->read_ahead_bytes, &options, s->plan->n_ranks,
                            lv_setup_n_steps(config, &options.sampler), visit_batch, s);
    }
    add_note(s->plan,
             "  %s is not there: the largest micro-batch that the budgets allow is assumed\n",
             no_pack);
    if (s->work) {
        add_note(s->plan, "  and for the time of a step that all samples are of %" PRId64 " rows\n",
                 config->data.max_length);
        if (rc == LV_OK) rc = count_worst_case(s, config);
    }
    return rc < 0 ? rc : run_worst_case(s, config, &options);
}

int lv_memory_plan_make(lv_memory_plan *out, lv_step_work *work, const lv_config *config,
                        int n_ranks, int ranks_per_node)
{
    lv_memory_plan plan = {
        .n_ranks = n_ranks, .ranks_per_node = ranks_per_node, .place = config->model.weights};
    lv_setup setup = {0};
    peak_search s = {.plan = &plan, .work = work, .setup = &setup};
    const char *no_pack;
    int rc = lv_setup_open_plan(&setup, config, n_ranks, &no_pack);
    if (rc == LV_OK) rc = warm_up(lv_llava_config_of(setup.model), lv_llava_dtype(setup.model));
    plan.process_bytes = lv_memory_now().anon_bytes;
    if (rc == LV_OK) rc = plan_batches(&s, config, no_pack);
    if (rc == LV_OK) {
        plan.params = lv_params_memory_of(lv_llava_params(setup.model));
        plan.moments = config->optim.moments;
        plan.moments_bytes = lv_optimizer_bytes(lv_llava_params(setup.model), plan.moments);
        plan.comm_bytes = lv_exchange_bytes(lv_llava_params(setup.model),
                                            config->comm.wire_bf16 ? LV_BF16 : LV_F32);
        plan.copy_bytes = /* and the values */
            plan.moments_bytes +
            lv_params_shard(lv_llava_params(setup.model))->own_count * (int64_t)sizeof(lv_real);
        plan.traffic = traffic_of(&setup, config);
        plan.anon_bytes = plan.params.trained_bytes + plan.params.grad_bytes +
                          plan.params.working_bytes + plan.params.frozen_bytes +
                          plan.moments_bytes + plan.activation_bytes + plan.read_ahead_bytes +
                          plan.comm_bytes + plan.process_bytes;
        note_weights(&plan, config, setup.model);
        *out = plan;
    }
    lv_setup_close(&setup);
    return rc;
}

static void print_memory(const char *what, int64_t bytes, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void print_memory(const char *what, int64_t bytes, const char *format, ...)
{
    char text[32], about[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(about, sizeof about, format, arguments);
    va_end(arguments);
    printf("  %-26s %10s%s%s\n", what, lv_bytes_text(text, bytes), *about ? "  " : "", about);
}

void lv_memory_plan_print(const lv_memory_plan *p)
{
    const lv_params_memory *params = &p->params;
    char of_rank[32], share[48] = "";
    if (p->n_ranks > 1) {
        snprintf(share, sizeof share, ", of its share: 1/%d", p->n_ranks);
    }
    printf("memory of a rank, at its peak\n");
    print_memory("trained weights", params->trained_bytes, "f32%s",
                 params->working_bytes > 0 ? share : "");
    print_memory("their gradients", params->grad_bytes, "f32");
    print_memory("their working copies", params->working_bytes, "bf16");
    print_memory("their moments", p->moments_bytes, "%s%s", lv_dtype_name(p->moments), share);
    print_memory("frozen weights, converted", params->frozen_bytes, "%s", "");
    print_memory("activations", p->activation_bytes,
                 "for %" PRId64 " rows with %" PRId64 " image%s, %" PRId64 " rows supervised",
                 p->n_rows, p->n_images, p->n_images == 1 ? "" : "s", p->n_supervised);
    print_memory("batches read ahead", p->read_ahead_bytes, "%s", "");
    print_memory("between ranks", p->comm_bytes, "gradients that arrive");
    print_memory("the process itself", p->process_bytes, "libraries, threads, packs: as here");
    print_memory("together", p->anon_bytes, "anonymous memory (RssAnon)");
    print_memory("a copy for checkpoints", p->copy_bytes, "beside it, if the node has the room");
    printf("memory of a node\n");
    print_memory("anonymous", p->ranks_per_node * p->anon_bytes, "%d x %s", p->ranks_per_node,
                 lv_bytes_text(of_rank, p->anon_bytes));
    print_memory("frozen weights, mapped", params->mapped_bytes,
                 "page cache: one copy for all ranks");
    if (p->place != LV_WEIGHTS_MAP) {
        print_memory("frozen weights, copied", params->copied_bytes,
                     "one copy for the ranks of a %s",
                     p->place == LV_WEIGHTS_COPY_PER_NODE ? "node" : "socket");
    }
    printf("work of that micro-batch\n  %-26s %10.3g TFLOP  of matrix products\n",
           "forward and backward", 1e-12 * p->flop);
    if (p->notes[0]) {
        printf("notes\n%s", p->notes);
    }
}
