/* SPDX-License-Identifier: Apache-2.0 */
#include "train/metrics.h"

#include "autograd/error.h"
#include "data/base/clock.h"
#include "data/base/file.h"
#include "data/json/json.h"
#include "train/host/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_KEPT_BYTES = 1 << 26 }; /* some 100,000 lines */

struct lv_metrics {
    int fd;
    char *path;
    int64_t n_bytes; /* whole lines in the file */
    char *kept;      /* lines not yet written */
    size_t n_kept;
    bool continue_on_error, failing;
    int64_t first_step, n_steps, log_every_steps;
    double started_s;
};

/* The step of one line, -1 if it is incomplete (cut by a crash) or foreign. */
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

/* Other programs write "step" and "loss" too, but not these. */
static bool is_own_line(const char *line, size_t n)
{
    cJSON *item = NULL;
    bool own = lv_json_parse(&item, line, n) == LV_OK && lv_json_find(item, "step") &&
               (lv_json_find(item, "samples_hash") || lv_json_find(item, "val_supervised_tokens"));
    cJSON_Delete(item);
    return own;
}

int lv_metrics_check(const char *run_dir)
{
    static const char begin[] = "{\"step\":";
    char *path = lv_path("%s/metrics.jsonl", run_dir), *text = NULL;
    size_t n = 0, at = 0;
    int rc = lv_file_exists(path) ? lv_file_read(&text, &n, path) : LV_OK;
    while (at < n && text[at] == '\0') { /* as a machine leaves them that lost its power */
        at++;
    }
    if (at < n) {
        const char *end = memchr(text + at, '\n', n - at);
        const size_t length = end ? (size_t)(end - text) - at : n - at;
        const size_t n_begin = length < strlen(begin) ? length : strlen(begin);
        bool own = end ? is_own_line(text + at, length) : memcmp(text + at, begin, n_begin) == 0;
        rc = own ? LV_OK
                 : lv_fail(LV_ERR_CONFIG,
                           "%s: the run would add to it, but its first line is not of a run: "
                           "choose another run.dir, or move it away",
                           path);
    }
    free(text);
    free(path);
    return rc;
}

static int append_text(const char *path, const char *text, size_t n)
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
        rc = append_text(dropped_path, aside, dropped);
        free(dropped_path);
        if (rc == LV_OK) rc = lv_file_write(path, text, kept);
        if (rc == LV_OK && steps_done == 0) {
            lv_warn("there is no checkpoint to go on from: the run begins at its first "
                    "step; lines of an earlier %s are kept in metrics.dropped.jsonl",
                    path);
        }
    }
    free(aside);
    free(text);
    return rc;
}

int lv_metrics_open(lv_metrics **out, const char *run_dir, int64_t steps_done, int64_t n_steps,
                    int64_t log_every_steps, bool continue_on_error)
{
    char *path = lv_path("%s/metrics.jsonl", run_dir);
    int rc = lv_file_exists(path) ? drop_lines_after(run_dir, path, steps_done) : LV_OK;
    int fd = rc == LV_OK ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666) : -1;
    off_t n_bytes = fd >= 0 ? lseek(fd, 0, SEEK_END) : -1;
    if (n_bytes < 0) {
        if (rc == LV_OK) rc = lv_fail_errno(LV_ERR_IO, "%s: opening", path);
        if (fd >= 0) {
            close(fd);
        }
        free(path);
        return rc;
    }
    lv_metrics *metrics = malloc(sizeof *metrics);
    LV_CHECK(metrics, "out of memory");
    *metrics = (lv_metrics){.fd = fd,
                            .path = path,
                            .n_bytes = n_bytes,
                            .continue_on_error = continue_on_error,
                            .first_step = steps_done,
                            .n_steps = n_steps,
                            .log_every_steps = log_every_steps,
                            .started_s = lv_clock_s()};
    *out = metrics;
    return LV_OK;
}

/* A partly written line is cut off again: the file has whole lines only. */
static int write_kept(lv_metrics *metrics)
{
    size_t done = 0;
    while (done < metrics->n_kept) {
        ssize_t n = write(metrics->fd, metrics->kept + done, metrics->n_kept - done);
        if (n < 0 && errno != EINTR) {
            int error = errno;
            (void)!ftruncate(metrics->fd, metrics->n_bytes);
            errno = error;
            return lv_fail_errno(LV_ERR_IO, "%s: writing", metrics->path);
        }
        done += n > 0 ? (size_t)n : 0;
    }
    metrics->n_bytes += (int64_t)done;
    metrics->n_kept = 0;
    metrics->failing = false;
    return LV_OK;
}

int lv_metrics_close(lv_metrics **metrics)
{
    if (!*metrics) {
        return LV_OK;
    }
    lv_progress_end();
    int rc = write_kept(*metrics);
    if (close((*metrics)->fd) < 0 && rc == LV_OK) {
        rc = lv_fail_errno(LV_ERR_IO, "%s: writing", (*metrics)->path);
    }
    free((*metrics)->kept);
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

static void keep_line(lv_metrics *metrics, cJSON *line)
{
    char *text = lv_json_print_line(line);
    cJSON_Delete(line);
    size_t n = strlen(text);
    metrics->kept = realloc(metrics->kept, metrics->n_kept + n + 1);
    LV_CHECK(metrics->kept, "out of memory for a line of %s", metrics->path);
    memcpy(metrics->kept + metrics->n_kept, text, n);
    metrics->kept[metrics->n_kept + n] = '\n';
    metrics->n_kept += n + 1;
    free(text);
}

static int write_line(lv_metrics *metrics, cJSON *line)
{
    keep_line(metrics, line);
    int rc = write_kept(metrics);
    if (rc == LV_OK || !metrics->continue_on_error || metrics->n_kept > MAX_KEPT_BYTES) {
        return rc;
    }
    if (!metrics->failing) {
        lv_progress_end();
        lv_warn("WARNING: %s. The run continues; the lines are kept in memory until they can "
                "be written",
                lv_error_message());
        metrics->failing = true;
    }
    return LV_OK;
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
    add_number(line, "rss_shmem_bytes", (double)s->rss_shmem_bytes);
    cJSON_AddBoolToObject(line, "applied", s->applied);
    int rc = write_line(metrics, line);

    double elapsed_s = lv_clock_s() - metrics->started_s;
    int64_t done = s->step - metrics->first_step;
    double left_s = elapsed_s / (double)done * (double)(metrics->n_steps - s->step);
    bool always = s->step % metrics->log_every_steps == 0 || s->step == metrics->n_steps;
    if (!s->applied) {
        lv_progress_end();
        if (s->supervised_tokens == 0) {
            lv_warn("step %" PRId64 " not applied: data.max_length cut all its labels off",
                    s->step);
        } else {
            lv_warn("step %" PRId64 " not applied: loss %g, gradient norm %g", s->step, s->loss,
                    s->grad_norm);
        }
        return rc;
    }
    /* the most important first: a narrow terminal cuts the rest */
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
