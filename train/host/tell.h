/* SPDX-License-Identifier: Apache-2.0
 *
 * What one rank has to say by itself, whatever the others do.
 */
#ifndef LV_TRAIN_HOST_TELL_H
#define LV_TRAIN_HOST_TELL_H

/* lv_tell: "llava: rank 3 on node07: ..." to stderr, in one write, so that no other rank's words
 * come in between. From any thread, also while another holds stdio's locks; what is beyond 8000
 * bytes is cut. */
void lv_tell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* lv_tell_pause: give a launcher the time to pass on what was told, before its own words about the
 * end of this process. Async-signal-safe. */
void lv_tell_pause(void);

#endif
