/* SPDX-License-Identifier: Apache-2.0 */
#include "autograd/error.h"
#include "autograd/kernels/gemm.h"
#include "autograd/ops.h"
#include "autograd/rng.h"

#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { H = 64, T = 50, N_LAYERS = 6, VOCAB = 90 };

static lv_tape *tape;

static lv_tensor param(int64_t rows, int64_t columns, bool requires_grad, uint64_t seed)
{
    lv_tensor w = {.dtype = LV_F32,
                   .n_dims = 2,
                   .shape = {rows, columns, 1, 1},
                   .requires_grad = requires_grad,
                   .is_param = true};
    lv_real *data = malloc((size_t)(rows * columns) * sizeof *data);
    w.grad = requires_grad ? calloc((size_t)(rows * columns), sizeof *data) : NULL;
    assert_true(data && (w.grad || !requires_grad));
    for (int64_t i = 0; i < rows * columns; i++) {
        data[i] = (lv_real)(0.1 * lv_random_normal(seed, 0, (uint64_t)i));
    }
    w.data = data;
    return w;
}

static const lv_real *grad_of(const lv_tensor *x)
{
    return x->grad;
}

static void param_free(lv_tensor *w)
{
    free(w->data);
    free(w->grad);
}

typedef struct {
    lv_tensor *w;
} layer_context;

static lv_tensor *layer(lv_tape *on, const void *context, lv_tensor *const *in)
{
    const layer_context *of = context;
    return lv_linear(on, lv_gelu(on, lv_quick_gelu(on, in[0])), of->w, NULL, in[0]);
}

static size_t mark_after_frozen_layers(int n_layers, const layer_context *of, lv_tensor *input)
{
    lv_tensor *x = lv_tape_view(tape, input->data, LV_F32, 2, input->shape);
    for (int i = 0; i < n_layers; i++) {
        size_t mark = lv_tape_mark(tape);
        x = lv_tape_keep(tape, mark, layer(tape, of, &x));
    }
    size_t used = lv_tape_mark(tape);
    lv_tape_reset(tape);
    return used;
}

static void a_frozen_part_keeps_the_arena_flat(void **state)
{
    (void)state;
    lv_tensor w = param(H, H, false, 1);
    layer_context of = {&w};
    lv_tensor input = param(T, H, false, 2);
    size_t activation = T * H * sizeof(lv_real);
    assert_true(mark_after_frozen_layers(1, &of, &input) < 2 * activation);
    /* one kept output a layer, and nothing else */
    size_t layers =
        mark_after_frozen_layers(5, &of, &input) - mark_after_frozen_layers(4, &of, &input);
    assert_true(layers < activation + 256);
    /* from one mark: the output alone, wherever it lay */
    size_t mark = lv_tape_mark(tape);
    lv_tensor *x = &input;
    for (int i = 0; i < N_LAYERS; i++) {
        x = layer(tape, &(layer_context){&w}, &x);
    }
    lv_real *expected = malloc(activation);
    assert_non_null(expected);
    memcpy(expected, x->data, activation);
    x = lv_tape_keep(tape, mark, x);
    assert_true(lv_tape_mark(tape) < mark + activation + 256);
    assert_memory_equal(x->data, expected, activation);
    assert_int_equal(x->shape[0], T);
    free(expected);
    param_free(&w);
    param_free(&input);
}

static void keeping_moves_data_over_where_it_was(void **state)
{
    (void)state;
    for (int64_t gap = 0; gap < 300; gap += 60) { /* header and data overlap old and new place */
        size_t mark = lv_tape_mark(tape);
        lv_tape_alloc(tape, (size_t)gap);
        lv_tensor *x = lv_tape_tensor(tape, LV_F32, 1, (int64_t[]){1000});
        for (int i = 0; i < 1000; i++) {
            lv_tensor_real(x)[i] = (lv_real)i;
        }
        x = lv_tape_keep(tape, mark, x);
        for (int i = 0; i < 1000; i++) {
            assert_true(lv_tensor_real(x)[i] == (lv_real)i);
        }
        assert_ptr_equal(lv_tape_keep(tape, lv_tape_mark(tape), x), x);
        lv_tape_reset(tape);
    }
}

static void what_requires_a_gradient_is_not_moved(void **state)
{
    (void)state;
    lv_tensor w = param(H, H, true, 1);
    lv_tensor input = param(T, H, false, 2);
    size_t mark = lv_tape_mark(tape);
    lv_tensor *y = layer(tape, &(layer_context){&w}, (lv_tensor *[]){&input});
    size_t used = lv_tape_mark(tape);
    assert_ptr_equal(lv_tape_keep(tape, mark, y), y);
    assert_int_equal(lv_tape_mark(tape), used);
    param_free(&w);
    param_free(&input);
}

static void without_recording_nothing_requires_a_gradient(void **state)
{
    (void)state;
    lv_tensor w = param(H, H, true, 1);
    lv_tensor input = param(T, H, false, 2);
    assert_true(lv_tape_recording_set(tape, false));
    size_t mark = lv_tape_mark(tape);
    lv_tensor *y = lv_recompute(tape, layer, &(layer_context){&w}, 1, (lv_tensor *[]){&input});
    assert_false(y->requires_grad);
    y = lv_tape_keep(tape, mark, y);
    assert_true(lv_tape_mark(tape) < mark + T * H * sizeof(lv_real) + 256);
    assert_false(lv_tape_recording_set(tape, true));
    param_free(&w);
    param_free(&input);
}

typedef struct {
    lv_tensor *w, *features;
} capture_context;

static lv_tensor *capturing_layer(lv_tape *on, const void *context, lv_tensor *const *in)
{
    const capture_context *of = context;
    return lv_linear(on, lv_silu_mul(on, in[0], of->features), of->w, NULL, NULL);
}

static void leave(void)
{
    _exit(42);
}

static void a_segment_that_gives_a_gradient_to_what_is_none_of_its_inputs_ends_the_job(void **state)
{
    (void)state;
    lv_tensor w = param(H, H, true, 1), input = param(T, H, false, 2), other = param(T, H, true, 3);
    lv_tensor *x = &input;
    lv_tensor *frozen = lv_gelu(tape, &input);
    assert_non_null(lv_recompute(tape, capturing_layer, &(capture_context){&w, frozen}, 1, &x));
    lv_tensor *features = lv_gelu(tape, &other);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        lv_abort_hook_set(leave);
        lv_recompute(tape, capturing_layer, &(capture_context){&w, features}, 1, &x);
        _exit(0);
    }
    close(ends[1]);
    char message[500];
    ssize_t n = read(ends[0], message, sizeof message - 1);
    close(ends[0]);
    assert_true(n > 0);
    message[n] = '\0';
    assert_non_null(strstr(message, "silu_mul: its input 1 requires a gradient"));
    assert_non_null(strstr(message, "has to be among the inputs of lv_recompute"));
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    param_free(&w);
    param_free(&input);
    param_free(&other);
}

typedef struct {
    lv_tensor layers[N_LAYERS], embedding, head;
    int32_t ids[T], labels[T];
} network;

static void network_open(network *net)
{
    for (int i = 0; i < N_LAYERS; i++) {
        net->layers[i] = param(H, H, i != 2, (uint64_t)i + 10); /* one is frozen */
    }
    net->embedding = param(VOCAB, H, true, 20);
    net->head = param(VOCAB, H, true, 21);
    for (int t = 0; t < T; t++) {
        net->ids[t] = t * 7 % VOCAB;
        net->labels[t] = t * 13 % VOCAB;
    }
}

static void network_close(network *net)
{
    for (int i = 0; i < N_LAYERS; i++) {
        param_free(&net->layers[i]);
    }
    param_free(&net->embedding);
    param_free(&net->head);
}

static void network_clear(network *net)
{
    for (int i = 0; i < N_LAYERS; i++) {
        if (net->layers[i].grad) {
            memset(net->layers[i].grad, 0, H * H * sizeof(lv_real));
        }
    }
    memset(net->embedding.grad, 0, VOCAB * H * sizeof(lv_real));
    memset(net->head.grad, 0, VOCAB * H * sizeof(lv_real));
}

/* Gradients of one step; returns the most memory that was in use. */
static size_t network_step(network *net, bool recompute)
{
    lv_tape *on;
    assert_int_equal(lv_tape_create(&on, (size_t)1 << 28), 0);
    lv_tensor *x = lv_embedding(on, &net->embedding, net->ids, T);
    layer_context of[N_LAYERS];
    for (int i = 0; i < N_LAYERS; i++) {
        of[i] = (layer_context){&net->layers[i]};
        x = recompute ? lv_recompute(on, layer, &of[i], 1, &x) : layer(on, &of[i], &x);
    }
    lv_tensor *loss = lv_cross_entropy(on, x, &net->head, net->labels, NULL);
    lv_backward(on, loss);
    size_t peak = lv_tape_peak_bytes(on);
    lv_tape_destroy(&on);
    return peak;
}

static void assert_same_gradients(const network *a, const network *b)
{
    for (int i = 0; i < N_LAYERS; i++) {
        if (a->layers[i].grad) {
            assert_memory_equal(a->layers[i].grad, b->layers[i].grad, H * H * sizeof(lv_real));
        }
    }
    assert_memory_equal(a->embedding.grad, b->embedding.grad, VOCAB * H * sizeof(lv_real));
    assert_memory_equal(a->head.grad, b->head.grad, VOCAB * H * sizeof(lv_real));
}

static void recomputing_gives_the_same_bits_in_less_memory(void **state)
{
    (void)state;
    network plain, again;
    network_open(&plain);
    network_open(&again);
    size_t all = network_step(&plain, false);
    size_t less = network_step(&again, true);
    assert_same_gradients(&plain, &again);
    assert_true(lv_tensor_count(&plain.head) > 0 && grad_of(&plain.head)[0] != 0);
    assert_true(grad_of(&plain.layers[0])[5] != 0 && grad_of(&plain.embedding)[0] != 0);
    assert_true(less < all * 2 / 3);
    network_close(&plain);
    network_close(&again);
}

static void four_threads_give_the_same_bits_twice(void **state)
{
    (void)state;
    int before = omp_get_max_threads();
    omp_set_num_threads(4);
    network first, second;
    network_open(&first);
    network_open(&second);
    network_step(&first, false);
    for (int i = 0; i < 20; i++) {
        network_clear(&second);
        network_step(&second, i % 2);
        assert_same_gradients(&first, &second);
    }
    network_close(&first);
    network_close(&second);
    omp_set_num_threads(before);
}

static void gradients_of_parameters_add_up_over_tapes(void **state)
{
    (void)state;
    network once, twice;
    network_open(&once);
    network_open(&twice);
    network_step(&once, false);
    network_step(&twice, false);
    network_step(&twice, false);
    for (int64_t i = 0; i < H * H; i++) {
        lv_real expected = 2 * grad_of(&once.layers[1])[i];
        lv_real error = grad_of(&twice.layers[1])[i] - expected;
        assert_true(error * error <= (lv_real)1e-10 * (1 + expected * expected));
    }
    network_close(&once);
    network_close(&twice);
}

static void activation_gradients_are_used_again(void **state)
{
    (void)state;
    lv_tensor w = param(H, H, true, 1);
    size_t backward_bytes[2];
    for (int i = 0; i < 2; i++) {
        lv_tensor input = param(T, H, false, 2);
        lv_tensor head = param(VOCAB, H, false, 3);
        int32_t labels[T] = {0};
        lv_tensor *x = &input;
        for (int n = 0; n < 10 * (i + 1); n++) {
            x = layer(tape, &(layer_context){&w}, &x);
        }
        lv_tensor *loss = lv_cross_entropy(tape, x, &head, labels, NULL);
        size_t mark = lv_tape_mark(tape);
        lv_backward(tape, loss);
        backward_bytes[i] = lv_tape_mark(tape) - mark;
        assert_null(x->grad);
        lv_tape_reset(tape);
        param_free(&input);
        param_free(&head);
    }
    assert_int_equal(backward_bytes[0], backward_bytes[1]); /* not more for twice the layers */
    param_free(&w);
}

/* The same layer, which gives back what it is done with: with frozen weights the second linear's
 * input is read by no backward pass. */
static lv_tensor *sparing_layer(lv_tape *on, const void *context, lv_tensor *const *in)
{
    const layer_context *of = context;
    lv_tensor *a = lv_quick_gelu(on, in[0]);
    lv_tensor *b = lv_gelu(on, a);
    lv_tape_done(on, a);
    lv_tensor *y = lv_linear(on, b, of->w, NULL, in[0]);
    lv_tape_done(on, b);
    return y;
}

/* The gradient of x through n layers into dx (T,H). returns the arena's use after the forward
 * pass; the backward pass's peak is added to *peak. */
static size_t through_layers(lv_segment *segment, bool recompute, int n, const layer_context *of,
                             lv_tensor *x, size_t *peak)
{
    lv_tape *on = NULL;
    int32_t labels[T] = {0};
    lv_tensor head = param(VOCAB, H, false, 3);
    assert_int_equal(lv_tape_create(&on, (size_t)1 << 28), 0);
    memset(x->grad, 0, T * H * sizeof(lv_real));
    lv_tensor *y = lv_linear(on, x, of->w, NULL, NULL);
    for (int i = 0; i < n; i++) {
        lv_tensor *next = recompute ? lv_recompute(on, segment, of, 1, &y) : segment(on, of, &y);
        lv_tape_done(on, y);
        y = next;
    }
    size_t used = lv_tape_mark(on);
    lv_backward(on, lv_cross_entropy(on, y, &head, labels, NULL));
    *peak = lv_tape_peak_bytes(on);
    lv_tape_destroy(&on);
    param_free(&head);
    return used;
}

static void what_no_backward_pass_reads_is_used_again(void **state)
{
    (void)state;
    const size_t activation = T * H * sizeof(lv_real);
    for (int trained = 0; trained < 2; trained++) {
        lv_tensor w = param(H, H, trained, 1), x = param(T, H, true, 2);
        const layer_context of = {&w};
        lv_real dx[2][T * H];
        size_t peak, used[2][2];
        for (int sparing = 0; sparing < 2; sparing++) {
            lv_segment *segment = sparing ? sparing_layer : layer;
            used[sparing][0] = through_layers(segment, false, 3, &of, &x, &peak);
            used[sparing][1] = through_layers(segment, false, 4, &of, &x, &peak);
            memcpy(dx[sparing], x.grad, sizeof dx[sparing]);
        }
        assert_memory_equal(dx[0], dx[1], sizeof dx[0]);
        size_t layer_bytes = used[0][1] - used[0][0], spared = used[1][1] - used[1][0];
        assert_true(layer_bytes >= 3 * activation);
        /* x and a for both, b for dW, y */
        assert_true(spared < layer_bytes - (trained ? 0 : activation) + 64);
        assert_true(spared >= (trained ? 3 : 2) * activation);
        param_free(&w);
        param_free(&x);
    }
}

static void a_segment_takes_nothing_that_outlives_it(void **state)
{
    (void)state;
    lv_tensor w = param(H, H, false, 1), x = param(T, H, true, 2);
    const layer_context of = {&w};
    const size_t activation = T * H * sizeof(lv_real);
    lv_real plain[T * H];
    size_t few, many;
    through_layers(layer, false, 24, &of, &x, &few);
    memcpy(plain, x.grad, sizeof plain);
    through_layers(sparing_layer, true, 12, &of, &x, &few);
    through_layers(sparing_layer, true, 24, &of, &x, &many);
    assert_memory_equal(plain, x.grad, sizeof plain);
    assert_true(many - few <= 12 * (activation + 1024)); /* a layer's input each, and records */
    param_free(&w);
    param_free(&x);
}

static void what_is_needed_or_not_the_tapes_stays(void **state)
{
    (void)state;
    lv_tensor w = param(H, H, true, 1);
    lv_tensor *x = lv_tape_tensor(tape, LV_F32, 2, (int64_t[]){T, H});
    memset(x->data, 0, T * H * sizeof(lv_real));
    lv_tensor *view = lv_tape_view(tape, x->data, LV_F32, 2, x->shape);
    lv_tensor *y = lv_linear(tape, x, &w, NULL, NULL), *z = lv_gelu(tape, y);
    void *of_y = y->data, *of_z = z->data;
    lv_tape_done(tape, view); /* somebody else's data */
    lv_tape_done(tape, &w);
    assert_ptr_equal(view->data, x->data);
    assert_non_null(w.data);
    lv_tape_done(tape, x); /* read for dW */
    lv_tape_done(tape, y); /* read by gelu's backward pass */
    assert_non_null(x->data);
    assert_ptr_equal(y->data, of_y);
    lv_tape_done(tape, z);
    assert_null(z->data);
    lv_tape_done(tape, z); /* twice is once */
    assert_ptr_equal(lv_tape_tensor(tape, LV_F32, 2, (int64_t[]){T, H})->data, of_z);
    assert_ptr_not_equal(lv_tape_tensor(tape, LV_F32, 2, (int64_t[]){T, H})->data, of_z);
    lv_tape_reset(tape);
    param_free(&w);
}

static void no_rows_cost_nothing(void **state)
{
    (void)state;
    lv_tensor head = param(VOCAB, H, true, 3);
    lv_tensor *x = lv_tape_tensor(tape, LV_F32, 2, (int64_t[]){0, H});
    lv_tensor *loss = lv_cross_entropy(tape, x, &head, NULL, NULL);
    assert_true(*lv_tensor_real(loss) == 0);
    lv_backward(tape, loss);
    for (int i = 0; i < VOCAB * H; i++) {
        assert_true(grad_of(&head)[i] == 0);
    }
    param_free(&head);
}

/* What an owner of five parameters hears of them. */
enum { N_OWNED = 5 };
typedef struct {
    lv_tensor w[N_OWNED];        /* three layers, an embedding that is the head, a norm */
    lv_real *values[N_OWNED];    /* NaN is in their place until they are awaited */
    lv_real *when_done[N_OWNED]; /* the gradient when it was said to be done */
    int n_done[N_OWNED], n_awaited[N_OWNED];
    bool reached[VOCAB]; /* rows of the embedding, by lv_embedding */
} owned;

static int owned_index(const owned *o, const lv_tensor *x)
{
    for (int i = 0; i < N_OWNED; i++) {
        if (x == &o->w[i]) {
            return i;
        }
    }
    fail_msg("a tensor that is none of the parameters");
    return -1;
}

static size_t owned_bytes(const owned *o, int i)
{
    return (size_t)lv_tensor_count(&o->w[i]) * sizeof(lv_real);
}

static void owned_await(void *context, const lv_tensor *x)
{
    owned *o = context;
    const int i = owned_index(o, x);
    o->n_awaited[i]++;
    memcpy(o->w[i].data, o->values[i], owned_bytes(o, i));
}

static void owned_grad_done(void *context, const lv_tensor *x)
{
    owned *o = context;
    const int i = owned_index(o, x);
    o->n_done[i]++;
    memcpy(o->when_done[i], x->grad, owned_bytes(o, i));
}

static void owned_open(owned *o)
{
    *o = (owned){0};
    for (int i = 0; i < N_OWNED; i++) {
        o->w[i] = param(i == 3 ? VOCAB : i == 4 ? 1 : H, H, true, (uint64_t)i + 40);
        if (i == 4) {
            o->w[i].n_dims = 1;
            o->w[i].shape[0] = H;
            o->w[i].shape[1] = 1;
        }
        o->values[i] = malloc(owned_bytes(o, i));
        o->when_done[i] = calloc(1, owned_bytes(o, i));
        assert_true(o->values[i] && o->when_done[i]);
        memcpy(o->values[i], o->w[i].data, owned_bytes(o, i));
        memset(o->w[i].data, 0xff, owned_bytes(o, i));
    }
}

static void owned_close(owned *o)
{
    for (int i = 0; i < N_OWNED; i++) {
        param_free(&o->w[i]);
        free(o->values[i]);
        free(o->when_done[i]);
    }
}

static void owned_grad_rows(void *context, const lv_tensor *x, const int32_t *ids, int64_t n)
{
    owned *o = context;
    assert_ptr_equal(x, &o->w[3]);
    for (int64_t i = 0; i < n; i++) {
        o->reached[ids[i]] = true;
    }
}

/* The first layer is used twice, the embedding is the head too. */
static lv_real owned_step(owned *o, const lv_tape_owner *owner, bool recompute)
{
    static int32_t ids[T], labels[T];
    const int uses[] = {0, 1, 0, 2};
    layer_context of[4];
    lv_tape *on;
    for (int t = 0; t < T; t++) {
        ids[t] = t * 7 % VOCAB;
        labels[t] = t * 13 % VOCAB;
    }
    assert_int_equal(lv_tape_create(&on, (size_t)1 << 28), 0);
    lv_tape_owner_set(on, owner);
    lv_tensor *x = lv_embedding(on, &o->w[3], ids, T);
    for (int i = 0; i < 4; i++) {
        of[i] = (layer_context){&o->w[uses[i]]};
        x = recompute ? lv_recompute(on, layer, &of[i], 1, &x) : layer(on, &of[i], &x);
    }
    x = lv_rmsnorm(on, x, &o->w[4], 1e-6);
    lv_tensor *loss = lv_cross_entropy(on, x, &o->w[3], labels, NULL);
    const lv_real value = *lv_tensor_real(loss);
    lv_backward(on, loss);
    lv_tape_destroy(&on);
    return value;
}

static void an_owner_hears_before_reading_and_once_when_a_gradient_is_done(void **state)
{
    (void)state;
    for (int recompute = 0; recompute < 2; recompute++) {
        owned o;
        owned_open(&o);
        const lv_tape_owner owner = {owned_await, owned_grad_rows, owned_grad_done, &o};
        for (int step = 1; step <= 2; step++) {
            const lv_real loss = owned_step(&o, &owner, recompute);
            assert_true(loss > 0 && loss < 1000); /* no NaN was read */
            for (int i = 0; i < N_OWNED; i++) {
                assert_int_equal(o.n_done[i], step);
                assert_true(o.n_awaited[i] >= step);
                assert_true(o.when_done[i][3] != 0);
                assert_memory_equal(o.when_done[i], o.w[i].grad, owned_bytes(&o, i));
            }
        }
        bool read[VOCAB] = {false};
        for (int t = 0; t < T; t++) {
            read[t * 7 % VOCAB] = true;
        }
        assert_memory_equal(o.reached, read, sizeof read);
        owned_close(&o);
    }
}

static int start(void **state)
{
    (void)state;
    lv_blas_start();
    return lv_tape_create(&tape, (size_t)1 << 28);
}

static int stop(void **state)
{
    (void)state;
    lv_tape_destroy(&tape);
    return 0;
}

static int reset(void **state)
{
    (void)state;
    lv_tape_reset(tape);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_frozen_part_keeps_the_arena_flat, reset),
        cmocka_unit_test_setup(keeping_moves_data_over_where_it_was, reset),
        cmocka_unit_test_setup(what_requires_a_gradient_is_not_moved, reset),
        cmocka_unit_test_setup(without_recording_nothing_requires_a_gradient, reset),
        cmocka_unit_test_setup(
            a_segment_that_gives_a_gradient_to_what_is_none_of_its_inputs_ends_the_job, reset),
        cmocka_unit_test_setup(recomputing_gives_the_same_bits_in_less_memory, reset),
        cmocka_unit_test_setup(four_threads_give_the_same_bits_twice, reset),
        cmocka_unit_test_setup(gradients_of_parameters_add_up_over_tapes, reset),
        cmocka_unit_test_setup(activation_gradients_are_used_again, reset),
        cmocka_unit_test_setup(what_no_backward_pass_reads_is_used_again, reset),
        cmocka_unit_test_setup(a_segment_takes_nothing_that_outlives_it, reset),
        cmocka_unit_test_setup(what_is_needed_or_not_the_tapes_stays, reset),
        cmocka_unit_test_setup(no_rows_cost_nothing, reset),
        cmocka_unit_test_setup(an_owner_hears_before_reading_and_once_when_a_gradient_is_done,
                               reset),
    };
    return cmocka_run_group_tests_name("tape", tests, start, stop);
}
