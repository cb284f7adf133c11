/* SPDX-License-Identifier: Apache-2.0
 *
 * The streams advance together in blocks, as those of an op do: in each block so many lines of
 * each kind as the mix asks for, from a place that is as far in each array as in the others.
 */
#include "tests/bench/elementwise/stream.h"

#include "autograd/kernels/parallel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STREAMS = 8, BLOCK = 1024 };

static size_t stream_floats;
static float *streams[MAX_STREAMS];
static volatile float sink;

bool bench_stream_start(size_t bytes)
{
    stream_floats = bytes / sizeof(float);
    for (int i = 0; i < MAX_STREAMS; i++) {
        streams[i] = aligned_alloc(64, bytes);
        if (!streams[i]) {
            bench_stream_stop();
            return false;
        }
#pragma omp parallel
        { /* each thread touches what it will work on */
            lv_range r = lv_thread_range((int64_t)stream_floats, BLOCK);
            memset(streams[i] + r.begin, 0, (size_t)(r.end - r.begin) * sizeof(float));
        }
    }
    return true;
}

void bench_stream_stop(void)
{
    for (int i = 0; i < MAX_STREAMS; i++) {
        free(streams[i]);
        streams[i] = NULL;
    }
}

static float read_block(const float *x, int64_t n)
{
    float lanes[64] = {0};
    for (int64_t i = 0; i + 64 <= n; i += 64) {
        for (int l = 0; l < 64; l++) {
            lanes[l] += x[i + l];
        }
    }
    float sum = 0;
    for (int l = 0; l < 64; l++) {
        sum += lanes[l];
    }
    return sum;
}

static void write_block(float *x, int64_t n, float value)
{
    for (int64_t i = 0; i < n; i++) {
        x[i] = value;
    }
}

static void update_block(float *x, int64_t n, float value)
{
    for (int64_t i = 0; i < n; i++) {
        x[i] += value;
    }
}

/* Whole streams of each kind. */
static void pass(int n_read, int n_written, int n_updated, size_t floats)
{
#pragma omp parallel
    {
        lv_range r = lv_thread_range((int64_t)floats, BLOCK);
        float sum = 0;
        for (int64_t at = r.begin; at < r.end; at += BLOCK) {
            int64_t n = r.end - at < BLOCK ? r.end - at : BLOCK;
            for (int i = 0; i < n_read; i++) {
                sum += read_block(streams[i] + at, n);
            }
            for (int i = 0; i < n_written; i++) {
                write_block(streams[n_read + i] + at, n, sum);
            }
            for (int i = 0; i < n_updated; i++) {
                update_block(streams[n_read + n_written + i] + at, n, sum);
            }
        }
        sink = sum;
    }
}

/* The next whole or partial streams to run together: at most MAX_STREAMS arrays of at most their
 * size. */
void bench_stream(double read_bytes, double written_bytes, double updated_bytes)
{
    double left[] = {read_bytes, written_bytes, updated_bytes};
    double array = (double)(stream_floats * sizeof(float));
    while (left[0] + left[1] + left[2] >= 64) {
        int n[3];
        double least = array;
        for (int i = 0; i < 3; i++) { /* what is left in each kind goes into equal parts */
            n[i] = left[i] < 64 ? 0 : (int)fmin(ceil(left[i] / array - 1e-9), 3);
            n[i] = n[i] > 2 && i == 2 ? 2 : n[i];
            if (n[i] > 0 && left[i] / n[i] < least) {
                least = left[i] / n[i];
            }
        }
        pass(n[0], n[1], n[2], (size_t)(least / sizeof(float)));
        for (int i = 0; i < 3; i++) {
            left[i] -= n[i] * least;
        }
    }
}
