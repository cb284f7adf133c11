/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/cli.h"
#include "tools/tools.h"

#include "autograd/error.h"
#include "data/pack.h"
#include "train/progress.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int meet(void *context, int error)
{
    return lv_comm_agree(context, error);
}

static int share(void *context, void *data, int64_t n)
{
    return lv_comm_broadcast(context, data, n);
}

/* Rank 0 speaks for all; its share is about that of every rank. */
static void show_progress(void *context, const char *what, int64_t done, int64_t all)
{
    static const char *phase; /* whose first call was at begin_s, when begin_done were done */
    static int64_t begin_done;
    static double begin_s;
    const lv_comm *comm = context;
    char eta[32];
    if (comm->rank > 0) {
        return;
    }
    if (!phase || strcmp(phase, what) != 0) {
        phase = what;
        begin_done = done;
        begin_s = lv_clock_s();
    }
    double elapsed_s = lv_clock_s() - begin_s;
    double left_s = (double)(all - done) * elapsed_s / fmax((double)(done - begin_done), 1);
    lv_progress_show(false, "%s %" PRId64 "/%" PRId64 "%s  %.0f/s  ETA %s", what, done, all,
                     comm->n_ranks > 1 ? " on this rank" : "",
                     (double)(done - begin_done) / fmax(elapsed_s, 1e-3),
                     done > begin_done || done == all ? lv_duration_text(eta, left_s) : "?");
}

/* One of two words. */
static int choose(bool *is_second, const char *flag, const char *value, const char *first,
                  const char *second)
{
    *is_second = strcmp(value, second) == 0;
    return *is_second || strcmp(value, first) == 0
               ? LV_OK
               : lv_fail(LV_ERR_CONFIG, "%s: expected %s or %s, found %s", flag, first, second,
                         value);
}

static int run(lv_comm *comm, const lv_pack_options *options)
{
    lv_pack_summary s = {0};
    lv_pack_team team = {.rank = comm->rank,
                         .n_ranks = comm->n_ranks,
                         .meet = meet,
                         .share = share,
                         .context = comm,
                         .progress = show_progress};
    int rc = lv_pack_write(&s, options, &team);
    if (comm->rank == 0) {
        lv_progress_end();
    }
    if (rc < 0 || comm->rank > 0) {
        return rc;
    }
    printf("wrote %s: %" PRId64 " samples, %" PRId64 " images, %" PRId64 " tokens, %" PRId64
           " of them supervised\n",
           options->out_dir, s.n_samples, s.n_images, s.n_tokens, s.n_supervised);
    if (s.n_rejects > 0) {
        printf("%" PRId64 " of %" PRId64 " records were rejected: see %s/rejects.jsonl\n",
               s.n_rejects, s.n_records, options->out_dir);
    }
    return LV_OK;
}

int lv_tool_pack(int argc, char **argv)
{
    lv_pack_options options = {.max_rejects = 0.01};
    const char *store = "original", *aspect = "square";
    int64_t image_size = 0;
    const lv_flag flags[] = {
        {.name = "--data",
         .kind = LV_FLAG_TEXT,
         .value = &options.data_path,
         .placeholder = "FILE",
         .help = "LLaVA's JSON: a list of {id, image, conversations}",
         .required = true},
        {.name = "--images",
         .kind = LV_FLAG_TEXT,
         .value = &options.image_dir,
         .placeholder = "DIR",
         .help = "folder in which the names of the images start (default none: text only)"},
        {.name = "--tokenizer",
         .kind = LV_FLAG_TEXT,
         .value = &options.tokenizer_path,
         .placeholder = "DIR|FILE",
         .help = "the language model's directory, or its tokenizer file",
         .required = true},
        {.name = "--template",
         .kind = LV_FLAG_TEXT,
         .value = &options.template_name,
         .placeholder = "NAME|FILE",
         .help = "conversation template: plain (stage 1), v1 (stage 2), v0, llama_2, chatml, or a "
                 "template's .json",
         .required = true},
        {.name = "--out",
         .kind = LV_FLAG_TEXT,
         .value = &options.out_dir,
         .placeholder = "DIR",
         .help = "the pack; one that was begun with the same options is finished",
         .required = true},
        {.name = "--store",
         .kind = LV_FLAG_TEXT,
         .value = &store,
         .placeholder = "original|rgb",
         .help = "the image files as found, or their pixels at a size (default original)"},
        {.name = "--image-size",
         .kind = LV_FLAG_INT,
         .value = &image_size,
         .placeholder = "N",
         .help = "with --store rgb: edge in pixels, the vision tower's",
         .min = 1,
         .max = 4096},
        {.name = "--aspect",
         .kind = LV_FLAG_TEXT,
         .value = &aspect,
         .placeholder = "square|pad",
         .help = "with --store rgb: crop to a square, or pad to one (default square)"},
        {.name = "--strict",
         .kind = LV_FLAG_SWITCH,
         .value = &options.strict,
         .help = "stop at the first record that cannot be used"},
        {.name = "--max-rejects",
         .kind = LV_FLAG_REAL,
         .value = &options.max_rejects,
         .placeholder = "X",
         .help = "fail if more than this fraction of the records is rejected (default 0.01)",
         .min = 0,
         .max = 1},
    };
    const lv_cli cli = {
        .name = "pack",
        .summary = "Make a pack, which is what training reads, from LLaVA's JSON and a folder of "
                   "images. Runs alone or under mpirun; the result is the same.",
        .details = "Records that cannot be used are listed with their reason in "
                   "OUT/rejects.jsonl.",
        .flags = flags,
        .n_flags = sizeof flags / sizeof flags[0]};
    lv_comm comm = {0};
    int rc = lv_cli_start(&cli, &comm, argc, argv);
    if (rc == LV_OK) {
        bool pad = false;
        rc = choose(&options.store_rgb, "--store", store, "original", "rgb");
        rc = rc < 0 ? rc : choose(&pad, "--aspect", aspect, "square", "pad");
        options.aspect = pad ? LV_ASPECT_PAD : LV_ASPECT_SQUARE;
        options.image_size = (int)image_size;
        if (rc == LV_OK && options.store_rgb && image_size == 0) {
            rc = lv_fail(LV_ERR_CONFIG, "--store rgb needs --image-size N");
        }
        rc = rc < 0 ? rc : run(&comm, &options);
    }
    return lv_cli_finish(&cli, &comm, rc);
}
