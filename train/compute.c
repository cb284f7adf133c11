/* SPDX-License-Identifier: Apache-2.0 */
#include "train/compute.h"

#include "autograd/cpu.h"
#include "autograd/error.h"
#include "autograd/kernels/bf16.h"
#include "autograd/kernels/gemm.h"
#include "data/file.h"

char *lv_compute_text(lv_dtype dtype, const char *blas)
{
    return lv_path("%s%s%s; vector kernels %s; %s", lv_dtype_name(dtype),
                   dtype == LV_BF16 ? ", products by " : "",
                   dtype == LV_BF16 ? lv_bf16_kernel_name() : "", lv_cpu_name(lv_cpu()), blas);
}

int lv_compute_rate(double *flop_per_s, const lv_comm *comm)
{
    int rc = lv_comm_agree(comm, LV_OK); /* all begin together */
    double rate = lv_gemm_rate();
    rc = rc == LV_OK ? lv_comm_sum_double(comm, &rate, 1) : rc;
    if (rc == LV_OK) {
        *flop_per_s = rate;
    }
    return rc;
}
