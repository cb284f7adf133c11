# SPDX-License-Identifier: Apache-2.0
# To be sourced: lets mpirun run on one small machine, as whoever the user is.
if [ "$(id -u)" -eq 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
export OMPI_MCA_rmaps_base_oversubscribe=1
# As mpirun --bind-to none: the ranks share the cores out by themselves.
export OMPI_MCA_hwloc_base_binding_policy=none
# Ranks of one machine need no network, and containers often forbid reading a neighbour's memory.
export OMPI_MCA_btl=self,vader OMPI_MCA_btl_vader_single_copy_mechanism=none
