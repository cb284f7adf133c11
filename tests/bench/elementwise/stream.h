/* SPDX-License-Identifier: Apache-2.0
 *
 * What memory gives: loops that do nothing but read, write and update.
 */
#ifndef LV_TESTS_BENCH_STREAM_H
#define LV_TESTS_BENCH_STREAM_H

#include <stdbool.h>
#include <stddef.h>

/* bench_stream_start: arrays of so many bytes, more than the caches hold. returns success */
bool bench_stream_start(size_t bytes);
void bench_stream_stop(void);

/* bench_stream: read, write, and update (read and write in place) so many bytes, a multiple or a
 * part of the arrays, all threads, all streams at the same time. */
void bench_stream(double read_bytes, double written_bytes, double updated_bytes);

#endif
