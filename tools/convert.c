/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/cli.h"
#include "tools/tools.h"

#include "autograd/error.h"
#include "data/base/clock.h"
#include "train/host/progress.h"
#include "train/model/hf/hf.h"

#include <stdio.h>
#include <string.h>

static const double QUIET_S = 2; /* no progress is shown before */
static const double REFRESH_S = 0.1;
static const int64_t LARGE_BYTES = 1000000000;

static void show_rate(const char *what, int64_t done_bytes, int64_t all_bytes)
{
    static const char *phase; /* which began at begin_s */
    static double begin_s, shown_s;
    char eta[32], rate[32];
    double now_s = lv_clock_s();
    if (what != phase) {
        phase = what;
        begin_s = now_s;
    }
    double elapsed_s = now_s - begin_s;
    if (elapsed_s < QUIET_S || (done_bytes < all_bytes && now_s - shown_s < REFRESH_S)) {
        return;
    }
    shown_s = now_s;
    double per_s = (double)done_bytes / elapsed_s;
    lv_progress_show(false, "%s %.1f/%.1f GB  %s/s  ETA %s", what, 1e-9 * (double)done_bytes,
                     1e-9 * (double)all_bytes, lv_bytes_text(rate, (int64_t)per_s),
                     lv_duration_text(eta, (double)(all_bytes - done_bytes) / per_s));
}

static void show_checking(int64_t done_bytes, int64_t all_bytes)
{
    show_rate("checking the model's files", done_bytes, all_bytes);
}

static void show_writing(int64_t done_bytes, int64_t all_bytes)
{
    show_rate("converting", done_bytes, all_bytes);
    if (done_bytes == all_bytes && all_bytes > LARGE_BYTES) {
        lv_progress_show(false, "reading what was written, for digests.json");
    }
}

static int convert_model(const char *model, const char *dtype_name, const char *out)
{
    char from[32], to[32];
    lv_hf_conversion sum;
    const lv_dtype dtype = strcmp(dtype_name, "bf16") == 0 ? LV_BF16 : LV_F32;
    int rc = lv_hf_convert(&sum, out, model, dtype,
                           (lv_hf_progress){.checking = show_checking, .writing = show_writing});
    lv_progress_end();
    if (rc == LV_OK) {
        printf("wrote %s: %zu tensors, %s of %s, from %s\n", out, sum.n_tensors,
               lv_bytes_text(to, sum.to_bytes), dtype_name, lv_bytes_text(from, sum.from_bytes));
    }
    return rc;
}

int lv_tool_convert(int argc, char **argv)
{
    const char *model = NULL, *dtype = NULL, *out = NULL;
    const lv_flag flags[] = {
        {.name = "--model",
         .kind = LV_FLAG_TEXT,
         .value = &model,
         .placeholder = "DIR",
         .help = "Hugging Face directory of a CLIP, LLaMA or LLaVA, in safetensors",
         .required = true},
        {.name = "--dtype",
         .kind = LV_FLAG_CHOICE,
         .value = &dtype,
         .placeholder = "bf16|f32",
         .help = "of all floating-point tensors; rounded to nearest even",
         .required = true},
        {.name = "--out",
         .kind = LV_FLAG_TEXT,
         .value = &out,
         .placeholder = "DIR",
         .help = "model directory to write; not there yet, and not inside --model",
         .required = true},
    };
    const lv_cli cli = {
        .name = "convert",
        .summary = "Write a model directory once more with its weights in another precision. In "
                   "bf16 training reads\nfrozen weights where they lie in the files, once for all "
                   "ranks of a host, and starts at once.",
        .details = "config.json says the new dtype; tokenizer, processor and all other files are "
                   "copied, but for weights in other\nformats, hidden files and folders. The "
                   "directory appears whole or not at all, with digests.json for llava inspect. "
                   "The\nmodel's own digests, if it has some, are checked first. Takes a few MB "
                   "of memory, however large the model is.",
        .flags = flags,
        .n_flags = sizeof flags / sizeof flags[0]};
    int rc = lv_cli_start(&cli, NULL, argc, argv);
    if (rc == LV_OK) rc = convert_model(model, dtype, out);
    return lv_cli_finish(&cli, NULL, rc);
}
