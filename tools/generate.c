/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/cli.h"
#include "tools/tools.h"

#include "autograd/error.h"
#include "autograd/kernels/gemm.h"
#include "train/answer/session.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    const char *model, *prompt, *template_name, *aspect, *precision;
    lv_texts images;
    lv_generate_options options;
    int64_t seed;
} generate_request;

static void print_text(void *context, const char *text, size_t n)
{
    (void)context;
    fwrite(text, 1, n, stdout);
    fflush(stdout);
}

static int print_answer(lv_session *session, const generate_request *r)
{
    const lv_answer *answer = NULL;
    const lv_question question = {.text = r->prompt,
                                  .images = r->images.items,
                                  .n_images = r->images.n,
                                  .options = r->options,
                                  .on_text = print_text};
    int rc = lv_session_ask(session, &answer, &question);
    if (rc < 0) {
        return rc;
    }
    while (rc == LV_OK && lv_session_count(session) > 0) {
        rc = lv_session_step(session);
    }
    printf("\n");
    return rc;
}

static int generate(const generate_request *r)
{
    lv_session *session = NULL;
    const bool bf16 = r->precision && strcmp(r->precision, "bf16") == 0;
    const lv_aspect aspect =
        r->aspect && strcmp(r->aspect, "pad") == 0 ? LV_ASPECT_PAD : LV_ASPECT_SQUARE;
    const lv_session_options options = {
        .model = {.llava = r->model,
                  .precision = !r->precision ? LV_PRECISION_OF_WEIGHTS
                               : bf16        ? LV_PRECISION_BF16
                                             : LV_PRECISION_F32},
        .template_name = r->template_name,
        .aspect = r->aspect ? &aspect : NULL,
    };
    lv_blas_start();
    int rc = lv_session_open(&session, &options);
    if (rc == LV_OK) {
        lv_template_print_missing_pieces(lv_session_template(session),
                                         lv_session_tokenizer(session));
        rc = print_answer(session, r);
    }
    lv_session_close(&session);
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
    r.options.seed = (uint64_t)r.seed;
    if (rc == LV_OK) rc = generate(&r);
    return lv_cli_finish(&cli, NULL, rc);
}
