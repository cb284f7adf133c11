#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# format.sh [ROOT]: clang-format finds nothing to change in any .c or .h. Exit 77 (skipped)
# where clang-format is not installed.
set -u
cd "${1:-${LLAVA_TEST_SOURCE:?}}" || exit 1
command -v clang-format >/dev/null || exit 77
find autograd optim data train tools tests -name '*.[ch]' -print0 |
    xargs -0 clang-format --dry-run -Werror
