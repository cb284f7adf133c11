/* SPDX-License-Identifier: Apache-2.0 */
#include "train/cluster/compute.h"

#include "autograd/cpu.h"
#include "autograd/error.h"
#include "autograd/kernels/gemm.h"
#include "data/base/file.h"

char *lv_compute_text(lv_dtype dtype, const char *products)
{
    return lv_path("in %s on %s; %s", lv_dtype_name(dtype), lv_cpu_name(lv_cpu()), products);
}

int lv_compute_rate(double *flop_per_s, const lv_comm *comm)
{
    int rc = lv_comm_agree(comm, LV_OK); /* all begin together */
    double rate = rc == LV_OK ? lv_gemm_rate() : 0;
    if (rc == LV_OK) rc = lv_comm_sum_double(comm, &rate, 1);
    if (rc == LV_OK) {
        *flop_per_s = rate;
    }
    return rc;
}
