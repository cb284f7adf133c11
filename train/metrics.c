/* SPDX-License-Identifier: Apache-2.0 */
#include "train/metrics.h"

#include "autograd/error.h"
#include "data/file.h"
#include "data/json.h"
#include "train/progress.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct lv_metrics {
    FILE *file;
    char *path;
    int64_t first_step, n_steps, log_every_steps;
    double started_s;
};

void lv_memory_now(int64_t *rss_anon_bytes, int64_t *rss_file_bytes)
{
    char line[256];
    long long kb;
    FILE *status = fopen("/proc/self/status", "r");
    *rss_anon_bytes = *rss_file_bytes = 0;
    while (status && fgets(line, sizeof line, status)) {
        if (sscanf(line, "RssAnon: %lld", &kb) == 1) {
            *rss_anon_bytes = kb * 1024;
        } else if (sscanf(line, "RssFile: %lld", &kb) == 1) {
            *rss_file_bytes = kb * 1024;
        }
    }
    if (status) {
        fclose(status);
    }
}

/* The step of one line, -1 if it is not a whole line of ours (a crash may cut the last one). */
static int64_t step_of_line(const char *line, size_t n)
{
    int64_t step = -1;
    cJSON *item = NULL;
    if (lv_json_parse(&item, line, n) < 0 || lv_json_int(item, "step", true, &step) < 0) {
        step = -1;
    }
    cJSON_Delete(item);
    return step;
}

static int append(const char *path, const char *text, size_t n)
{
    FILE *file = fopen(path, "a");
    if (!file) {
        return lv_fail_errno(LV_ERR_IO, "%s: opening", path);
    }
    bool done = fwrite(text, 1, n, file) == n;
    done = fclose(file) == 0 && done;
    return done ? LV_OK : lv_fail_errno(LV_ERR_IO, "%s: writing", path);
}

static int drop_lines_after(const char *run_dir, const char *path, int64_t steps_done)
{
    char *text = NULL;
    size_t n = 0, kept = 0, dropped = 0;
    int rc = lv_file_read(&text, &n, path);
    if (rc < 0) {
        return rc;
    }
    char *aside = malloc(n + 1);
    LV_CHECK(aside, "out of memory for %s", path);
    for (size_t at = 0; at < n;) {
        const char *end = memchr(text + at, '\n', n - at);
        size_t length = end ? (size_t)(end - text) + 1 - at : n - at;
        int64_t step = end ? step_of_line(text + at, length) : -1;
        if (step >= 0 && step <= steps_done) {
            memmove(text + kept, text + at, length);
            kept += length;
        } else {
            memcpy(aside + dropped, text + at, length);
            dropped += length;
        }
        at += length;
    }
    if (dropped > 0) {
        char *dropped_path = lv_path("%s/metrics.dropped.jsonl", run_dir);
        rc = append(dropped_path, aside, dropped);
        free(dropped_path);
        rc = rc == LV_OK ? lv_file_write(path, text, kept) : rc;
    }
    free(aside);
    free(text);
    return rc;
}

int lv_metrics_open(lv_metrics **out, const char *run_dir, int64_t steps_done, int64_t n_steps,
                    int64_t log_every_steps)
{
    char *path = lv_path("%s/metrics.jsonl", run_dir);
    int rc = lv_file_exists(path) ? drop_lines_after(run_dir, path, steps_done) : LV_OK;
    FILE *file = rc == LV_OK ? fopen(path, "a") : NULL;
    if (!file) {
        rc = rc == LV_OK ? lv_fail_errno(LV_ERR_IO, "%s: opening", path) : rc;
        free(path);
        return rc;
    }
    lv_metrics *metrics = malloc(sizeof *metrics);
    LV_CHECK(metrics, "out of memory");
    *metrics = (lv_metrics){.file = file,
                            .path = path,
                            .first_step = steps_done,
                            .n_steps = n_steps,
                            .log_every_steps = log_every_steps,
                            .started_s = lv_clock_s()};
    *out = metrics;
    return LV_OK;
}

int lv_metrics_close(lv_metrics **metrics)
{
    int rc = LV_OK;
    if (!*metrics) {
        return LV_OK;
    }
    lv_progress_end();
    if (fclose((*metrics)->file) != 0) {
        rc = lv_fail_errno(LV_ERR_IO, "%s: writing", (*metrics)->path);
    }
    free((*metrics)->path);
    free(*metrics);
    *metrics = NULL;
    return rc;
}

static void add_number(cJSON *line, const char *key, double value)
{
    /* JSON has no NaN: null stands for what is not finite */
    cJSON_AddItemToObject(line, key,
                          isfinite(value) ? cJSON_CreateNumber(value) : cJSON_CreateNull());
}

static int write_line(lv_metrics *metrics, cJSON *line)
{
    char *text = cJSON_PrintUnformatted(line);
    cJSON_Delete(line);
    bool done = text && fprintf(metrics->file, "%s\n", text) > 0 && fflush(metrics->file) == 0;
    cJSON_free(text);
    return done ? LV_OK : lv_fail_errno(LV_ERR_IO, "%s: writing", metrics->path);
}

int lv_metrics_step(lv_metrics *metrics, const lv_step_metrics *s)
{
    char hash[17], eta[32];
    double tokens_per_s = (double)s->tokens / s->step_s;
    cJSON *line = cJSON_CreateObject();
    snprintf(hash, sizeof hash, "%016" PRIx64, s->samples_hash);
    add_number(line, "step", (double)s->step);
    add_number(line, "epoch", (double)s->epoch);
    add_number(line, "loss", s->loss);
    add_number(line, "lr", s->lr);
    add_number(line, "grad_norm", s->grad_norm);
    add_number(line, "tokens", (double)s->tokens);
    add_number(line, "supervised_tokens", (double)s->supervised_tokens);
    add_number(line, "unlabelled_samples", (double)s->unlabelled_samples);
    cJSON_AddStringToObject(line, "samples_hash", hash);
    add_number(line, "step_s", s->step_s);
    add_number(line, "data_wait_s", s->data_wait_s);
    add_number(line, "comm_wait_s", s->comm_wait_s);
    add_number(line, "tokens_per_s", tokens_per_s);
    add_number(line, "mfu", s->mfu);
    add_number(line, "rss_anon_bytes", (double)s->rss_anon_bytes);
    add_number(line, "rss_file_bytes", (double)s->rss_file_bytes);
    cJSON_AddBoolToObject(line, "applied", s->applied);
    int rc = write_line(metrics, line);

    double elapsed_s = lv_clock_s() - metrics->started_s;
    int64_t done = s->step - metrics->first_step;
    double left_s = elapsed_s / (double)done * (double)(metrics->n_steps - s->step);
    bool always = s->step % metrics->log_every_steps == 0 || s->step == metrics->n_steps;
    if (!s->applied) {
        lv_progress_end();
        if (s->supervised_tokens == 0) {
            fprintf(stderr,
                    "llava: step %" PRId64 " not applied: data.max_length cut all its labels off\n",
                    s->step);
        } else {
            fprintf(stderr, "llava: step %" PRId64 " not applied: loss %g, gradient norm %g\n",
                    s->step, s->loss, s->grad_norm);
        }
        return rc;
    }
    /* what matters most stands in front: a narrow terminal cuts the rest */
    lv_progress_show(always,
                     "step %" PRId64 "/%" PRId64 "  loss %.4f  ETA %s  %.0f tokens/s  lr %.3g  "
                     "grad norm %.3g  waits: data %.0f%% ranks %.0f%%",
                     s->step, metrics->n_steps, s->loss, lv_duration_text(eta, left_s),
                     tokens_per_s, s->lr, s->grad_norm, 100 * s->data_wait_s / s->step_s,
                     100 * s->comm_wait_s / s->step_s);
    return rc;
}

int lv_metrics_validation(lv_metrics *metrics, int64_t step, double loss, int64_t supervised_tokens,
                          double elapsed_s)
{
    cJSON *line = cJSON_CreateObject();
    add_number(line, "step", (double)step);
    add_number(line, "val_loss", loss);
    add_number(line, "val_supervised_tokens", (double)supervised_tokens);
    add_number(line, "val_s", elapsed_s);
    lv_progress_end();
    printf("step %" PRId64 "  held-out loss %.4f over %" PRId64 " tokens\n", step, loss,
           supervised_tokens);
    fflush(stdout);
    return write_line(metrics, line);
}
