/* SPDX-License-Identifier: Apache-2.0
 *
 * The end of a launcher that waits for a host which cannot be reached any more.
 */
#ifndef LV_TRAIN_HOST_LAUNCHER_H
#define LV_TRAIN_HOST_LAUNCHER_H

/* lv_launcher_outlive: leave a process behind that watches the launcher's daemon of this host, if
 * it is OpenMPI's, for ten seconds, and ends it if it is still there then: it waits for its peers
 * until the kernel gives up their connections, which takes a quarter of an hour. Right before a
 * rank ends itself, from any thread. */
void lv_launcher_outlive(void);

#endif
