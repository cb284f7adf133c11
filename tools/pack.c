/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/cli.h"
#include "tools/tools.h"

#include "autograd/error.h"
#include "data/base/clock.h"
#include "data/pack/pack.h"
#include "tools/terminal.h"
#include "train/cluster/threads.h"
#include "train/host/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const double SHORT_S = 1; /* a shorter phase shows no progress */
static const double AGAIN_S = 0.1;
enum { LARGE_BYTES = 100000000, RATE_TEXT = 32 };

/* "6.25", "82.1" or "12345"; returns buf. */
static const char *rate_text(char buf[RATE_TEXT], double per_s)
{
    snprintf(buf, RATE_TEXT, per_s < 100 ? "%.3g" : "%.0f", per_s);
    return buf;
}

/* On rank 0, for all: the ranks have equal parts and run at about its pace. */
static void show_progress(void *context, const lv_pack_progress *p)
{
    static const char *phase; /* which began at begin_s */
    static double begin_s, shown_s;
    const lv_comm *comm = context;
    char eta[32], rate[32] = "", things[RATE_TEXT];
    if (comm->rank > 0) {
        return;
    }
    if (phase != p->what || p->done == 0) {
        phase = p->what;
        begin_s = lv_clock_s();
    }
    double now_s = lv_clock_s(), elapsed_s = now_s - begin_s;
    if (p->own == 0 && p->n_bytes > LARGE_BYTES) {
        lv_progress_show(false, "%s, %s", p->what, lv_bytes_text(rate, p->n_bytes));
    }
    if (p->own == 0 || p->done == 0 || elapsed_s < SHORT_S ||
        (p->done < p->own && now_s - shown_s < AGAIN_S)) {
        return;
    }
    shown_s = now_s;
    double per_own = (double)p->all / (double)p->own;
    if (p->n_bytes > 0) {
        snprintf(rate, sizeof rate, ", %.1f MB/s", 1e-6 * (double)p->n_bytes * per_own / elapsed_s);
    }
    lv_progress_show(
        false, "%s %s%.0f/%" PRId64 "  %s/s%s  ETA %s%s", p->what,
        comm->n_ranks > 1 ? "about " : "", (double)p->done * per_own, p->all,
        rate_text(things, (double)p->done * per_own / elapsed_s), rate,
        lv_duration_text(eta, (double)(p->own - p->done) * elapsed_s / (double)p->done),
        comm->n_ranks > 1 ? " (all ranks, as rank 0 goes)" : "");
}

static void warn(void *context, const char *message)
{
    (void)context;
    lv_progress_end();
    lv_warn("WARNING: %s", message);
}

static int print_rejects(const lv_pack_summary *s, const char *dir)
{
    enum { MOST = 3 };
    lv_reject_reason reasons[MOST];
    if (s->n_rejects == 0) {
        return LV_OK;
    }
    int n = lv_pack_reject_reasons(reasons, MOST, dir);
    printf("%" PRId64 " of %" PRId64 " records were rejected: see %s/rejects.jsonl%s\n",
           s->n_rejects, s->n_records, dir,
           s->was_complete ? " (to try them again, remove the pack first)" : "");
    for (int i = 0; i < n; i++) {
        printf("  %" PRId64 " times: ", reasons[i].n);
        lv_print_shown(stdout, reasons[i].text, strlen(reasons[i].text));
        printf("\n");
    }
    return n < 0 ? n : LV_OK;
}

static int print_summary(const lv_pack_summary *s, const char *dir, double elapsed_s)
{
    char bytes[32], rate[RATE_TEXT], duration[32];
    printf("%s %s%s: %" PRId64 " samples, %" PRId64 " images, %" PRId64 " tokens, %" PRId64
           " of them supervised, %s",
           s->was_complete ? "pack" : "wrote", dir, s->was_complete ? " is already complete" : "",
           s->n_samples, s->n_images, s->n_tokens, s->n_supervised,
           lv_bytes_text(bytes, s->n_bytes));
    if (!s->was_complete) {
        printf(", in %s", lv_duration_text(duration, elapsed_s));
    }
    if (s->n_images_written > 0) {
        printf(" (%s images/s)", rate_text(rate, (double)s->n_images_written / elapsed_s));
    }
    printf("\n");
    return print_rejects(s, dir);
}

static int run(lv_comm *comm, const lv_pack_options *options)
{
    lv_pack_summary s = {0};
    lv_pack_team team = lv_comm_team(comm);
    team.warn = warn;
    team.progress = show_progress;
    double begin_s = lv_clock_s();
    int rc = lv_pack_write(&s, options, &team);
    if (comm->rank > 0) {
        return rc;
    }
    lv_progress_end();
    return rc < 0 ? rc : print_summary(&s, options->out_dir, lv_clock_s() - begin_s);
}

/* Flags about pixels where none are stored. */
static int check_store(const lv_pack_options *options, const char *aspect)
{
    if (options->store_rgb) {
        return options->image_size > 0 ? LV_OK
                                       : lv_fail(LV_ERR_CONFIG, "--store rgb needs --image-size N");
    }
    const char *flag = options->image_size > 0 ? "--image-size" : aspect ? "--aspect" : NULL;
    return flag
               ? lv_fail(LV_ERR_CONFIG,
                         "%s is for --store rgb; without it the image files are kept as found, and "
                         "every size and aspect can be trained from them",
                         flag)
               : LV_OK;
}

int lv_tool_pack(int argc, char **argv)
{
    lv_pack_options options = {.max_rejects = 0.01};
    const char *store = "original", *aspect = NULL;
    int64_t image_size = 0;
    const lv_flag flags[] = {
        {.name = "--data",
         .kind = LV_FLAG_TEXT,
         .value = &options.data_path,
         .placeholder = "FILE",
         .help = "LLaVA's samples {id, image, conversations}: a JSON array, or JSONL; one file, a "
                 "config takes several packs",
         .required = true},
        {.name = "--images",
         .kind = LV_FLAG_TEXT,
         .value = &options.image_dir,
         .placeholder = "DIR",
         .help = "folder in which the names of the images start; / for absolute names (default "
                 "none: text only)"},
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
         .kind = LV_FLAG_CHOICE,
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
         .kind = LV_FLAG_CHOICE,
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
        .details =
            "Records that cannot be used are listed with their reason in "
            "OUT/rejects.jsonl. A pack that was cut off at any moment is finished by the same "
            "command: what is whole is kept.",
        .flags = flags,
        .n_flags = sizeof flags / sizeof flags[0]};
    lv_comm comm = {0};
    int rc = lv_cli_start(&cli, &comm, argc, argv);
    if (rc == LV_OK) {
        options.store_rgb = strcmp(store, "rgb") == 0;
        options.aspect = aspect && strcmp(aspect, "pad") == 0 ? LV_ASPECT_PAD : LV_ASPECT_SQUARE;
        options.image_size = (int)image_size;
        rc = check_store(&options, aspect);
        if (rc == LV_OK) rc = lv_threads_check(&comm);
        if (rc == LV_OK) rc = run(&comm, &options);
    }
    return lv_cli_finish(&cli, &comm, rc);
}
