/* SPDX-License-Identifier: Apache-2.0
 *
 * messages N BYTES: to be run by mpirun: every rank prints N times the error of a command, whose
 * control characters are escaped one by one, a rank's message, a warning, and a line of output in
 * pieces, of that many bytes.
 */
#include "tools/cli.h"

#include "autograd/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    const lv_cli cli = {.name = "messages"};
    lv_comm comm;
    if (lv_comm_start(&comm) < 0 || argc != 3) {
        return 2;
    }
    const int n_bytes = atoi(argv[2]);
    char *text = malloc((size_t)n_bytes + 1);
    LV_CHECK(text, "out of memory for %d bytes", n_bytes);
    memset(text, 'x', (size_t)n_bytes);
    for (int i = 9; i < n_bytes; i += 10) {
        text[i] = '\001';
    }
    text[n_bytes] = '\0';
    lv_cli_buffer_lines();
    int rc = lv_comm_agree(&comm, LV_OK); /* all begin together */
    for (int i = 0; rc == LV_OK && i < atoi(argv[1]); i++) {
        lv_fail(LV_ERR_FORMAT, "%.*s of rank %d ends", n_bytes < 1500 ? n_bytes : 1500, text,
                comm.rank);
        lv_cli_finish(&cli, NULL, LV_ERR_FORMAT);
        lv_tell("%s ends", text);
        lv_warn("%s of rank %d ends\n", text, comm.rank);
        printf("%s", text);
        printf(" by rank %d", comm.rank);
        printf(" ends\n");
    }
    free(text);
    lv_comm_stop(&comm);
    return rc < 0;
}
