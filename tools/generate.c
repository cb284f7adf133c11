/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/cli.h"
#include "tools/tools.h"

#include "autograd/error.h"
#include "autograd/kernels/gemm.h"
#include "data/base/file.h"
#include "data/chat/template.h"
#include "train/model/llava/generate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *model, *prompt, *template_name, *aspect, *precision;
    lv_texts images;
    lv_generate_options options;
    int64_t seed;
} generate_request;

/* Prints the text that no further token can change: a character, or the text that ends an answer,
 * may consist of several tokens. */
typedef struct {
    const lv_tokenizer *tokenizer;
    const char *stop; /* ends an answer, besides EOS; NULL: none */
    int32_t stop_id;  /* of the piece `stop`, -1: stop is text */
    int32_t *tokens;
    size_t n, printed_bytes;
} answer_printer;

/* Bytes of text up to its last complete character: an incomplete one is decoded as U+FFFD. */
static size_t complete_bytes(const char *text)
{
    static const char REPLACEMENT[] = "\xEF\xBF\xBD";
    size_t n = strlen(text);
    while (n >= 3 && memcmp(text + n - 3, REPLACEMENT, 3) == 0) {
        n -= 3;
    }
    return n;
}

/* How many of the last of n bytes may be the beginning of stop. */
static size_t stop_begun_bytes(const char *text, size_t n, const char *stop)
{
    size_t held = stop ? strlen(stop) - 1 : 0;
    held = held < n ? held : n;
    while (held > 0 && memcmp(text + n - held, stop, held) != 0) {
        held--;
    }
    return held;
}

/* returns false when the answer has ended. */
static bool print_text(answer_printer *p, bool is_last)
{
    char *text = NULL;
    if (lv_tokenizer_decode(p->tokenizer, p->tokens, p->n, &text) < 0) {
        return true; /* an id without a piece (padding of the vocabulary) prints as nothing */
    }
    const char *end = p->stop && p->stop_id < 0 ? strstr(text, p->stop) : NULL;
    size_t n = end ? (size_t)(end - text) : complete_bytes(text);
    if (!end && !is_last && p->stop_id < 0) {
        n -= stop_begun_bytes(text, n, p->stop);
    }
    if (n > p->printed_bytes) {
        fwrite(text + p->printed_bytes, 1, n - p->printed_bytes, stdout);
        fflush(stdout);
        p->printed_bytes = n;
    }
    free(text);
    return !end;
}

static bool print_token(void *context, int32_t token)
{
    answer_printer *p = context;
    if (p->stop_id >= 0 && token == p->stop_id) {
        return false;
    }
    p->tokens[p->n++] = token;
    return print_text(p, false);
}

static int read_image_file(lv_image *out, const char *path)
{
    char *bytes = NULL;
    size_t n = 0;
    int rc = lv_file_read(&bytes, &n, path);
    if (rc == LV_OK) {
        rc = lv_image_decode(out, (const uint8_t *)bytes, n);
        rc = rc < 0 ? lv_fail_within("%s", path) : rc;
        free(bytes);
    }
    return rc;
}

static int make_batch(lv_batch *batch, const generate_request *r, const lv_template *template,
                      const lv_tokenizer *tokenizer, const lv_vision_input *vision)
{
    lv_image images[LV_MAX_TEXTS] = {{0}};
    lv_prompt prompt = {0};
    int rc = LV_OK;
    for (size_t i = 0; rc == LV_OK && i < r->images.n; i++) {
        rc = read_image_file(&images[i], r->images.items[i]);
    }
    if (rc == LV_OK) {
        rc = lv_template_encode_question(&prompt, template, tokenizer, r->prompt, r->images.n);
    }
    if (rc == LV_OK) {
        rc = lv_batch_from_prompt(batch, prompt.tokens, prompt.n_tokens, images, (int)r->images.n,
                                  vision);
    }
    lv_prompt_free(&prompt);
    for (size_t i = 0; i < r->images.n; i++) {
        lv_image_free(&images[i]);
    }
    return rc;
}

static int print_answer(lv_llava *model, const generate_request *r, const lv_template *template,
                        const lv_tokenizer *tokenizer)
{
    lv_vision_input vision;
    lv_batch batch = {0};
    lv_generate_options options = r->options;
    int64_t n = 0;
    const bool pad =
        r->aspect ? strcmp(r->aspect, "pad") == 0 : lv_llava_config_of(model)->aspect_pad;
    lv_llava_vision_input(model, pad ? LV_ASPECT_PAD : LV_ASPECT_SQUARE, &vision);
    options.stops = lv_tokenizer_stops(tokenizer, &options.n_stops);
    options.seed = (uint64_t)r->seed;
    int rc = make_batch(&batch, r, template, tokenizer, &vision);
    if (rc < 0) {
        return rc;
    }
    size_t capacity = (size_t)options.max_new_tokens;
    int32_t *tokens = malloc(capacity * sizeof *tokens);
    const char *stop = lv_template_stop(template);
    answer_printer p = {.tokenizer = tokenizer,
                        .stop = stop,
                        .stop_id = stop ? lv_tokenizer_id(tokenizer, stop) : -1,
                        .tokens = malloc(capacity * sizeof *tokens)};
    rc = tokens && p.tokens
             ? lv_generate(model, &batch, &options, print_token, &p, tokens, &n)
             : lv_fail(LV_ERR_MEMORY, "no memory for %lld tokens", (long long)capacity);
    if (rc == LV_OK && p.n > 0) {
        print_text(&p, true);
    }
    printf("\n");
    free(p.tokens);
    free(tokens);
    lv_batch_free(&batch);
    return rc;
}

static int generate(const generate_request *r)
{
    lv_llava *model = NULL;
    lv_tokenizer *tokenizer = NULL;
    lv_template *template = NULL;
    lv_llava_options options = {.llava = r->model, .precision = LV_PRECISION_OF_WEIGHTS};
    if (r->precision) {
        options.precision =
            strcmp(r->precision, "bf16") == 0 ? LV_PRECISION_BF16 : LV_PRECISION_F32;
    }
    lv_blas_start();
    int rc = lv_template_open(&template, r->template_name);
    if (rc == LV_OK) rc = lv_llava_open(&model, &options);
    if (rc == LV_OK) rc = lv_tokenizer_open(&tokenizer, lv_llava_tokenizer_dir(model));
    if (rc == LV_OK) {
        lv_template_print_missing_pieces(template, tokenizer);
        lv_tokenizer_warn_ids(tokenizer);
        rc = print_answer(model, r, template, tokenizer);
    }
    lv_template_close(&template);
    lv_tokenizer_close(&tokenizer);
    lv_llava_close(&model);
    return rc;
}

int lv_tool_generate(int argc, char **argv)
{
    generate_request r = {.template_name = "v1",
                          .options = {.max_new_tokens = 256, .temperature = 0, .top_p = 1}};
    const lv_flag flags[] = {
        {.name = "--model",
         .kind = LV_FLAG_TEXT,
         .value = &r.model,
         .placeholder = "DIR",
         .help = "a LLaVA directory, Hugging Face layout",
         .required = true},
        {.name = "--image",
         .kind = LV_FLAG_TEXTS,
         .value = &r.images,
         .placeholder = "FILE",
         .help = "JPEG, PNG or WebP; repeatable; without it the question is about text alone"},
        {.name = "--prompt",
         .kind = LV_FLAG_TEXT,
         .value = &r.prompt,
         .placeholder = "TEXT",
         .help = "the question; may say where images stand with <image>",
         .required = true},
        {.name = "--template",
         .kind = LV_FLAG_TEXT,
         .value = &r.template_name,
         .placeholder = "NAME|FILE",
         .help = "plain, v1, v0, llama_2, chatml, or a template's .json; as the model was trained "
                 "(default v1)"},
        {.name = "--aspect",
         .kind = LV_FLAG_CHOICE,
         .value = &r.aspect,
         .placeholder = "square|pad",
         .help = "crop or pad the image (default: as the model was trained)"},
        {.name = "--precision",
         .kind = LV_FLAG_CHOICE,
         .value = &r.precision,
         .placeholder = "bf16|f32",
         .help = "of the computation (default: bf16 if the model's weights are, else f32)"},
        {.name = "--max-new-tokens",
         .kind = LV_FLAG_INT,
         .value = &r.options.max_new_tokens,
         .placeholder = "N",
         .help = "tokens at the most (default 256)",
         .min = 1,
         .max = 1 << 20},
        {.name = "--temperature",
         .kind = LV_FLAG_REAL,
         .value = &r.options.temperature,
         .placeholder = "X",
         .help = "0: always the likeliest token (default 0)",
         .min = 0,
         .max = 100},
        {.name = "--top-p",
         .kind = LV_FLAG_REAL,
         .value = &r.options.top_p,
         .placeholder = "X",
         .help = "draw from the likeliest tokens that together have this probability (default 1)",
         .min = 1e-6,
         .max = 1},
        {.name = "--seed",
         .kind = LV_FLAG_INT,
         .value = &r.seed,
         .placeholder = "N",
         .help = "of the draws (default 0)",
         .min = 0,
         .max = 9007199254740992.0},
    };
    const lv_cli cli = {.name = "generate",
                        .summary = "Answer a question about an image; the answer is written as it "
                                   "comes.",
                        .flags = flags,
                        .n_flags = sizeof flags / sizeof flags[0]};
    int rc = lv_cli_start(&cli, NULL, argc, argv);
    if (rc == LV_OK) rc = generate(&r);
    return lv_cli_finish(&cli, NULL, rc);
}
