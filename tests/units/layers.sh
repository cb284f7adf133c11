#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# layers.sh [ROOT]: proves from the #include lines that dependencies go one way
# (autograd <- optim, data <- train <- tools) and that mpi.h stays in train/.
# Exit 0 if they do, 1 with the lines that do not.
set -u
root=${1:-${LLAVA_TEST_SOURCE:?}}

# includes DIR: "file:line:name" of every include in DIR, in quotes or angle brackets.
includes() {
    grep -rnE --include='*.[ch]' --include='*.def' '^[[:space:]]*#[[:space:]]*include' "$1" |
        sed -E 's/^([^:]*:[0-9]*):[^"<]*["<]([^">]*)[">].*/\1:\2/'
}

# check ROOT: prints every include that breaks a rule.
check() {
    cd "$1" || exit 1
    for dir in autograd optim data train tools; do
        case $dir in
        autograd) may='autograd' ;;
        optim) may='autograd|optim' ;;
        data) may='autograd|data' ;;
        train) may='autograd|optim|data|train' ;;
        tools) may='autograd|optim|data|train|tools' ;;
        esac
        [ -d "$dir" ] || { echo "$dir/ is not there"; continue; }
        # Our own headers are named from the root, so a quoted name shows its folder.
        grep -rnE --include='*.[ch]' --include='*.def' \
            '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$dir" |
            grep -vE "\"($may)/[^.\"]" | grep -vE '"[^/"]*\.def"'
        includes "$dir" | grep -E ":(autograd|optim|data|train|tools|tests)/" |
            grep -vE ":($may)/[^:]*\$"
        [ "$dir" = train ] || includes "$dir" | grep -E ':(.*/)?mpi\.h$'
    done
}

# A check that finds nothing in a tree full of breaches would prove nothing.
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/autograd" "$scratch/optim" "$scratch/data" "$scratch/train" "$scratch/tools"
printf '#include "data/json/json.h"\n' >"$scratch/autograd/a.c"
printf '#include <hdf5.h>\n# include <mpi.h>\n' >"$scratch/data/b.c"
printf '#include "data/pack/pack.h"\n' >"$scratch/optim/c.h"
printf '#include "optim/adamw.h"\n' >"$scratch/data/d.h"
printf '#include "../tools/main.h"\n#include <mpi.h>\n' >"$scratch/train/e.c"
printf '  #  include <tools/main.h> /* data/x.h */\n' >"$scratch/train/f.c"
printf '#include "train/mpi.h"\n#include "mpi.h"\n' >"$scratch/tools/g.c"
found=$(check "$scratch" | cut -d: -f1 | sort -u | tr '\n' ' ')
if [ "$found" != 'autograd/a.c data/b.c data/d.h optim/c.h tools/g.c train/e.c train/f.c ' ]; then
    echo "the check itself is broken: it found only $found"
    exit 1
fi

breaches=$(check "$root")
if [ -n "$breaches" ]; then
    echo "includes against the layers:"
    echo "$breaches"
    exit 1
fi
